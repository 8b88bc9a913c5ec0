from pathlib import Path

import pytest
import soundfile

from khasr.config import FolderConfig
from khasr.data.corpora import read_corpus
from tests.conftest import tones, write_corpus


def test_table_variants(tmp_path: Path) -> None:
    """A byte order mark, CRLF, other column names and literal quotes."""
    soundfile.write(tmp_path / "a.flac", tones("ក"), 16_000)
    table = '\ufefffile\tsentence\r\na.flac\t"ក ខ\r\n'
    (tmp_path / "t.tsv").write_bytes(table.encode())
    options = FolderConfig(
        root=str(tmp_path), table="t.tsv", audio_column="file", text_column="sentence", speaker_column=None
    )
    (utterance,) = read_corpus(options).utterances
    assert (utterance.id, utterance.text, utterance.speaker) == ("a", '"ក ខ', "")


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("metadata.csv", 'file_name,transcription\na.flac,"ក, ខ"\n'),
        ("metadata.csv", 'file,sentence,speaker_id\na.flac,"ក, ខ",s\n'),
        ("metadata.jsonl", '{"file_name": "a.flac", "transcription": "ក, ខ"}\n'),
    ],
)
def test_audiofolder(name: str, table: str, tmp_path: Path) -> None:
    """AudioFolder's tables are read with their own column names, and a note says so."""
    soundfile.write(tmp_path / "a.flac", tones("ក"), 16_000)
    (tmp_path / name).write_text(table, encoding="utf-8")
    corpus = read_corpus(FolderConfig(root=str(tmp_path)))
    (utterance,) = corpus.utterances
    assert (utterance.id, utterance.text, utterance.speaker) == ("a", "ក, ខ", "s" if "speaker" in table else "")
    assert corpus.notes == [f"{tmp_path} has no utterances.tsv; its {name} is read."]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"audio\ttext\nx.wav\ty\n", "no column speaker; it has audio, text"),
        (b"", "it has nothing"),
        (b"audio\ttext\tspeaker\nx.wav\tcaf\xe9\ts\n", "utterances.tsv:2: byte 0xe9 is not UTF-8"),
    ],
)
def test_bad_table(tmp_path: Path, table: bytes, message: str) -> None:
    (tmp_path / "utterances.tsv").write_bytes(table)
    with pytest.raises(ValueError, match=message):
        read_corpus(FolderConfig(root=str(tmp_path)))


def test_faults(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "c", count=2)
    with (root / "utterances.tsv").open("a", encoding="utf-8") as file:
        file.write("audio/none.wav\tក\ts0\naudio/u000.wav\tក\ts0\n\tក\ts0\n")
    corpus = read_corpus(FolderConfig(root=str(root)))
    assert len(corpus.utterances) == 2
    assert [f.reason for f in corpus.faults] == ["no audio", "its id occurs twice", "no audio"]
    assert "utterances.tsv:4" in corpus.faults[0].detail


def test_fingerprint(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "c", count=3)
    prints = [read_corpus(FolderConfig(root=str(root))).fingerprint for _ in range(2)]
    soundfile.write(root / "audio" / "u001.wav", tones("កខគងច"), 16_000)
    prints.append(read_corpus(FolderConfig(root=str(root))).fingerprint)
    table = root / "utterances.tsv"
    table.write_text(table.read_text(encoding="utf-8").replace("s0", "s9"), encoding="utf-8")
    prints.append(read_corpus(FolderConfig(root=str(root))).fingerprint)
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
