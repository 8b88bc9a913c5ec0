import zipfile
from pathlib import Path

import pytest
import soundfile

from khasr.config import OpenslrKmConfig
from khasr.data.audio import SAMPLE_RATE
from khasr.data.audio_cache import load_audio
from khasr.data.corpora import read_corpus
from tests.conftest import SHARED, needs_shared, tones

SENTENCES = {"khm_0308_001": "កខ គង", "khm_0308_002": "ច ក", "khm_1161_003": "ងង"}


def write_archive(root: Path, lines: list[str], ids: list[str]) -> Path:
    base = root / "km_kh_male"
    (base / "wavs").mkdir(parents=True)
    for id_ in ids:
        soundfile.write(base / "wavs" / f"{id_}.wav", tones("កខ", rate=48_000), 48_000)
    (base / "line_index.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def zipped(root: Path) -> Path:
    path = root / "km_kh_male.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((root / "km_kh_male").rglob("*.*")):
            archive.write(file, file.relative_to(root))
    return path


@pytest.mark.parametrize("tabs", ["\t", "\t\t"])
@pytest.mark.parametrize("form", ["parent", "folder", "zip", "folder with the zip"])
def test_layouts(tmp_path: Path, tabs: str, form: str) -> None:
    """The archive's folder and zip, with two or three columns in the index."""
    root = write_archive(tmp_path, [f"{i}{tabs}{t}" for i, t in SENTENCES.items()], list(SENTENCES))
    where = {"parent": root, "folder": root / "km_kh_male"}.get(form)
    if where is None:
        path = zipped(root)
        (root / "km_kh_male").rename(root / "elsewhere")
        where = path if form == "zip" else root
    corpus = read_corpus(OpenslrKmConfig(root=str(where)))
    assert {u.id: u.text for u in corpus.utterances} == SENTENCES
    assert [u.speaker for u in corpus.utterances] == ["0308", "0308", "1161"]
    recording = corpus.read_audio(corpus.utterances[0])
    assert (recording.rate, len(recording.waveform)) == (48_000, 3200)


def test_faults(tmp_path: Path) -> None:
    lines = [*(f"{i}\t\t{t}" for i, t in SENTENCES.items()), "khm_0308_001\t\tក", "khm_1161_004\t\t"]
    corpus = read_corpus(OpenslrKmConfig(root=str(write_archive(tmp_path, lines, list(SENTENCES)[:2]))))
    assert [(f.id, f.reason) for f in corpus.faults] == [
        ("khm_1161_003", "no audio"),
        ("khm_0308_001", "its id occurs twice"),
        ("khm_1161_004", "no audio"),
    ]
    assert "line_index.tsv:3: khm_1161_003 has no audio in wavs" in corpus.faults[0].detail
    assert len(corpus.utterances) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "absent", "does not exist"),
        (lambda root: root, "does not contain"),
    ],
)
def test_bad_root(tmp_path: Path, make: object, message: str) -> None:
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        read_corpus(OpenslrKmConfig(root=str(make(tmp_path))))  # type: ignore[operator]


def test_broken_zip(tmp_path: Path) -> None:
    (tmp_path / "km_kh_male.zip").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match="not a complete zip"):
        read_corpus(OpenslrKmConfig(root=str(tmp_path / "km_kh_male.zip")))


def test_encrypted_zip(tmp_path: Path) -> None:
    """An encrypted recording is a fault of its utterance."""
    write_archive(tmp_path, [f"{i}\t\t{t}" for i, t in SENTENCES.items()], list(SENTENCES))
    path = zipped(tmp_path)
    data = bytearray(path.read_bytes())
    for header, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # the local and the central header of the recording
        name = b"km_kh_male/wavs/khm_0308_002.wav"
        at = next(i for i in range(len(data)) if data.startswith(header, i) and name in data[i : i + 46 + len(name)])
        data[at + flags] |= 1
    path.write_bytes(data)
    corpus = read_corpus(OpenslrKmConfig(root=str(path)))
    audio, faults = load_audio(corpus, tmp_path / "cache", progress=False)
    assert (len(audio), [(f.id, f.reason) for f in faults]) == (2, [("khm_0308_002", "unreadable audio")])
    assert "khm_0308_002.wav cannot be read from" in faults[0].detail
    assert "encrypted" in faults[0].detail


def test_no_root() -> None:
    with pytest.raises(FileNotFoundError, match=r"data\.root is not set.*openslr\.org/42.*quickstart"):
        read_corpus(OpenslrKmConfig())


@needs_shared
def test_real_recording(tmp_path: Path) -> None:
    (tmp_path / "wavs").mkdir()
    clip = SHARED / "data/clips/slr42_khm_1161_1980987674.wav"
    (tmp_path / "wavs" / "khm_1161_1980987674.wav").symlink_to(clip)
    (tmp_path / "line_index.tsv").write_text("khm_1161_1980987674\t\tប្អូន ប្រុស\n", encoding="utf-8")
    corpus = read_corpus(OpenslrKmConfig(root=str(tmp_path)))
    recording = corpus.read_audio(corpus.utterances[0])
    assert (recording.rate, corpus.utterances[0].speaker) == (48_000, "1161")
    assert len(recording.waveform) / SAMPLE_RATE == pytest.approx(4.86, abs=0.01)
