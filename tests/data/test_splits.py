import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khasr.config import DataConfig
from khasr.data.splits import PARTS, Row, describe_own, manifest, read_manifest, same_sentence, split
from tests.conftest import SHARED, needs_shared

SENTENCES = [f"{a}{b} {c}" for a in "កខគឃង" for b in "ចឆជឈញ" for c in "ដឋឌឍណតថទធន"]
ROWS = [Row(f"khm_{i % 16:04d}_{i:010d}", f"{i % 16:04d}", random.Random(i).choice(SENTENCES)) for i in range(2906)]
SPEAKER_SPLITS = ["speaker", "speaker_text", "speaker_fold=2/4"]


def sizes(parts: dict[str, list[str]]) -> dict[str, int]:
    return {part: len(ids) for part, ids in parts.items()}


def test_card_sizes() -> None:
    assert sizes(split(ROWS, DataConfig())) == {"train": 2353, "val": 262, "test": 291}


@given(st.integers(60, 400), st.integers(0, 99), st.sampled_from(["random", "hf_seed42", "text", *SPEAKER_SPLITS]))
def test_partition(count: int, seed: int, kind: str) -> None:
    """Each utterance is in at most one part; the parts keep the corpus's order."""
    rows = ROWS[:count]
    ids = [row.id for row in rows]
    parts = split(rows, DataConfig(split_seed=seed, split=kind, val_share=0.2, test_share=0.2))
    assigned = sum(parts.values(), [])
    assert len(set(assigned)) == len(assigned)
    assert set(assigned) <= set(ids)
    assert kind == "speaker_text" or len(assigned) == count
    assert all(part == sorted(part, key=ids.index) and part for part in parts.values())


@pytest.mark.parametrize("kind", ["random", "hf_seed42", "text", *SPEAKER_SPLITS])
def test_listing_order(kind: str) -> None:
    shuffled = random.Random(1).sample(ROWS, len(ROWS))
    first, again = (split(rows, DataConfig(split=kind)) for rows in (ROWS, shuffled))
    assert {part: set(ids) for part, ids in first.items()} == {part: set(ids) for part, ids in again.items()}


@pytest.mark.parametrize("kind", ["random", "text", "speaker"])
def test_seed(kind: str) -> None:
    first, other = (split(ROWS, DataConfig(split=kind, split_seed=seed)) for seed in (1, 2))
    assert set(first["test"]) != set(other["test"])


def shared(parts: dict[str, list[str]], key: str) -> set[str]:
    of = {row.id: getattr(row, key) for row in ROWS}
    values = [{of[id_] for id_ in parts[part]} for part in PARTS]
    return (values[0] & values[1]) | (values[0] & values[2]) | (values[1] & values[2])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("speaker", ["speaker"]),
        ("text", ["text"]),
        ("speaker_text", ["speaker", "text"]),
        ("speaker_fold=2/4", ["speaker"]),
    ],
)
def test_disjoint(kind: str, keys: list[str], seed: int) -> None:
    parts = split(ROWS, DataConfig(split=kind, split_seed=seed))
    for key in keys:
        assert shared(parts, key) == set()
    assert shared(split(ROWS, DataConfig()), keys[0]), "a random split does"


def test_speaker_shares() -> None:
    parts = sizes(split(ROWS, DataConfig(split="speaker")))
    assert abs(parts["test"] - 291) <= 182
    assert abs(parts["val"] - 262) <= 182


def test_folds() -> None:
    for part in ("test", "val"):
        seen = [split(ROWS, DataConfig(split=f"speaker_fold={k}/5"))[part] for k in range(1, 6)]
        assert sorted(sum(seen, [])) == sorted(row.id for row in ROWS)


def test_same_sentence() -> None:
    assert same_sentence("ស្ដី ឡើយ។") == same_sentence("ស្តីឡើយ")


def test_manifest(tmp_path: Path) -> None:
    parts = split(ROWS, DataConfig(split="text"))
    path = tmp_path / "split.tsv"
    path.write_text(manifest(parts), encoding="utf-8")
    assert split(ROWS, DataConfig(split=str(path), split_seed=7, test_share=0.5)) == parts
    # Another corpus may have more utterances: they are in no part.
    assert split([*ROWS, Row("new")], DataConfig(split=str(path))) == parts


