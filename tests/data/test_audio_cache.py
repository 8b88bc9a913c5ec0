from pathlib import Path

import numpy as np
import pytest
import soundfile

from khasr.config import FolderConfig
from khasr.data.audio_cache import load_audio
from khasr.data.audio_file import Recording, record
from khasr.data.corpora import Corpus, Utterance, read_corpus
from tests.conftest import tones, write_corpus


def toy(reads: list[str], broken: str = "") -> Corpus:
    def read_audio(utterance: Utterance) -> Recording:
        reads.append(utterance.id)
        if utterance.id == broken:
            raise ValueError("it is damaged")
        return record([(tones(utterance.text, rate=48_000), 48_000)])

    utterances = [Utterance(f"u{i}", "កខ"[: 1 + i % 2], "s", f"t.tsv:{i}") for i in range(250)]
    return Corpus("toy", utterances, read_audio, fingerprint="f")


def test_load_audio(tmp_path: Path) -> None:
    audio, faults = load_audio(toy([]), tmp_path, progress=False)
    assert (len(audio), faults) == (250, [])
    assert audio["id"][:2] == ["u0", "u1"]
    assert [len(w) for w in audio["waveform"][:2]] == [1600, 3200]


def test_cache_hit(tmp_path: Path) -> None:
    reads: list[str] = []
    first, _ = load_audio(toy(reads), tmp_path, progress=False)
    assert len(reads) == 250
    second, _ = load_audio(toy(reads), tmp_path, progress=False)
    assert len(reads) == 250
    assert first.to_dict() == second.to_dict()


def test_fingerprint(tmp_path: Path) -> None:
    reads: list[str] = []
    load_audio(toy(reads), tmp_path, progress=False)
    changed = toy(reads)
    changed.fingerprint = "g"
    load_audio(changed, tmp_path, progress=False)
    assert len(reads) == 500


def test_unreadable_audio(tmp_path: Path) -> None:
    """Unreadable audio is a fault, also when loaded from the cache."""
    for _ in range(2):
        audio, faults = load_audio(toy([], broken="u7"), tmp_path, progress=False)
        assert len(audio) == 249
        assert [(f.id, f.reason) for f in faults] == [("u7", "unreadable audio")]
        assert "t.tsv:7" in faults[0].detail


def test_empty_corpus(tmp_path: Path) -> None:
    corpus = toy([])
    corpus.utterances = []
    audio, _ = load_audio(corpus, tmp_path, progress=False)
    assert len(audio) == 0


def test_error_leaves_no_files(tmp_path: Path) -> None:
    corpus = toy([])

    def fail(utterance: Utterance) -> Recording:
        raise KeyError(utterance.id)

    corpus.read_audio = fail
    with pytest.raises(KeyError):
        load_audio(corpus, tmp_path, progress=False)
    assert [p for p in tmp_path.iterdir() if p.suffix != ".lock"] == []


def test_rates_and_formats(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "c", count=1)
    rows = ["audio\ttext\tspeaker"]
    for name, rate, subtype in [
        ("a.wav", 8_000, "PCM_U8"), ("b.flac", 44_100, "PCM_24"), ("c.wav", 96_000, "FLOAT"), ("d.ogg", 16_000, "VORBIS"),
    ]:  # fmt: skip
        stereo = np.stack([tones("កខគ", rate=rate)] * 2, axis=1)
        soundfile.write(root / name, stereo, rate, subtype=subtype)
        rows.append(f"{name}\tកខគ\ts")
    (root / "utterances.tsv").write_text("\n".join(rows), encoding="utf-8")
    audio, faults = load_audio(read_corpus(FolderConfig(root=str(root))), tmp_path / "cache", progress=False)
    assert faults == []
    for waveform in audio["waveform"]:
        assert len(waveform) == pytest.approx(4800, abs=2)
        spectrum = np.abs(np.fft.rfft(np.array(waveform[:1600])))
        assert np.argmax(spectrum) * 10 == pytest.approx(300, abs=15)


@pytest.mark.parametrize("damage", ["cut", "empty", "no json", "no rows"])
def test_damaged_cache(tmp_path: Path, damage: str) -> None:
    """A damaged entry is made again."""
    reads: list[str] = []
    first, _ = load_audio(toy(reads), tmp_path, progress=False)
    expected = first.to_dict()
    (arrow,), (made,) = tmp_path.glob("*/utterances.arrow"), tmp_path.glob("*/made.json")
    file = arrow if damage in ("cut", "empty") else made
    data = file.read_bytes()
    file.unlink()  # the first dataset has it mapped
    file.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "no json": data[:20], "no rows": b"{}"}[damage])
    again, _ = load_audio(toy(reads), tmp_path, progress=False)
    assert len(reads) == 500
    assert again.to_dict() == expected
