"""The answer from planted runs, without training."""

import dataclasses
import json
import math
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from khasr.config import to_plain
from khasr.run.folder import RunFolder
from khasr.study.explain.analysis import analyse
from khasr.study.explain.cost import predict
from khasr.study.explain.execution import Ended, _train, check_device, run_stages
from khasr.study.explain.factors import compare, flatten
from khasr.study.explain.outcomes import Outcome, Outcomes, read_outcomes
from khasr.study.explain.page import write_report
from khasr.study.explain.plan import (
    Plan,
    build_plan,
    check_cells,
    check_words,
    extend_seeds,
    read_plan,
    write_cells,
)
from khasr.study.explain.recipes import read_recipe
from khasr.study.explain.wording import describe_answer, describe_plan, sentence

A = "experiment=quickstart data.root=corpus model.checkpoint=null optimizer.lr=1e-3 trainer.max_steps=10"
B = f"{A} model.architecture.layers=8 optimizer.lr=1e-4 schedule.warmup=0.5 data.root=corpus"
CHOICES = "schedule=tri_stage finetune=lora"
SEEDS = [11, 12, 13, 14]
NOISE = 0.004


def plan_of(a: str = A, b: str = B, seeds: list[int] | None = None, sampled: bool | None = None) -> Plan:
    a, b = a.replace(" data.root=corpus", ""), b.replace(" data.root=corpus", "")
    found = compare(read_recipe(a).options, read_recipe(b).options)
    return build_plan(found, a, b, list(seeds or SEEDS), [], sampled)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of()


def outcome(wer: float, status: str = "completed", error: str = "") -> Outcome:
    return Outcome(Path("run"), status, wer, error, seconds=30.0)


def planted(plan: Plan, values: np.ndarray, seed: int = 0, noise: float = NOISE) -> Outcomes:
    rng = np.random.default_rng(seed)
    return {
        (cell, s): outcome(float(values[cell] + rng.normal(0, noise)))
        for number, s in enumerate(plan.seeds)
        for stage in range(3)
        for cell in plan.cells(stage, number)
    }


SIZE, LR = 1, 2
VALUES = np.array([0.30 + 0.02 * (c & 1) + 0.10 * (c >> 1 & 1) for c in range(8)])  # lr carries most of it


def test_planted_attribution(plan: Plan) -> None:
    answer = analyse(plan, planted(plan, VALUES))
    found = {part.name: part for part in answer.parts}
    assert answer.gap.value == pytest.approx(sum(p.value for p in answer.parts), abs=1e-12)
    assert [f.name for f in plan.factors] == ["size", "lr", "warm-up"]
    assert found["lr"].low < 0.10 < found["lr"].high
    assert found["size"].clear
    assert not found["warm-up"].clear
    share = found["lr"].share
    assert share is not None
    assert share[1] < 0.10 / 0.12 < share[2]
    words = sentence(plan, answer)
    assert words.startswith("Of the 11.9 points")
    assert "lr accounts for +" in words
    assert "not shown: warm-up" in words


def test_effect_that_depends_on_the_others(plan: Plan) -> None:
    """lr hurts the small model and helps the large one."""
    values = np.array([0.3 + 0.1 * (c >> 1 & 1) + 0.3 * (c & 1) - 0.2 * (c & 3 == 3) for c in range(8)])
    lines = describe_answer(plan, analyse(plan, planted(plan, values)))
    assert any("The effect of lr depends on the other factors: +" in line for line in lines)


def test_not_reproduced(plan: Plan, tmp_path: Path) -> None:
    """Neither the sentence nor the title claims a difference."""
    outcomes = planted(plan, np.full(8, 0.3))
    answer = analyse(plan, outcomes)
    words = sentence(plan, answer)
    assert words.startswith("Not reproduced")
    assert "would have been detected" in words
    write_report(plan, answer, outcomes, tmp_path)
    assert "<h1>Is B worse than A?</h1>" in (tmp_path / "index.html").read_text()


def test_failures(plan: Plan) -> None:
    """A run that did not learn is 1; the share that learns and the WER of those that do are beside it."""
    outcomes = planted(plan, VALUES)
    for cell in (1, 3, 5, 7):
        for seed in SEEDS[:2]:
            outcomes[cell, seed] = outcome(0.98)
    answer = analyse(plan, outcomes)
    assert answer.b == pytest.approx((2 * 1.0 + 2 * VALUES[7]) / 4, abs=0.01)
    assert ("B", 4, 2) in [row[:3] for row in answer.failures.cells]
    assert answer.failures.share_learned[0].value == pytest.approx(-0.5)
    assert answer.failures.given_learned[0].value == pytest.approx(0.02, abs=0.01)