def test_manifest_formulas(tmp_path: Path) -> None:
    """No id of a manifest is a formula in a spreadsheet, and all are read back as they were."""
    ids = ["=1+1", "+a", "-5", "@a", "'=a", "a=b"]
    text = manifest({"train": ids, "val": [], "test": []})
    assert not any(line.startswith(("=", "+", "-", "@")) for line in text.splitlines())
    (tmp_path / "split.tsv").write_text(text, encoding="utf-8")
    assert read_manifest(tmp_path / "split.tsv") == dict.fromkeys(ids, "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [("a\ttrain\nb\tdev\n", r"split.tsv:2: expected id, tab, and train"), ("a\ttrain\na\ttest\n", "is in two parts"),
     ("x\ttrain\n", "names none of the corpus's 2,906 utterances"), (f"{ROWS[0].id}\ttrain\n", "val and test would be empty")],
)  # fmt: skip
def test_bad_manifest(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "split.tsv").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        split(ROWS, DataConfig(split=str(tmp_path / "split.tsv")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_share": 0.0}, r"data\.test_share"),
        ({"val_share": 1.0}, r"data\.test_share"),
        ({"split": "randm"}, "Expected one of random, hf_seed42"),
        ({"split": "speaker_fold=5/4"}, "N from 3 to the number of speakers, 16"),
        ({"split": "speaker_fold=x"}, "N from 3 to the number of speakers, 16"),
        ({"split": "own"}, "in no train, validation or test part of the corpus"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split(ROWS, DataConfig(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["own", "auto"])
@pytest.mark.parametrize(
    ("parts", "expected", "note"),
    [
        ("train val test other", {"train": 20, "val": 20, "test": 20}, ""),
        ("train val", {"train": 18, "val": 20, "test": 2}, "has no test part: 2 for test were drawn at random"),
        ("train", {"train": 16, "val": 2, "test": 2}, "has no test and no val part: 2 for test and 2 for val"),
    ],
)
def test_own(kind: str, parts: str, expected: dict[str, int], note: str) -> None:
    """The corpus's parts are kept; those that it lacks are drawn from train; other names are in no part."""
    rows = [Row(f"{part}{i}", own_part=part) for part in parts.split() for i in range(20)]
    options = DataConfig(split=kind)
    found = split(rows, options)
    assert sizes(found) == expected
    assert all(id_.startswith((part, "train")) for part, ids in found.items() for id_ in ids)
    notes = " ".join(describe_own(rows, found, options))
    assert notes.startswith("The split is the corpus's own") == (kind == "auto")
    assert note in notes


def test_auto() -> None:
    """Without parts, or where some utterances have none, `auto` is `random`."""
    options = DataConfig(split="auto")
    assert split(ROWS, options) == split(ROWS, DataConfig())
    partly = [Row(f"{i}", own_part="train" if i else "") for i in range(30)]
    assert sizes(split(partly, options)) == {"train": 24, "val": 3, "test": 3}
    odd = [Row(f"{i}", own_part="A") for i in range(30)]
    assert describe_own(odd, split(odd, options), options) == [
        "The corpus names the parts A, not train, dev and test, and is split at random (data.split)."
    ]


def test_too_few() -> None:
    with pytest.raises(ValueError, match="would be empty"):
        split(ROWS[:2], DataConfig())
    with pytest.raises(ValueError, match="would be empty"):
        split([Row(f"{i}", "one", "ក") for i in range(9)], DataConfig(split="speaker"))
    with pytest.raises(ValueError, match="9 of 9 utterances have no speaker"):
        split([Row(f"{i}") for i in range(9)], DataConfig(split="speaker"))


@needs_shared
def test_hf_seed42() -> None:
    import datasets

    lines = (SHARED / "data/slr42_text/line_index.tsv").read_text(encoding="utf-8").splitlines()
    texts = {line.split("\t")[0]: line.split("\t")[-1] for line in lines}
    parts = split([Row(id_, "", text) for id_, text in texts.items()], DataConfig(split="hf_seed42"))
    assert sizes(parts) == {"train": 2353, "val": 262, "test": 291}
    assert sum(len(texts[id_].split()) for id_ in parts["test"]) == 2563
    theirs = datasets.Dataset.from_dict({"id": sorted(texts)}).train_test_split(0.1, seed=42)
    assert set(parts["test"]) == set(theirs["test"]["id"])
    training = {" ".join(texts[id_].split()) for id_ in theirs["train"]["id"]}
    assert sum(" ".join(texts[id_].split()) in training for id_ in parts["test"]) == 20
