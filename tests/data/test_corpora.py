import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from khasr.config import FolderConfig, OpenslrKmConfig, SyntheticConfig
from khasr.data.corpora import read_corpus
from khasr.data.corpora.synthetic import _MNEMONICS, _own_words
from tests.conftest import SHARED, needs_shared, tones, write_corpus

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
def test_openslr_km_is_read_from_folder_and_zip_with_two_or_three_columns(tmp_path: Path, tabs: str, form: str) -> None:
    root = write_archive(tmp_path, [f"{i}{tabs}{t}" for i, t in SENTENCES.items()], list(SENTENCES))
    where = {"parent": root, "folder": root / "km_kh_male"}.get(form)
    if where is None:
        path = zipped(root)
        (root / "km_kh_male").rename(root / "elsewhere")
        where = path if form == "zip" else root
    corpus = read_corpus(OpenslrKmConfig(root=str(where)))
    assert {u.id: u.text for u in corpus.utterances} == SENTENCES
    assert [u.speaker for u in corpus.utterances] == ["0308", "0308", "1161"]
    samples, rate = corpus.read_audio(corpus.utterances[0])
    assert (rate, len(samples)) == (48_000, 9600)


def test_what_an_index_names_and_has_not_is_a_fault_with_its_line(tmp_path: Path) -> None:
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
    ("make", "says"),
    [
        (lambda root: root / "absent", "does not exist"),
        (lambda root: root, "has neither"),
        (lambda root: write_archive(root, ["one field"], []), "line_index.tsv:1: expected id, tab"),
        (lambda root: write_archive(root, ["a\tb\tc"], []), "line_index.tsv:1: expected id, tab"),
    ],
)
def test_a_root_that_is_not_the_archive_is_told(tmp_path: Path, make: object, says: str) -> None:
    with pytest.raises((FileNotFoundError, ValueError), match=says):
        read_corpus(OpenslrKmConfig(root=str(make(tmp_path))))  # type: ignore[operator]


def test_a_broken_zip_is_told(tmp_path: Path) -> None:
    (tmp_path / "km_kh_male.zip").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match="not a whole zip"):
        read_corpus(OpenslrKmConfig(root=str(tmp_path / "km_kh_male.zip")))


def test_without_a_root_the_archive_and_the_quickstart_are_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"data\.root is not set.*openslr\.org/42.*quickstart"):
        read_corpus(OpenslrKmConfig())


def test_a_folder_s_table_may_have_a_bom_crlf_other_names_and_quotes(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", tones("ក"), 16_000)
    table = '\ufefffile\tsentence\r\na.flac\t"ក ខ\r\n'
    (tmp_path / "t.tsv").write_bytes(table.encode())
    options = FolderConfig(
        root=str(tmp_path), table="t.tsv", audio_column="file", text_column="sentence", speaker_column=None
    )
    (utterance,) = read_corpus(options).utterances
    assert (utterance.id, utterance.text, utterance.speaker) == ("a", '"ក ខ', "")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (b"audio\ttext\nx.wav\ty\n", "no column speaker; it has audio, text"),
        (b"", "it has nothing"),
        (b"audio\ttext\tspeaker\nx.wav\tcaf\xe9\ts\n", "utterances.tsv:2: byte 0xe9 is not UTF-8"),
    ],
)
def test_a_table_that_cannot_be_read_is_told_with_its_line(tmp_path: Path, table: bytes, says: str) -> None:
    (tmp_path / "utterances.tsv").write_bytes(table)
    with pytest.raises(ValueError, match=says):
        read_corpus(FolderConfig(root=str(tmp_path)))


def test_rows_without_audio_or_text_are_faults(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "c", count=2)
    with (root / "utterances.tsv").open("a", encoding="utf-8") as file:
        file.write("audio/none.wav\tក\ts0\naudio/u000.wav\tក\ts0\n\tក\ts0\n")
    corpus = read_corpus(FolderConfig(root=str(root)))
    assert len(corpus.utterances) == 2
    assert [f.reason for f in corpus.faults] == ["no audio", "its id occurs twice", "no audio"]
    assert "utterances.tsv:4" in corpus.faults[0].detail


def test_changed_audio_or_text_changes_the_fingerprint(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "c", count=3)
    prints = [read_corpus(FolderConfig(root=str(root))).fingerprint for _ in range(2)]
    soundfile.write(root / "audio" / "u001.wav", tones("កខគងច"), 16_000)
    prints.append(read_corpus(FolderConfig(root=str(root))).fingerprint)
    table = root / "utterances.tsv"
    table.write_text(table.read_text(encoding="utf-8").replace("s0", "s9"), encoding="utf-8")
    prints.append(read_corpus(FolderConfig(root=str(root))).fingerprint)
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