def test_lost_run_is_missing(plan: Plan) -> None:
    """Out of memory is not a WER of 1: the seed is left out, and the run listed."""
    outcomes = planted(plan, VALUES)
    outcomes[7, 14] = outcome(math.nan, "failed", "OutOfMemoryError: no memory")
    answer = analyse(plan, outcomes)
    assert answer.seeds == [11, 12, 13]
    assert answer.b < 0.5
    assert any("OutOfMemoryError" in line and "14" in line for line in answer.not_run)


def test_cell_that_cannot_run(plan: Plan) -> None:
    """Bounds, and no imputation."""
    outcomes = planted(plan, VALUES)
    for seed in SEEDS:
        outcomes[5, seed] = outcome(math.nan, "failed", "OutOfMemoryError: no memory")
    answer = analyse(plan, outcomes)
    assert answer.parts == []
    low, high = answer.bounded[1]
    assert low < 0.10 < high
    assert "only bounds are known" in sentence(plan, answer)


def test_partial_replicates_do_not_enter(plan: Plan) -> None:
    """A cut leaves whole replicates: seeds without every cell are left out."""
    outcomes = {key: o for key, o in planted(plan, VALUES).items() if key[1] != 14 or key[0] in (0, 7)}
    answer = analyse(plan, outcomes)
    assert answer.seeds == [11, 12, 13]
    assert any("3 of 4 seeds" in note for note in answer.notes)


def test_seeds_without_effect(plan: Plan) -> None:
    answer = analyse(plan, planted(plan, VALUES, noise=0.0))
    assert answer.reproduced is None
    assert any("seeds have no effect" in note for note in answer.notes)


def test_seeds_added_after_looking() -> None:
    """Each look has its share of the error rate, and the report says so."""
    plan = plan_of()
    plan.reported = [4]
    extend_seeds(plan, 6)
    assert plan.seeds == [*SEEDS, 15, 16]
    answer = analyse(plan, planted(plan, VALUES))
    assert answer.level == pytest.approx(0.975)
    assert any("added after a result had been reported" in note for note in answer.notes)
    with pytest.raises(ValueError, match="would be a choice of results"):
        extend_seeds(plan, 3)


def test_sampled_orders() -> None:
    plan = plan_of(seeds=list(range(20)), sampled=True)
    answer = analyse(plan, planted(plan, VALUES, noise=0.002))
    assert answer.gap.value == pytest.approx(sum(p.value for p in answer.parts))
    assert answer.parts[1].low < 0.10 < answer.parts[1].high
    assert plan.runs <= 20 * 6


def test_stages_and_counts(plan: Plan) -> None:
    assert [sorted({c for c, _ in plan.jobs(stage)}) for stage in range(3)] == [[0, 7], [1, 2, 3, 4, 5, 6], []]
    four = Plan("", "", {}, [*plan.factors, plan.factors[0]], SEEDS)
    assert [len({c for c, _ in four.jobs(stage)}) for stage in range(3)] == [2, 8, 6]
    assert plan.runs == 8 * 4


