"""Confidences: fitted on words whose chances are known, kept in the run's folder, and written by transcribe."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from khasr.config import DecoderConfig
from khasr.decoding.confidence import FEATURES
from khasr.decoding.confidence_file import read_confidence, write_confidence
from khasr.decoding.decoded import Decoded, Word
from khasr.inference.calibration import (
    RatedPart,
    decode_part,
    fit_confidence,
    fit_on_val,
)
from khasr.inference.recogniser import PartLogProbs
from khasr.run.folder import RunFolder
from khasr.scoring.calibration import normalised_cross_entropy
from tests.decoding.test_greedy import VOCABULARY, frames, write_lm
from tests.inference.test_transcription import good, run

GREEDY = DecoderConfig()


def simulated(utterances: int, seed: int, signal: float = 2.0) -> RatedPart:
    """Words whose log-odds to be right are `signal` times the first feature; the others are noise or constant."""
    rng = np.random.default_rng(seed)
    features = [rng.normal(size=(rng.integers(0, 6), len(FEATURES))) for _ in range(utterances)]
    for rows in features:
        rows[:, -1] = 0
    right = [(rng.uniform(size=len(rows)) < 1 / (1 + np.exp(-signal * rows[:, 0]))).tolist() for rows in features]
    hypotheses = [[Decoded("", [Word("x", 0, 1, 0.99)] * len(rows), 0.0, 0.9)] for rows in features]
    return RatedPart(hypotheses, features, right)


def test_fit() -> None:
    """On new words, the fitted confidences are about as good as the probabilities that the words were drawn with."""
    confidence, crossed = fit_confidence(simulated(300, seed=0), GREEDY)
    new = simulated(600, seed=1)
    ours = normalised_cross_entropy(new.right, [confidence.probabilities(rows) for rows in new.features], resamples=200)
    true = normalised_cross_entropy(
        new.right, [1 / (1 + np.exp(-2 * rows[:, 0])) for rows in new.features], resamples=9
    )
    assert ours.low > 0.2
    assert true.value - 0.02 < ours.value < true.value + 0.01
    assert [len(values) for values in crossed] == [len(rows) for rows in simulated(300, seed=0).features]
    assert normalised_cross_entropy(new.right, new.posteriors, resamples=9).value < -1


def test_file(tmp_path: Path) -> None:
    """Each decoder has its own confidence; fitting again replaces it."""
    folder, other = RunFolder(tmp_path), DecoderConfig(name="beam", beam_width=7)
    write_confidence(folder, fit_confidence(simulated(200, 0), GREEDY)[0])
    write_confidence(folder, fit_confidence(simulated(200, 1), other)[0])
    assert isinstance(fit_on_val(folder, simulated(200, 2), GREEDY, tmp_path / "reliability.png"), dict)
    assert len(json.loads(folder.confidence.read_text(encoding="utf-8"))["fitted"]) == 2
    assert read_confidence(folder, GREEDY) == fit_confidence(simulated(200, 2), GREEDY)[0]
    assert read_confidence(folder, other) == fit_confidence(simulated(200, 1), other)[0]
    assert read_confidence(folder, DecoderConfig(name="beam", beam_width=8)) is None
    assert (tmp_path / "reliability.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (simulated(12, seed=0), r"not fitted: \d+ words are right and \d+ wrong; at least 30 of each are required."),
        (simulated(200, seed=0, signal=0.0), "not fitted: the normalised cross entropy by cross-validation is -"),
    ],
)
def test_not_fitted(part: RatedPart, reason: str, tmp_path: Path) -> None:
    """Confidences that say nothing are not written."""
    found = fit_on_val(RunFolder(tmp_path), part, GREEDY, tmp_path / "reliability.png")
    assert isinstance(found, str)
    assert re.match(reason, found)
    assert list(tmp_path.iterdir()) == []


def test_no_longer_fitted(tmp_path: Path) -> None:
    """An earlier confidence of the same decoder does not stay when a new one cannot be fitted."""
    folder, other = RunFolder(tmp_path), DecoderConfig(name="beam")
    for options in (GREEDY, other):
        write_confidence(folder, fit_confidence(simulated(200, 0), options)[0])
    assert isinstance(fit_on_val(folder, simulated(12, 0), GREEDY, tmp_path / "reliability.png"), str)
    assert read_confidence(folder, GREEDY) is None
    assert read_confidence(folder, other) is not None


def test_language_model_built_again(tmp_path: Path) -> None:
    """A confidence is not used with a different language model in the same place, which replaces it when it is fitted."""
    (tmp_path / "lm.binary").touch()
    options = DecoderConfig(name="beam_lm", lm=str(tmp_path / "lm.binary"))
    for number in range(2):
        (tmp_path / "lm.json").write_text(json.dumps({"xxh3": {"lm.binary": str(number)}}), encoding="utf-8")
        assert read_confidence(RunFolder(tmp_path), options) is None
        write_confidence(RunFolder(tmp_path), fit_confidence(simulated(200, number), options)[0])
        assert read_confidence(RunFolder(tmp_path), options) is not None
    assert len(json.loads(RunFolder(tmp_path).confidence.read_text(encoding="utf-8"))["fitted"]) == 1


@pytest.mark.parametrize(
    "contents",
    ["{", "[]", '{"fitted": [{}]}', '{"fitted": [{"decoder": {}, "mean": {}, "deviation": {}, "weights": {}, '
     '"intercept": 0}]}'],
)  # fmt: skip
def test_damaged_file(contents: str, tmp_path: Path) -> None:
    RunFolder(tmp_path).confidence.write_text(contents, encoding="utf-8")
    with pytest.raises(ValueError, match=r"confidence\.json does not hold fitted confidences .* khasr\.evaluate run="):
        read_confidence(RunFolder(tmp_path), GREEDY)


@pytest.mark.parametrize("name", ["greedy", "beam", "beam_lm"])
def test_features(name: Any, tmp_path: Path) -> None:
    """Sure words have higher features than doubtful ones; the language model knows ab but not c."""
    pytest.importorskip("kenlm")
    lm = str(write_lm(tmp_path)) if name == "beam_lm" else None
    options = DecoderConfig(name=name, lm=lm, alpha=0.01, unk_score_offset=0)
    rows = frames("aab--  cc-", sure=0.99)[0].numpy().copy()
    rows[7:9] = frames("cc", sure=0.4)[0].numpy()
    part = PartLogProbs(["1", "2"], ["ab", "ab"], [""] * 2, [0.2] * 2, [rows, frames("---")[0].numpy()])
    rated = decode_part(part, options, VOCABULARY)
    assert [h[0].text for h in rated.hypotheses] == ["ab c", ""]
    assert rated.right == [[True, False], []]
    sure, doubtful = (dict(zip(FEATURES, row, strict=True)) for row in rated.features[0])
    assert sure["best"] > doubtful["best"]
    assert sure["fit"] == pytest.approx(doubtful["fit"], abs=1.0)
    if name == "beam_lm":
        assert (sure["unknown"], doubtful["unknown"]) == (0, 1)
    assert np.isfinite(rated.features[0]).all()


def fitted(folder: Path, intercept: float) -> None:
    """A confidence that does not depend on the word."""
    zeros, ones = dict.fromkeys(FEATURES, 0.0), dict.fromkeys(FEATURES, 1.0)
    row = {"decoder": {"name": "greedy"}, "mean": zeros, "deviation": ones, "weights": zeros, "intercept": intercept}
    RunFolder(folder).confidence.write_text(json.dumps({"fitted": [row]}), encoding="utf-8")


def test_transcribe(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has the fitted confidence, or the posterior under its own name; SRT marks words that are probably wrong."""
    file = good(tmp_path / "a.wav", "កខគ គង ចច")
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    run(copy, file, format="json")
    printed = capsys.readouterr()
    word = json.loads(printed.out)["words"][0]
    assert set(word) == {"text", "start", "end", "posterior"}
    assert "no confidences that were fitted for this decoder: JSON has posteriors, which are too high." in printed.err
    fitted(copy, 1.0)
    run(copy, file, format="json")
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert {(*word,) for word in found["words"]} == {("text", "start", "end", "confidence")}
    assert (
        {word["confidence"] for word in found["words"]} == {found["pieces"][0]["n_best"][0]["confidence"]} == {0.7311}
    )
    assert "Note:" not in printed.err
    for intercept, marked in ((1.0, False), (-1.0, True)):
        fitted(copy, intercept)
        run(copy, file, format="srt")
        assert ("<i>" in capsys.readouterr().out) == marked
