"""`khasr.load`: the same text from a file, from its samples, and from the command."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from khasr import load
from khasr.inference.transcriber import Transcriber
from tests.conftest import tones
from tests.inference.test_transcription import cut, good, run


@pytest.fixture(scope="module")
def transcriber(model: Path) -> Transcriber:
    return load(model)


def test_file_and_samples(transcriber: Transcriber, model: Path, tmp_path: Path, capsys: Any) -> None:
    file = good(tmp_path / "a.wav", "កខគ គង ចច")
    found = transcriber.transcribe(file)
    assert found.text
    assert found.problem == ""
    assert [word.text for word in found.words] == found.text.split()
    assert all(0 <= word.start < word.end <= 0.92 and 0 <= word.posterior <= 1 for word in found.words)
    samples, rate = soundfile.read(file)
    assert transcriber.transcribe(samples, rate) == found
    assert transcriber.transcribe(np.stack([samples, samples], axis=1), rate) == found, "channels are averaged"
    assert transcriber.transcribe(soundfile.read(file, dtype="int16")[0]) == found
    assert run(model, file) == 0
    assert capsys.readouterr().out == f"{found.text}\n"


def test_rate(transcriber: Transcriber, tmp_path: Path) -> None:
    """Samples of a different rate are resampled as a file of that rate is."""
    samples = tones("កខគ គង", rate=22_050)
    soundfile.write(tmp_path / "a.wav", samples, 22_050, subtype="FLOAT")
    assert transcriber.transcribe(samples, 22_050) == transcriber.transcribe(str(tmp_path / "a.wav"))


def test_cut_file(transcriber: Transcriber, tmp_path: Path) -> None:
    cut(tmp_path / "a.wav")
    found = transcriber.transcribe(tmp_path / "a.wav")
    assert found.text
    assert found.problem.startswith("it is cut short")


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        ("absent.wav", r"absent\.wav: it does not exist, or is not a file"),
        (np.zeros((2, 3, 4)), r"samples of shape \(2, 3, 4\) and type float64: expected \(samples,\) or \(samples, channels\)"),
        (np.zeros(0), r"samples of shape \(0,\)"),
        (np.zeros(9, np.int64), "and type int64: expected .* as floats with full scale at 1 or 16-bit integers"),
        (np.full(999, np.nan), "not finite"),
    ],
)  # fmt: skip
def test_refused(transcriber: Transcriber, audio: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transcriber.transcribe(audio)


def test_load_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="decoder='best': expected greedy, beam or beam_lm"):
        load(model, decoder="best")
    with pytest.raises(FileNotFoundError, match=r"does not exist\. Expected the folder of a run"):
        load(tmp_path / "absent")
