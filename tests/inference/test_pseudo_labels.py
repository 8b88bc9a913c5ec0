"""Transcripts as a corpus: `khasr.transcribe --to-corpus`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from khasr.config import FolderConfig
from khasr.data.corpora import read_corpus
from khasr.decoding.decoded import Decoded, Word
from khasr.inference.pseudo_labels import PseudoLabels
from tests.inference.test_transcription import cut, good, run


def decoded(text: str, *posteriors: float, confidence: float | None = None) -> list[Decoded]:
    words = [Word(word, 0, 1, p) for word, p in zip(text.split(), posteriors, strict=True)]
    return [Decoded(text, words, -1.0, 0.5, confidence), Decoded("no", [], -9.0, 0.1)]


def test_threshold(tmp_path: Path) -> None:
    """Confident pieces are kept with their times, the others counted by reason; data=folder reads the kept audio."""
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 32_000)
    for name in ("a.wav", "b.wav", "c.wav"):
        soundfile.write(tmp_path / name, samples, 16_000)
    labels = PseudoLabels(tmp_path / "labels", 0.5)
    pieces = [
        (0.0, decoded("ក ខ", 0.9, 0.3)),
        (0.5, decoded("ក", 0.4)),
        (1.25, decoded("គ", 0.8)),
        (1.95, decoded("គ", 0.9)),
    ]
    labels.add(str(tmp_path / "a.wav"), 2.0, pieces)
    labels.add(str(tmp_path / "b.wav"), 2.0, [(0.0, decoded("ខ", 0.1, confidence=0.7))])
    labels.add(str(tmp_path / "c.wav"), 2.0, [(0.0, decoded(""))])
    labels.add(str(tmp_path / "c.wav"), 2.0, [(0.0, decoded("ក", 0.9))], "it is cut short")
    labels.add(str(tmp_path / "a\tb.wav"), 2.0, [(0.0, decoded("ក", 0.9))])
    labels.add(str(tmp_path / "d.wav"), 0.02, [])
    first, spread, command = labels.write()
    assert first.endswith(
        "utterances.tsv: 3 of 9 pieces, 0.000889 of 0.00278 h, confidence at least 0.5; left out: no words (2), a "
        "confidence below 0.5 (1), a length outside 0.1 to 30 s (1), a recording that is cut short (1), a name with tabs "
        "or line ends (1)"
    )
    assert "0.65 for half" in spread
    assert "They are posteriors, which are too high" in spread
    assert f"{{data:folder,root:{tmp_path / 'labels'},split:train,weight:0.5}}" in command
    corpus = read_corpus(FolderConfig(root=str(tmp_path / "labels")))
    assert [(u.id, u.text) for u in corpus.utterances] == [
        ("../a@0-0.5", "ក ខ"), ("../a@1.25-1.95", "គ"), ("../b", "ខ")
    ]  # fmt: skip
    assert [corpus.read_audio(u).waveform.size for u in corpus.utterances] == [8_000, 11_200, 32_000]
    with pytest.raises(ValueError, match=r"labels has a utterances\.tsv already; choose a new folder\."):
        PseudoLabels(tmp_path / "labels", 0.5)


def test_command(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good(tmp_path / "in" / "a.wav")
    cut(tmp_path / "in" / "b.wav")
    options: dict[str, Any] = {"to_corpus": tmp_path / "out", "min_confidence": 0.0}
    assert run(model, tmp_path / "in", **options) == 1
    printed = capsys.readouterr()
    assert "utterances.tsv: 1 of 2 pieces" in printed.out
    assert "b.wav: it is cut short" in printed.err
    (utterance,) = read_corpus(FolderConfig(root=str(tmp_path / "out"))).utterances
    assert utterance.id == "../in/a"
    assert utterance.text
    with pytest.raises(ValueError, match=r"no piece of 2 is confident enough for --min-confidence 1\. Confidences: 0"):
        run(model, tmp_path / "in", **options | {"to_corpus": tmp_path / "new", "min_confidence": 1.0})
    assert not (tmp_path / "new").exists()
    with pytest.raises(ValueError, match=r"--min-confidence 2: expected a number from 0 to 1\."):
        run(model, tmp_path / "in", **options | {"to_corpus": tmp_path / "new", "min_confidence": 2.0})
    with pytest.raises(ValueError, match="--to-corpus needs audio in files"):
        run(model, "-", **options | {"to_corpus": tmp_path / "new"})
