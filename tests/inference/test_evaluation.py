"""Evaluations of small untrained models: what is compared, with what, and what is printed about it."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import Wav2Vec2ForCTC

from khasr.config import Config, EvaluateConfig, FolderConfig, MixConfig, TextConfig
from khasr.data.datamodule import read_parts
from khasr.inference.comparable import describe_overlap, describe_symbols, is_own_val, normalised, training_words
from khasr.inference.evaluation import evaluate
from khasr.inference.recogniser import load_recogniser, recognise_part
from khasr.run.folder import RunFolder
from khasr.scoring.hypotheses import Hypothesis, read_hypotheses
from khasr.text.vocabulary import Vocabulary
from tests.conftest import SMALL, tones, write_corpus
from tests.inference.conftest import write_model


def write_run(folder: Path, config: Config, train: list[str], others: list[str]) -> Path:
    """A run's folder with its options and split, without weights."""
    RunFolder(folder).write_config(config)
    lines = ["id\tpart", *(f"{i}\ttrain" for i in train), *(f"{i}\ttest" for i in others if i not in train)]
    (folder / "split.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


IDS = [f"audio/u{i:03d}" for i in range(8)]


# ------------------------------------------------------------------------------------------- utterances of the training


@pytest.mark.parametrize(
    ("part", "trained", "root", "expected"),
    [
        ("test", IDS[:5], "same", "refused"),
        ("val", IDS[:1], "same", "refused"),
        ("test", IDS[:5], "moved", "5 of the 8 utterances of part=test are in the training part of"),
        ("all", IDS[:5], "same", "5 of the 8 utterances of part=all are in the training part of"),
        ("test", ["other"], "same", ""),
        ("train", IDS, "same", ""),
        ("test", [f"folder/{i}" for i in IDS[:5]], "mix", "refused"),
    ],
)
def test_overlap(
    part: str, trained: list[str], root: str, expected: str, compose: Callable[..., Config], tmp_path: Path
) -> None:
    """A second run that was trained on utterances of the part is refused, or reported if it may be another corpus."""
    data = FolderConfig(root=str(tmp_path / "corpus"))
    ours, theirs = compose(*SMALL), compose(*SMALL)
    ours.data = data
    theirs.data = FolderConfig(root=str(tmp_path / ("moved" if root == "moved" else "corpus")))
    if root == "mix":
        theirs.data = MixConfig(corpora=[{"data": "folder", "root": str(tmp_path / "corpus")}])
    run = write_run(tmp_path / "run", ours, IDS if part == "train" else ["x"], IDS)
    against = write_run(tmp_path / "against", theirs, trained, IDS)
    config = EvaluateConfig(run=str(run), against=str(against), data=data, part=part)  # type: ignore[arg-type]
    if expected == "refused":
        with pytest.raises(ValueError, match=rf"against=.*{len(trained)} of the 8 utterances of part={part} .*split"):
            describe_overlap(config, IDS)
        return
    notes = describe_overlap(config, IDS)
    assert [expected in note for note in notes] == ([True] if expected else [])


def test_overlap_unknown(model: Path) -> None:
    (note,) = describe_overlap(EvaluateConfig(run=str(model), data=FolderConfig(root="x")), IDS)
    assert "has no split.tsv" in note
    assert "is unknown" in note


@pytest.mark.parametrize(
    ("own", "data", "part", "expected"),
    [
        ("folder", "corpus", "val", True),
        ("folder", "other", "val", False),
        ("folder", "corpus", "test", False),
        ("mix", "corpus", "val", False),
    ],
)
def test_own_val(
    own: str, data: str, part: Any, expected: bool, compose: Callable[..., Config], tmp_path: Path
) -> None:
    """Confidences are fitted on utterances that the run has in its val part, and on no others."""
    config = compose(*SMALL)
    config.data = FolderConfig(root=str(tmp_path / "corpus"))
    if own == "mix":
        config.data = MixConfig(corpora=[{"data": "folder", "root": str(tmp_path / "elsewhere")}])
    run = write_run(tmp_path / "run", config, IDS[:2], [])
    with (run / "split.tsv").open("a", encoding="utf-8") as file:
        file.writelines(f"{'folder/' if own == 'mix' else ''}{i}\tval\n" for i in IDS[2:])
    asked = EvaluateConfig(run=str(run), data=FolderConfig(root=str(tmp_path / data)), part=part)
    assert is_own_val(asked, IDS[2:]) == expected
    assert not is_own_val(asked, IDS[1:])


def test_training_words(compose: Callable[..., Config], corpus: Path, tmp_path: Path) -> None:
    """Words are counted in what the run was trained on, and not at all if that was a different corpus."""
    config = compose(*SMALL)
    config.data = FolderConfig(root=str(corpus))
    whole = read_parts(config.data, 0, needed=[])["all"]
    ids = [str(i) for i in whole.audio["id"]]
    run = write_run(tmp_path / "run", config, ids[:3], ids[3:])
    found = training_words(EvaluateConfig(run=str(run), data=config.data), whole)
    assert found == Counter(word for text in whole.texts[:3] for word in text.split())
    other = EvaluateConfig(run=str(run), data=FolderConfig(root=str(tmp_path)))
    assert training_words(other, whole) is None


# --------------------------------------------------------------------------------------------------- text and symbols


@pytest.mark.parametrize(
    ("first", "second", "texts"),
    [
        (TextConfig(), TextConfig(), ("Ab, c", "AB c")),
        (TextConfig(lowercase=True), TextConfig(), ("ab, c", "ab c")),
        (TextConfig(), TextConfig(punctuation="space"), ("Ab c", "AB c")),
        (TextConfig(lowercase=True), TextConfig(spaces="delete"), ("ab,c", "abc")),
    ],
)
def test_common_form(first: TextConfig, second: TextConfig, texts: tuple[str, str]) -> None:
    """Runs with different text options are compared in a form that both can write, whichever comes first."""
    hypothesis = Hypothesis("u", "s", 1.0, "Ab, c", "AB c")
    for forms in ([first, second], [second, first]):
        (found,) = normalised([hypothesis], forms)
        assert (found.reference, found.hypothesis) == texts


@pytest.mark.parametrize(
    ("symbols", "reference", "expected"),
    [
        ("ab ", "ab a", []),
        ("ab ", "ab c", ["1 of 4 symbols", "'c' (U+0063) x 1"]),
        ("AB ", "ab", ["2 of 2 symbols", "2 of these symbols are in the vocabulary in the other case", "lowercase"]),
    ],
)
def test_symbols(symbols: str, reference: str, expected: list[str]) -> None:
    notes = describe_symbols("RUN", [reference], Vocabulary.of_texts([symbols]))
    assert bool(notes) == bool(expected)
    assert all(words in notes[0] for words in expected)


# ----------------------------------------------------------------------------------------------------- whole evaluations


def test_test_set_only(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two utterances without speakers are evaluated whole; nothing is printed about speakers or training words."""
    (tmp_path / "c").mkdir()
    for name in "ab":
        soundfile.write(tmp_path / "c" / f"{name}.wav", tones("កខ"), 16_000)
    (tmp_path / "c" / "utterances.tsv").write_text("audio\ttext\na.wav\tកខ\nb.wav\tក\n", encoding="utf-8")
    data = FolderConfig(root=str(tmp_path / "c"), speaker_column=None)
    results = evaluate(EvaluateConfig(run=str(model), data=data, part="all", resamples=50), tmp_path / "out")
    assert (results["utterances"], results["speakers"]) == (2, 0)
    assert set(results["by"]) == {"duration"}
    parts, skipped = read_hypotheses(tmp_path / "out" / "hypotheses.tsv")
    assert ([h.id for h in parts["all"]], skipped) == (["a", "b"], 0)
    printed = capsys.readouterr().out
    assert "speakers unknown" in printed
    assert "over speakers: 2 of 2 utterances have no speaker" in printed
    assert "training" not in printed.split("\n", 1)[1]


@pytest.mark.parametrize(("speakers", "over"), [(8, "speakers"), (4, "utterances")])
def test_difference(speakers: int, over: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The printed p-value is over speakers if there are 8, and a note states that it does not include seeds."""
    root = write_corpus(tmp_path / "c", count=16)
    table = (root / "utterances.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.rsplit("\t", 1)[0] + f"\ts{i % speakers}" for i, line in enumerate(table[1:])]
    (root / "utterances.tsv").write_text("\n".join([table[0], *rows]) + "\n", encoding="utf-8")
    other = write_model(tmp_path / "other", "កខ")
    config = EvaluateConfig(
        run=str(model), against=str(other), data=FolderConfig(root=str(root)), part="all", resamples=50
    )
    results = evaluate(config, tmp_path / "out")
    printed = capsys.readouterr().out
    assert f"(paired bootstrap over {over})" in printed
    assert ("not over speakers: 4 groups are too few" in printed) == (over == "utterances")
    assert "one pair of runs" in printed
    assert "variation between training seeds" in printed
    assert f"of the references are not in the vocabulary of {other}" in printed
    assert results["against"]["wer"]["rate_of_run"] == results["rates"]["wer"]["rate"]


# ------------------------------------------------------------------------------------------------------ Hugging Face


@pytest.mark.parametrize(
    ("preprocessor", "standardised"), [({}, True), ({"do_normalize": True}, True), ({"do_normalize": False}, False)]
)
def test_do_normalize(preprocessor: dict[str, Any], standardised: bool, corpus: Path, tmp_path: Path) -> None:
    """Waveforms enter a foreign model standardised or as recorded, as its preprocessor says."""
    folder = write_model(tmp_path / "hf", "កខគងច", **preprocessor)
    recogniser = load_recogniser(str(folder))
    assert recogniser.standardised is standardised
    data = FolderConfig(root=str(corpus))
    part = read_parts(data, 0, needed=[])["all"].select("all", [0])
    found = recognise_part(recogniser, part, data, progress=False).log_probs[0]
    waveform = torch.from_numpy(part.audio[0]["waveform"].astype(np.float32) / 32768)
    if standardised:
        waveform = (waveform - waveform.mean()) / torch.sqrt(waveform.var(correction=0) + 1e-7)
    with torch.inference_mode():
        theirs = Wav2Vec2ForCTC.from_pretrained(folder).eval()(waveform[None]).logits[0].log_softmax(-1)
    torch.testing.assert_close(torch.from_numpy(found), theirs, atol=2e-4, rtol=0)


def test_damaged_preprocessor(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "hf", "ក", do_normalize=True)
    (folder / "preprocessor_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"preprocessor_config\.json cannot be read"):
        load_recogniser(str(folder))


# --------------------------------------------------------------------------------------------------------------- cache


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


def text(file: Path) -> None:
    file.write_text("not an archive", encoding="utf-8")


def fewer(file: Path) -> None:
    np.savez(file, rows=np.zeros((3, 8), np.float32), frames=np.array([3]))


def pickled(file: Path) -> None:
    np.savez(file, rows=np.array([{}], object), frames=np.array([1]))


@pytest.mark.parametrize("damage", [emptied, cut, flipped, text, fewer, pickled])
def test_damaged_cache(
    damage: Callable[[Path], None], model: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Damaged log-probabilities are reported and computed again."""
    data = FolderConfig(root=str(corpus))
    part = read_parts(data, 0, needed=[])["all"].select("all", [0, 1])
    recogniser = load_recogniser(str(model))
    first = recognise_part(recogniser, part, data, tmp_path, progress=False)
    (file,) = tmp_path.glob("*.npz")
    damage(file)
    again = recognise_part(recogniser, part, data, tmp_path, progress=False)
    assert f"{file} is damaged" in capsys.readouterr().err
    for one, other in zip(first.log_probs, again.log_probs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    third = recognise_part(recogniser, part, data, tmp_path, progress=False)
    assert all(np.array_equal(a, b) for a, b in zip(again.log_probs, third.log_probs, strict=True))
    assert capsys.readouterr().err == ""
