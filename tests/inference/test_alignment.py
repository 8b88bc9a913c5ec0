"""Recordings with text but no cuts, by a recogniser that knows the tones of the letters."""

import csv
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from khasr.config import Config, FolderConfig
from khasr.data.audio import FRAME_STRIDE
from khasr.data.corpora import read_corpus
from khasr.data.datamodule import read_parts
from khasr.inference import alignment
from khasr.inference.alignment import align, read_sentences
from khasr.text.vocabulary import Vocabulary
from tests.conftest import LETTERS, RATE, SMALL, tones

# Letters do not repeat within a word, since two equal tones are one.
TEXT = [
    "កខគ ងច",
    "ចងគ ខក ចខ",
    "គក",
    "ខចក ងគ ចក",
    "ងខ គច",
    "កង ចគខ",
    "ខគ កចង",
    "ចក ខង គ",
    "គងចក",
    "ងក ខច",
    "កគច ខ",
    "ខក ងចគ",
]


class ToneRecogniser:
    """Log-probabilities of tones: a letter or a space in the first frame of its 100 ms, then the blank."""

    vocabulary = Vocabulary(["<blank>", "<unk>", " ", *LETTERS])
    standardised = False
    text = None

    def log_probs(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> list[np.ndarray]:
        frames = waveforms[0, : len(waveforms[0]) // FRAME_STRIDE * FRAME_STRIDE].numpy().reshape(-1, FRAME_STRIDE)
        power = np.abs(np.fft.rfft(frames))[:, [round((300 + 250 * i) / 50) for i in range(len(LETTERS))]]
        probs = np.full((len(frames), len(self.vocabulary)), 0.004)
        loud = power.max(axis=1) > 10
        best = np.where(loud, 3 + power.argmax(axis=1), 2)
        for i, symbol in enumerate(best):
            probs[i, symbol if i == 0 or symbol != best[i - 1] else 0] = 0.97
        return [np.log(probs / probs.sum(axis=1, keepdims=True)).astype(np.float32)]


@pytest.fixture(autouse=True)
def _recogniser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment, "load_recogniser", lambda run: ToneRecogniser())


def record(path: Path, spoken: list[str]) -> list[tuple[float, float]]:
    """Writes the sentences with 0.4 s of silence around each; returns where the letters begin and end."""
    times, at, parts = [], 0.0, [tones(" " * 4)]
    for text in spoken:
        begin = at + 0.4
        at = begin + 0.1 * len(text)
        times.append((begin, at))
        parts += [tones(text), tones(" " * 4)]
    soundfile.write(path, np.concatenate(parts), RATE)
    return times


def arguments(tmp_path: Path, contents: str, **changed: Any) -> Namespace:
    (tmp_path / "talk.txt").write_text(contents, encoding="utf-8")
    given = {"run": "RUN", "audio": str(tmp_path / "talk.wav"), "text": tmp_path / "talk.txt"}
    return Namespace(**given | {"out": tmp_path / "out", "min_confidence": 0.3} | changed)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_corpus(tmp_path: Path, compose: Callable[..., Config], capsys: pytest.CaptureFixture[str]) -> None:
    """A recording of several chunks, in which a sentence is missing and one has no text, becomes a corpus."""
    text = TEXT * 4
    spoken = [t for i, t in enumerate(text) if i != 20]
    spoken.insert(9, "ចខច កចក ខង")
    times = record(tmp_path / "talk.wav", spoken)
    assert align(arguments(tmp_path, "។ ".join(text) + "។\n???\n")) == 0
    recording, _ = soundfile.read(tmp_path / "talk.wav")
    rows = rows_of(tmp_path / "out" / "utterances.tsv")
    expected = [(f"{t}។", span) for i, (t, span) in enumerate(zip(spoken, times, strict=True)) if i != 9]
    assert [row["text"] for row in rows] == [t for t, _ in expected]
    for row, (_, (begin, end)) in zip(rows, expected, strict=True):
        # In the middle of the pause, or 0.3 s into a longer one; the last letter is in the first of its frames.
        assert begin - 0.31 < float(row["begin"]) < begin - 0.15
        assert end + 0.1 < float(row["end"]) < end + 0.31
        assert float(row["confidence"]) > 0.9
        samples, rate = soundfile.read(tmp_path / "out" / row["audio"])
        assert rate == RATE
        assert len(samples) / rate == pytest.approx(float(row["end"]) - float(row["begin"]), abs=0.03)
        start = min(range(round(float(row["begin"]) * RATE) - 320, round(float(row["begin"]) * RATE) + 321, 160),
                    key=lambda at: np.abs(recording[at : at + len(samples)] - samples).max())  # fmt: skip
        assert recording[start : start + len(samples)] == pytest.approx(samples, abs=1e-4)
    left_out = rows_of(tmp_path / "out" / "left_out.tsv")
    assert [(r["line"], r["text"], r["reason"]) for r in left_out] == [
        ("1", f"{text[20]}។", "not found in the recording"),
        *[("2", "?", "no symbol that the model knows")] * 3,
    ]
    printed = capsys.readouterr().out
    assert f"{len(rows)} of {len(text) + 3} sentences" in printed
    assert "left out: 3 no symbol that the model knows, 1 not found in the recording" in printed
    part = read_parts(compose(*SMALL, f"data.root='{tmp_path / 'out'}'").data, seed=0)["all"]
    assert sorted(part.texts) == sorted(row["text"] for row in rows)


def test_lengths(tmp_path: Path) -> None:
    """Utterances that data=folder would refuse are left out; text with signs of formulas is read as it is."""
    long = "កខគង" * 80  # 32 s without a space
    spoken = ["កខ គង", long, "ចក ខង"]
    record(tmp_path / "talk.wav", spoken)
    assert align(arguments(tmp_path, f"-{spoken[0]}។\n{long}។\n={spoken[2]}។\n")) == 0
    (left_out,) = rows_of(tmp_path / "out" / "left_out.tsv")
    assert (left_out["line"], left_out["reason"]) == ("2", "a length outside 0.1 to 30 s")
    corpus = read_corpus(FolderConfig(root=str(tmp_path / "out")))
    assert [u.text for u in corpus.utterances] == [f"-{spoken[0]}។", f"={spoken[2]}។"]


def test_wrong_text(tmp_path: Path) -> None:
    """With the text of a different recording, nothing is written."""
    record(tmp_path / "talk.wav", ["កខ គង", "ចក"])
    with pytest.raises(
        ValueError, match=r"None of 2 sentences of .*talk\.txt was found in .*talk\.wav with a confiden"
    ):
        align(arguments(tmp_path, "គចងខក ចងគខ ងខកច\nខងកច គចខ\n"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "changed", "message"),
    [
        ("hello", {}, r"talk\.txt has no symbol that RUN was trained on; expected its text\."),
        ("ក", {"min_confidence": 2}, r"--min-confidence 2: expected a number from 0 to 1\."),
        ("ក", {"audio": "-"}, r"Standard input can be read once, and alignment reads the audio twice: pass a file\."),
        ("ក", {"audio": "absent.wav"}, "absent.wav: it does not exist, or is not a file"),
        ("ក", {"text": Path("absent.txt")}, "absent.txt does not exist, or is not a file; expected the text of the"),
    ],
)
def test_refused(text: str, changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    record(tmp_path / "talk.wav", ["ក"])
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        align(arguments(tmp_path, text, **changed))


def test_sentences() -> None:
    """Sentences are cut at their ends and long ones between words; unknown symbols stay in the text only."""
    long = " ".join(["កខគង"] * 100)
    found = read_sentences(f"កខ។គ x ង! x  ច-\n\n{long}\n", ToneRecogniser())  # type: ignore[arg-type]
    assert [(s.text, s.line) for s in found[:3]] == [("កខ។", 1), ("គ x ង!", 1), ("x  ច-", 1)]
    assert [ToneRecogniser.vocabulary.decode(s.symbols) for s in found[:3]] == ["កខ", "គ ង", "ច"]
    assert " ".join(s.text for s in found[3:]) == long
    assert len(found) > 5
    zero_width = long.replace(" ", "\u200b")
    parts = [s.text for s in read_sentences(zero_width, ToneRecogniser())]  # type: ignore[arg-type]
    assert "\u200b".join(parts) == zero_width
    assert len(parts) == len(found) - 3
    assert [len(s.text.split()) for s in found[3:]] == [33, 33, 34]
    assert {s.line for s in found[3:]} == {3}