def test_plan_is_kept(plan: Plan, tmp_path: Path) -> None:
    plan.write(tmp_path)
    assert read_plan(tmp_path) == plan
    (tmp_path / "explain.json").write_text("{}")
    with pytest.raises(ValueError, match="is damaged"):
        read_plan(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no explain\.json"):
        read_plan(tmp_path / "none")


def test_cells_compose_to_their_options(plan: Plan, tmp_path: Path) -> None:
    """The file of each cell composes to exactly the cell's options, also where the choices differ."""
    from khasr.config.schemas import compose_root, to_config

    a, b = (read_recipe(f"{A.replace(' data.root=corpus', '')} {more}") for more in ("", CHOICES))
    choices = {"choices": ["schedule.", "finetune."]}
    other = build_plan(compare(a.options, b.options, choices), a.text, b.text, SEEDS, [])
    assert len(other.factors) == 1
    check_cells(other)
    for each, cell in ((plan, 5), (other, other.whole - 1)):
        place = write_cells(each, tmp_path / str(cell))
        words = [f"hydra.searchpath=[file://{place}]", f"experiment={each.comparison.cell_name(cell)}", "seed=42"]
        options = flatten(to_plain(to_config(compose_root("train", words))))
        assert options == each.comparison.cell(cell) | {"score_test": False}


def test_words_that_affect_learning() -> None:
    check_words(["hydra/launcher=joblib", "logger=wandb", "data.num_workers=2"])
    for word in ("optimizer.lr=1", "seed=3"):
        with pytest.raises(ValueError, match="affects learning"):
            check_words([word])


def test_fp16_on_a_cpu() -> None:
    plan = plan_of("trainer.accelerator=cpu", "trainer.accelerator=cpu optimizer.lr=1e-3")
    with pytest.raises(ValueError, match="fp16, which needs a GPU"):
        check_device(plan)


def test_predicted_hours(plan: Plan) -> None:
    """Counted FLOPs for the card's runs; measured seconds scale with size and length."""
    a, b = read_recipe("experiment=card_300m"), read_recipe("experiment=card_1b")
    card = build_plan(compare(a.options, b.options), a.text, b.text, SEEDS, [])
    counted = predict(card, a, b)
    assert counted is not None
    assert counted.price is not None
    assert 0.55 < counted.hours[15] < 0.85  # 0.85 as torch counts it with recomputation (experiments/why_1b/cost.py)
    assert counted.hours[15] / counted.hours[13] == pytest.approx(1.5)  # 75 epochs in place of 50
    measured = predict(card, a, b, {0: 3600.0, 15: 36000.0})
    assert measured is not None
    assert measured.hours[2] == pytest.approx(1.5)
    assert predict(plan, None, None) is None
    assert "Hours are not predicted" in "\n".join(describe_plan(plan, None, 1))


def write_run(folder: Path, options: dict[str, object], wer: float, status: str = "completed") -> None:
    import yaml

    from khasr.study.explain.factors import nest

    run = RunFolder(folder)
    folder.mkdir(parents=True)
    run.config.write_text(yaml.safe_dump(nest(options)))
    run.write_results({"status": status, "val": {"wer": wer} if status == "completed" else None, "train": None})
    if status == "completed":
        edits = ["one two", "one x"] if wer < 0.4 else ["x y", "one x"]
        lines = ["id\treference\thypothesis\tedits\tseconds\tpart\tspeaker"]
        lines += [f"u{i}\tone two\t{text}\t0\t1.0\tval\ts{i}" for i, text in enumerate(edits)]
        run.hypotheses.write_text("\n".join(lines) + "\n")


def test_read_outcomes(plan: Plan, tmp_path: Path) -> None:
    write_run(tmp_path / "x", plan.comparison.cell(0) | {"seed": 11}, 0.25)
    write_run(tmp_path / "y", plan.comparison.cell(7) | {"seed": 12}, 0.75)
    write_run(tmp_path / "given", plan.comparison.cell(0) | {"seed": 42}, 0.1)  # not a seed of the plan
    write_run(tmp_path / "z", plan.comparison.cell(3) | {"seed": 11}, 0.0, "diverged")
    RunFolder(tmp_path / "z").metrics.write_text("step,val/wer\n5,0.4\n10,0.9\n")
    found = read_outcomes(plan, tmp_path)
    assert {key: o.wer for key, o in found.items()} == {(0, 11): 0.25, (7, 12): 0.75, (3, 11): 0.4}
    assert found[0, 11].edits == {"u0": 0, "u1": 1}


@pytest.mark.parametrize(
    ("results", "score"),
    [
        ({"status": "completed", "val": {"wer": 0.97}}, 1.0),  # did not learn
        ({"status": "completed", "val": {"wer": 0.3}}, 0.3),
        ({"status": "diverged"}, 0.4),  # its best validation
        ({"status": "failed", "error": "ValueError: log-probabilities are NaN. The model has diverged."}, 0.4),
        ({"status": "failed", "error": "OutOfMemoryError: CUDA out of memory."}, math.nan),
        ({"status": "interrupted"}, math.nan),  # or killed
        (None, math.nan),
    ],
)
def test_failed_runs(results: dict[str, object] | None, score: float, plan: Plan, tmp_path: Path) -> None:
    """A run that diverged or did not learn has a WER; one that the machine lost is missing."""
    write_run(tmp_path / "x", plan.comparison.cell(0) | {"seed": 11}, 0.3)
    folder = RunFolder(tmp_path / "x")
    folder.metrics.write_text("step,val/wer\n5,0.4\n10,0.9\n")
    if results is None:
        folder.results.unlink()
    else:
        folder.write_results(results)
    found = read_outcomes(plan, tmp_path)[0, 11]
    assert found.missing == math.isnan(score)
    assert found.score == pytest.approx(score, nan_ok=True)


def test_diverged_without_validation(plan: Plan, tmp_path: Path) -> None:
    write_run(tmp_path / "x", plan.comparison.cell(0) | {"seed": 11}, 0.0, "diverged")
    assert read_outcomes(plan, tmp_path)[0, 11].score == 1.0


def test_without_selection(plan: Plan) -> None:
    """The gap by the last validations is beside the one by the best checkpoints."""
    outcomes = {
        (cell, seed): dataclasses.replace(found, last=found.wer + 0.01 * (cell == 7))
        for (cell, seed), found in planted(plan, VALUES, noise=0.001).items()
    }
    notes = analyse(plan, outcomes).notes
    assert any("By the last validation of each run, without selection, B minus A is +13.0 points." in n for n in notes)
    assert not any("without selection" in n for n in analyse(plan, planted(plan, VALUES)).notes)


def test_sigterm_waits_for_workers(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """joblib's workers save their runs after the process that started them has ended."""
    worker = """
import os, signal, sys, time
from pathlib import Path
from filelock import FileLock
signal.signal(signal.SIGTERM, lambda *_: None)
run = Path(sys.argv[1])
with FileLock(run / ".run.lock"):
    os.kill(int(sys.argv[2]), signal.SIGTERM)
    time.sleep(0.7)
    (run / "saved").touch()
"""
    parent = (
        f"import os, subprocess, sys; subprocess.run([sys.executable, '-c', {worker!r}, {{run!r}}, str(os.getppid())])"
    )
    (tmp_path / "runs" / "x").mkdir(parents=True)
    monkeypatch.setattr("khasr.study.explain.execution._TRAIN", parent.format(run=str(tmp_path / "runs" / "x")))
    assert _train(plan, tmp_path, [0], [11], None, 1) == 128 + signal.SIGTERM
    assert (tmp_path / "runs" / "x" / "saved").is_file()


def test_stops_after_the_corners(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs come stage by stage, only the missing ones, and none after a gap that is not reproduced."""
    calls: list[tuple[list[int], list[int]]] = []

    def train(plan: Plan, folder: Path, cells: list[int], seeds: list[int], *rest: object) -> int:
        calls.append((list(cells), list(seeds)))
        for cell in cells:
            for seed in seeds:
                run = folder / "runs" / f"{cell}_{seed}"
                if not run.is_dir():
                    write_run(run, plan.comparison.cell(cell) | {"seed": seed}, 0.25)
        return 0

    monkeypatch.setattr("khasr.study.explain.execution._train", train)
    write_run(tmp_path / "runs" / "0_11", plan.comparison.cell(0) | {"seed": 11}, 0.25)
    write_run(tmp_path / "runs" / "7_11", plan.comparison.cell(7) | {"seed": 11}, 0.25)
    ended = run_stages(plan, tmp_path, None, 1, lambda _: "Not reproduced", lambda _: None)
    assert ended == Ended(0, "Not reproduced")
    assert calls == [([0, 7], [12, 13, 14])]
    assert run_stages(plan, tmp_path, None, 1, lambda _: "", lambda _: None) == Ended()
    assert calls[1:] == [([1, 2, 3, 4, 5, 6], SEEDS)]


def test_budget_makes_whole_replicates(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stage, only as many seeds as fit with all their cells."""
    calls: list[list[int]] = []
    monkeypatch.setattr("khasr.study.explain.execution._train", lambda *a: calls.append(list(a[3])) or 0)
    ended = run_stages(plan, tmp_path, 10.0, 1, lambda _: "", lambda _: dict.fromkeys(range(8), 2.1))
    assert calls == [[11, 12]]
    assert "budget" in ended.reason


def test_report(plan: Plan, tmp_path: Path) -> None:
    """A self-contained page, a picture and JSON without NaN."""
    outcomes = planted(plan, VALUES)
    answer = analyse(plan, outcomes)
    paths = write_report(plan, answer, outcomes, tmp_path)
    assert [p.name for p in paths] == ["index.html", "waterfall.png", "answer.json"]
    page = (tmp_path / "index.html").read_text()
    assert sentence(plan, answer).split(",")[0] in page
    assert "<h1>Why is B worse than A?</h1>" in page
    assert page.count(plan.a.split()[0]) == 1, "what both have is written once"
    assert "http://" not in page
    assert "https://" not in page
    plain = json.loads((tmp_path / "answer.json").read_text(), parse_constant=lambda c: pytest.fail(c))
    assert sum(p["value"] for p in plain["answer"]["parts"]) == pytest.approx(plain["answer"]["gap"]["value"])


def test_command_line_mistakes(tmp_path: Path, compose: Callable[..., object]) -> None:
    from khasr.explain import main

    with pytest.raises(FileNotFoundError, match=r"no explain\.json"):
        main([str(tmp_path)])
    with pytest.raises(ValueError, match="do not differ"):
        main(["seed=1", "seed=2", "--plan"])
    assert main(["a=1", "b=2", "c=3"]) == 2
