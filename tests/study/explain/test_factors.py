"""The factors of two recipes, and each trap of comparing them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from khasr.config import Config, to_plain
from khasr.run.folder import RunFolder
from khasr.study.explain.factors import STAGE, Comparison, compare, flatten, nest
from khasr.study.explain.recipes import Recipe, check_leaks, new_seeds, read_recipe, selection_notes, version_notes

Options = dict[str, Any]


@pytest.fixture(scope="module")
def base() -> Options:
    from khasr.config import compose

    return flatten(to_plain(compose("data.root=corpus")))


def differ(base: Options, changes: Options, in_a: Options | None = None, **more: Any) -> Comparison:
    return compare(base | (in_a or {}), base | changes, **more)


def names(comparison: Comparison) -> list[str]:
    return [factor.name for factor in comparison.factors]


def test_flatten_and_nest(base: Options) -> None:
    assert flatten(nest(base)) == base


def test_card_recipes() -> None:
    a, b = read_recipe("experiment=card_300m"), read_recipe("experiment=card_1b")
    found = compare(a.options, b.options)
    assert names(found) == ["size", "length", "lr", "warm-up"]
    assert found.cell(15) | {"seed": 0} == b.options | {"seed": 0}
    assert found.cell(0) == a.options
    assert (found.cell_name(0), found.cell_name(15), found.cell_name(5)) == ("A", "B", "A_size_lr")
    assert found.cell(1)["model.architecture.layers"] == 48  # linked to the checkpoint, though it is read from there
    assert found.cell(1)["optimizer.lr"] == 5e-5


def test_recipe_longer_than_a_file_name() -> None:
    text = "model=tiny " + " ".join(f"optimizer.lr={10 ** -(i % 4)}" for i in range(20))
    assert len(text) > 255
    assert read_recipe(text).options["optimizer.lr"] == 1e-3


def test_options_that_do_not_affect_learning(base: Options) -> None:
    changes = {"seed": 3, "data.order_seed": 4, "data.cache_dir": "x", "trainer.progress_bar": False, "logger.csv": {}}
    with pytest.raises(ValueError, match="do not differ in any option that affects learning"):
        differ(base, changes)
    assert names(differ(base, changes | {"optimizer.lr": 1.0})) == ["lr"]


@pytest.mark.parametrize(
    ("both", "changes"),
    [
        ({"trainer.max_steps": 5}, {"trainer.max_epochs": 3.0}),
        ({"model.mask_time_prob": 0.0}, {"model.mask_time_length": 3}),
        ({"decoder.name": "greedy"}, {"decoder.alpha": 0.9}),
        ({}, {"model.name": "other"}),
        ({}, {"model.architecture.layers": 3}),  # of a checkpoint, which has its own
        ({"data.batch_seconds": 20.0}, {"data.batch_size": 3}),
        ({}, {"trainer.devices": 4, "trainer.accumulate_grad_batches": 1}),  # the same audio per update
    ],
)
def test_options_without_effect(base: Options, both: Options, changes: Options) -> None:
    found = differ(base | both, changes | {"optimizer.lr": 1.0})
    assert names(found) == ["lr"]
    assert "no effect" in found.notes[0]


def test_options_of_a_schedule() -> None:
    """Options that only tri_stage has are one factor with the schedule."""
    a, b = read_recipe("schedule=linear"), read_recipe("schedule=tri_stage")
    found = compare(a.options, b.options)
    assert names(found) == ["schedule", "warm-up"]
    assert "schedule.hold" in found.cell(1)
    assert "schedule.hold" not in found.cell(2)


def test_linked_options(base: Options) -> None:
    found = differ(base, {"data.batch_size": 2, "trainer.accumulate_grad_batches": 2, "model.mask_time_prob": 0.1})
    assert names(found) == ["audio per update", "time masks"]


def test_group(base: Options) -> None:
    changes = {"trainer.max_epochs": 50.0, "schedule.warmup": 10.0, "optimizer.lr": 1.0}
    found = differ(base, changes, groups={"time": ["trainer.max_epochs", "schedule.warmup"]})
    assert names(found) == ["time", "lr"]
    with pytest.raises(ValueError, match="do not differ in these options"):
        differ(base, changes, groups={"x": ["model.layerdrop"]})


def test_fix(base: Options) -> None:
    changes = {"trainer.max_epochs": 50.0, "optimizer.lr": 1.0}
    assert names(differ(base, changes, fixed={"length": None})) == ["lr"]
    found = differ(base, changes, fixed={"optimizer.lr": 3.0})
    assert names(found) == ["length"]
    assert found.cell(1)["optimizer.lr"] == 3.0
    with pytest.raises(ValueError, match="no such option"):
        differ(base, changes, fixed={"optimizer.speed": None})


@pytest.mark.parametrize("key", ["data.split", "data.split_seed", "data.text.lowercase", "data.max_seconds"])
def test_no_common_val(base: Options, key: str) -> None:
    """Different splits or references: refused, unless both take one value."""
    changes = {key: "other", "optimizer.lr": 1.0}
    with pytest.raises(ValueError, match=f"do not have the same val part: {key}.*--fix {key}"):
        differ(base, changes)
    assert names(differ(base, changes, fixed={key: None})) == ["lr"]


def test_units_keep_the_references(base: Options) -> None:
    assert names(differ(base, {"data.text.units": "clusters"})) == ["data.text.units"]


def test_warmup_in_steps(base: Options) -> None:
    """Its share of the run changes with the length, and a note says so."""
    found = differ(base, {"trainer.max_epochs": 50.0})
    assert any("warm-up is in optimizer steps (2000)" in note for note in found.notes)
    shares = differ(base | {"schedule.warmup": 0.1}, {"trainer.max_epochs": 50.0})
    grouped = differ(
        base,
        {"trainer.max_epochs": 50.0, "schedule.warmup": 9.0},
        groups={"length": ["trainer.max_epochs", "schedule.warmup"]},
    )
    assert not any("warm-up" in note for note in shares.notes + grouped.notes)


def run_folder(path: Path, options: Options, split: dict[str, str] | None = None) -> Path:
    path.mkdir(parents=True)
    RunFolder(path).config.write_text(yaml.safe_dump(nest(options)))
    lines = [f"{id_}\t{part}" for id_, part in (split or {}).items()]
    RunFolder(path).split.write_text("\n".join(["id\tpart", *lines]) + "\n")
    return path


def test_two_stages_are_a_factor(base: Options, tmp_path: Path) -> None:
    first = str(run_folder(tmp_path / "first", base))
    found = differ(base, {"model.checkpoint": first})
    assert names(found) == [STAGE]
    assert "Two-stage training is a factor" in found.notes[0]
    # With a different shape it cannot be separated from size.
    other = {"model.checkpoint": "small", "model.architecture.layers": 2}
    found = differ(base, {"model.checkpoint": first}, in_a=other)
    assert names(found) == ["size"]
    assert "one factor here" in found.notes[0]


def test_leak_between_runs(base: Options, tmp_path: Path) -> None:
    a = Recipe("a", base, run_folder(tmp_path / "a", base, {"u1": "val", "u2": "train"}))
    b = Recipe("b", base, run_folder(tmp_path / "b", base, {"u2": "val", "u1": "train"}))
    with pytest.raises(ValueError, match="1 utterances of A's val part, such as u1, are in B's training part"):
        check_leaks(a, b)
    check_leaks(a, a)


def test_leak_from_first_stage(base: Options, tmp_path: Path) -> None:
    first = run_folder(tmp_path / "first", base, {"u1": "train"})
    a = Recipe("a", base, run_folder(tmp_path / "a", base, {"u1": "val"}))
    with pytest.raises(ValueError, match="trained on 1 utterances of the val part"):
        check_leaks(a, Recipe("b", base | {"model.checkpoint": str(first)}))


def test_given_runs_do_not_enter(base: Options, tmp_path: Path) -> None:
    a = Recipe("a", base | {"seed": 1001, "data.order_seed": 1003}, tmp_path)
    b = Recipe("b", base)
    assert new_seeds(a, b, 3) == [1002, 1004, 1005]
    assert "may have been selected" in selection_notes(a, b)[0]
    assert selection_notes(b, b) == []


def test_code_versions(base: Options) -> None:
    a, b = Recipe("a", base, results={"commit": "1234"}), Recipe("b", base, results={"commit": "5678"})
    assert "different versions of khasr (1234 and 5678)" in version_notes(a, b, "1.0")[0]
    assert version_notes(a, a, "1.0") == []


def test_unknown_options(base: Options, tmp_path: Path) -> None:
    """What a card does not state, or an earlier version's config.yaml does not have."""
    assert "states lr, warm-up" in read_recipe("experiment=card_1b").unknown[0]
    older = {key: value for key, value in base.items() if key != "optimizer.layer_decay"}
    recipe = read_recipe(str(run_folder(tmp_path / "old", older)))
    assert "does not have optimizer.layer_decay" in recipe.unknown[0]


def test_not_a_run(tmp_path: Path) -> None:
    for text in (str(tmp_path), str(tmp_path / "none")):
        with pytest.raises(FileNotFoundError, match=r"no config\.yaml"):
            read_recipe(text)


def test_recipe_of_a_run(tmp_path: Path, compose: Callable[..., Config]) -> None:
    config = compose("experiment=quickstart", "schedule=tri_stage")
    RunFolder(tmp_path / "run").write_config(config)
    recipe = read_recipe(str(tmp_path / "run"))
    assert recipe.options == flatten(to_plain(config))
    assert recipe.unknown == []