# ------------------------------------------------------------------------------------------------------- synthetic

SPEAK = """
import hashlib
from khasr.config import SyntheticConfig
from khasr.data.corpora import read_corpus
c = read_corpus(SyntheticConfig(utterances=30, voices=12))
h = hashlib.sha256()
for u in c.utterances:
    h.update(c.read_audio(u)[0].tobytes())
print(h.hexdigest())
"""


def test_the_same_seed_speaks_the_same_in_another_process() -> None:
    said = [
        subprocess.run([sys.executable, "-c", SPEAK], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert said[0] == said[1]
    assert len(said[0].strip()) == 64


def test_synthetic_phrases_are_distinct_khmer_and_of_several_voices() -> None:
    corpus = read_corpus(SyntheticConfig(utterances=300, voices=5))
    texts = [u.text for u in corpus.utterances]
    assert len(set(texts)) == 300
    assert {c for t in texts for c in t} - {" "} <= {chr(c) for c in range(0x1780, 0x17D3)}
    assert len({u.speaker for u in corpus.utterances}) == 5
    other = read_corpus(SyntheticConfig(utterances=300, voices=5, corpus_seed=1))
    assert {u.text for u in other.utterances} != set(texts)
    assert other.fingerprint != corpus.fingerprint


def test_audio_grows_with_its_words_and_is_neither_silent_nor_clipped() -> None:
    corpus = read_corpus(SyntheticConfig(utterances=40))
    seconds = []
    for utterance in corpus.utterances:
        samples, rate = corpus.read_audio(utterance)
        assert 0.02 < np.abs(samples).max() < 1.0
        seconds.append(len(samples) / rate / len(utterance.text.split()))
    assert 0.15 < min(seconds) <= max(seconds) < 1.0


def test_every_word_of_the_grammar_can_be_spoken() -> None:
    words, lexicon = _own_words()
    assert sum(map(len, words.values())) == len(lexicon)
    for word, phones in lexicon.items():
        assert all(p in _MNEMONICS or p == "." for p in phones), word


def test_given_sentences_are_spoken_with_a_given_lexicon(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("កា ខា\nកា គា\n", encoding="utf-8")
    (tmp_path / "lexicon.tsv").write_text("# words\nកា\tk aa\nខា\tkh aa\n", encoding="utf-8")
    options = SyntheticConfig(sentences=str(tmp_path / "s.txt"), lexicon=str(tmp_path / "lexicon.tsv"))
    corpus = read_corpus(options)
    assert [u.text for u in corpus.utterances] == ["កា ខា"]
    assert len(corpus.read_audio(corpus.utterances[0])[0]) > 0
    assert "s.txt:2: no phones for គា" in corpus.faults[0].detail


@pytest.mark.parametrize("options", [{"voices": 0}, {"voices": 99}, {"sentences": "x"}, {"lexicon": "x"}])
def test_synthetic_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"data\.(voices|sentences)"):
        read_corpus(SyntheticConfig(**options))  # type: ignore[arg-type]


@needs_shared
def test_google_s_lexicon_speaks_nearly_all_of_openslr_42() -> None:
    text = SHARED / "data/slr42_text"
    corpus = read_corpus(
        SyntheticConfig(sentences=str(text / "line_index.tsv"), lexicon=str(text / "lexicon.tsv"), utterances=2906)
    )
    assert len(corpus.utterances) + len(corpus.faults) == 2906
    assert len(corpus.faults) < 0.06 * 2906


@needs_shared
def test_the_one_real_clip_is_read(tmp_path: Path) -> None:
    (tmp_path / "wavs").mkdir()
    clip = SHARED / "data/clips/slr42_khm_1161_1980987674.wav"
    (tmp_path / "wavs" / "khm_1161_1980987674.wav").symlink_to(clip)
    (tmp_path / "line_index.tsv").write_text("khm_1161_1980987674\t\tប្អូន ប្រុស\n", encoding="utf-8")
    corpus = read_corpus(OpenslrKmConfig(root=str(tmp_path)))
    samples, rate = corpus.read_audio(corpus.utterances[0])
    assert (rate, corpus.utterances[0].speaker) == (48_000, "1161")
    assert len(samples) / rate == pytest.approx(4.86, abs=0.01)
