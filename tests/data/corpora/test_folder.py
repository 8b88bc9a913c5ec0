import json
import re
from pathlib import Path

import numpy as np
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
    (note,) = corpus.notes
    assert note.startswith(f"{tmp_path}: read {name} (1 row), ")
    assert (
        f"Columns: audio = {'file, text = sentence' if 'file,' in table else 'file_name, text = transcription'}" in note
    )


# Common Voice's columns (release 17), a NeMo manifest with segments, and Lhotse's cuts as `CutSet.to_file` writes them.
COMMON_VOICE = (
    "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tdown_votes\tage\tgender\taccents\tvariant\t"
    "locale\tsegment\n"
)
CUT = {
    "id": "c", "start": 0.25, "duration": 0.5, "channel": 0, "type": "MonoCut",
    "supervisions": [{"id": "s", "recording_id": "r", "start": 0.05, "duration": 0.3, "channel": 0, "text": "ខ", "speaker": "p"}],
    "recording": {"id": "r", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}], "sampling_rate": 16000,
                  "num_samples": 16000, "duration": 1.0, "channel_ids": [0]},
}  # fmt: skip
FOLDERS: list[tuple[str, dict[str, str], dict[str, object], list[tuple[str, ...]], str]] = [
    ("common voice", {
        f"{part}.tsv": f'{COMMON_VOICE}s{part}\t{part}.mp3\tx\t"Oui", dit-il.\t\t2\t0\t\t\t\t\tfr\t\n'
        for part in ("train", "dev", "test")
    } | {"validated.tsv": COMMON_VOICE, "clip_durations.tsv": "clip\tduration[ms]\n"}, {},
     [(part, '"Oui", dit-il.', f"s{part}", own) for part, own in (("dev", "val"), ("test", "test"), ("train", "train"))],
     r"read dev\.tsv \(val, 1 row\), test\.tsv \(test, 1 row\), train\.tsv \(train, 1 row\), tab-separated, quotes literal\. "
     r"Columns: audio = path, text = sentence, speaker = client_id; not used: sentence_id, .* and 2 more\. data\.audio_column, "),
    ("validated alone", {"validated.tsv": COMMON_VOICE + "s\ttrain.mp3\tx\tក\t\t2\t0\t\t\t\t\tfr\t\n"}, {}, [("train", "ក", "s", "")], ""),
    ("nemo", {
        "train_manifest.json": '{"audio_filepath": "a.wav", "text": "ក", "duration": 0.25, "offset": 0.0}\n'
                               '{"audio_filepath": "a.wav", "text": "ខ", "duration": 0.5, "offset": 0.25}\n',
        "val_manifest.json": '{"audio_filepath": "sub/b.wav", "text": "គ", "duration": 1.0}\n',
    }, {}, [("a@0-0.25", "ក", "", "train"), ("a@0.25-0.75", "ខ", "", "train"), ("sub/b", "គ", "", "val")],
     "start of a segment = offset, its duration = duration; no speaker"),
    ("lhotse", {"cuts.jsonl": json.dumps(CUT)}, {}, [("a@0.3-0.6", "ខ", "p", "")], "Lhotse cuts"),
    ("a column of parts", {"t.csv": "wav;transcript;subset\na.wav;ក;Validation\nsub/b.wav;ខ;other\n"}, {"table": "t.csv"},
     [("a", "ក", "", "val"), ("sub/b", "ខ", "", "other")], "semicolon-separated.*part = subset"),
    ("audiofolder of parts", {"train/metadata.csv": "file_name,text\nc.wav,ក\n", "test/metadata.csv": "file_name,text\nc.wav,ខ\n"},
     {}, [("test/c", "ខ", "", "test"), ("train/c", "ក", "", "train")], ""),
    ("audiofolder of folders", {"metadata.jsonl": '{"file_name": "train/c.wav", "text": "ក"}'}, {}, [("train/c", "ក", "", "train")], ""),
    ("several tables", {"one.tsv": "audio\ttext\na.wav\tក\n", "two.jsonl": '{"path": "sub/b.wav", "text": "ខ"}'},
     {"table": ["one.tsv", "two.jsonl"]}, [("a", "ក", "", ""), ("sub/b", "ខ", "", "")], ""),
    ("a pattern", {"one.tsv": "audio\ttext\na.wav\tក\n", "two.tsv": "audio\ttext\nsub/b.wav\tខ\n"},
     {"table": "*.tsv"}, [("a", "ក", "", ""), ("sub/b", "ខ", "", "")], ""),
    ("duration is information", {"t.tsv": "audio\ttext\tduration\na.wav\tក\t99\n"}, {}, [("a", "ក", "", "")], "not used: duration"),
]  # fmt: skip


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the audio of FOLDERS."""
    root = tmp_path_factory.mktemp("recordings")
    for name in (
        "a.wav",
        "sub/b.wav",
        "train/c.wav",
        "test/c.wav",
        *(f"clips/{p}.mp3" for p in ("train", "dev", "test")),
    ):
        (root / name).parent.mkdir(exist_ok=True)
        soundfile.write(root / name, np.random.default_rng(0).uniform(-0.5, 0.5, 16_000), 16_000)
    return root


@pytest.mark.parametrize(
    ("tables", "options", "expected", "note"), [f[1:] for f in FOLDERS], ids=[f[0] for f in FOLDERS]
)
def test_formats(
    tables: dict[str, str], options: dict[str, object], expected: list[tuple[str, ...]], note: str, recordings: Path
) -> None:
    """Tables of other tools are read as they are: ids, texts, speakers and parts; and a note names their columns."""
    for name, content in tables.items():
        (recordings / name).write_text(content, encoding="utf-8")
    try:
        corpus = read_corpus(FolderConfig(root=str(recordings), **options))  # type: ignore[arg-type]
    finally:
        for name in tables:
            (recordings / name).unlink()
    assert [(u.id, u.text, u.speaker, u.own_part) for u in corpus.utterances] == expected
    assert not corpus.faults
    assert re.search(note, " ".join(corpus.notes))
    seconds = [len(corpus.read_audio(u).waveform) / 16_000 for u in corpus.utterances]
    cut = [float(end) - float(start) for start, end in re.findall(r"@([\d.]+)-([\d.]+)", str(expected))]
    assert [s for s in seconds if s < 0.9] == pytest.approx(cut)


@pytest.mark.parametrize(
    ("tables", "options", "message"),
    [
        ({"a.tsv": "", "b.tsv": ""}, {}, r"has 2 tables, none of which is utterances\.tsv or named after a part .*: a\.tsv, b\.tsv"),
        ({"sub/train.tsv": "", "sub/a.tsv": ""}, {}, r"sub/train\.tsv may be one: data\.root=.*sub\. Expected a table"),
        ({}, {"table": "none.tsv"}, r"data\.table=none\.tsv is not a file in "),
        ({}, {"table": 3}, "expected the name of a table or a list of names"),
        ({"t.json": '\n [{"audio": "a.wav"}]'}, {}, "a JSON array, where JSON Lines are expected"),
        ({"t.jsonl.gz": "no"}, {}, "cannot be unpacked by gzip"),
        ({"t.tsv": "audio\ttext\n"}, {"split_column": "part"}, r"t\.tsv:1: no column part; it has audio, text"),
        ({"t.tsv": ""}, {"root": "sub/b.wav"}, r"is a file\. Expected its folder: data\.root=.*sub data\.table=b\.wav"),
    ],
)  # fmt: skip
def test_unknown_tables(tables: dict[str, str], options: dict[str, object], message: str, recordings: Path) -> None:
    for name, content in tables.items():
        (recordings / name).write_text(content, encoding="utf-8")
    root = recordings / str(options.get("root", ""))
    try:
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            read_corpus(FolderConfig(**options | {"root": str(root)}))  # type: ignore[arg-type]
    finally:
        for name in tables:
            (recordings / name).unlink()


CUT_FAULTS: list[tuple[dict[str, object], str]] = [
    ({"type": "MixedCut"}, "a cut of type MixedCut; expected MonoCut or MultiCut"),
    ({"recording": None}, "a cut without a recording"),
    ({"supervisions": []}, "a cut without a supervision"),
    ({"supervisions": [1]}, "that is not a JSON object"),
    ({"start": "x"}, "a start or duration that is not a number"),
    ({"channel": 1, "supervisions": [{"text": "ក"}]}, "no file for channel 1"),
    ({"recording": CUT["recording"] | {"transforms": [{}]}}, "transforms"),  # type: ignore[operator]
    ({"recording": {"sources": [{"type": "url", "channels": [0], "source": "x"}]}}, "audio of type url"),
]


def test_segment_faults(recordings: Path) -> None:
    """Rows with impossible times, and cuts without a file, are faults with their line; none ends the run."""
    (recordings / "m.json").write_text(
        "\n".join(
            f'{{"audio_filepath": "a.wav", "text": "ក", "duration": {duration}, "offset": {offset}}}'
            for offset, duration in [(-1, 1), ('"inf"', 1), ('"x"', 1), (0, 0), (0, "[1]"), (0, 0.5), (0.5, 9)]
        ),
        encoding="utf-8",
    )
    (recordings / "c.jsonl").write_text("\n".join(json.dumps(CUT | c) for c, _ in CUT_FAULTS), encoding="utf-8")
    try:
        corpus = read_corpus(FolderConfig(root=str(recordings), table="m.json"))
        cuts = read_corpus(FolderConfig(root=str(recordings), table="c.jsonl"))
    finally:
        (recordings / "m.json").unlink()
        (recordings / "c.jsonl").unlink()
    assert [f.detail.split(": ", 1)[1] for f in corpus.faults[:4]] == [
        "its offset is -1; expected seconds, at least 0",
        "its offset is inf; expected seconds, at least 0",
        "its offset is x; expected seconds, at least 0",
        "its duration is 0; expected the seconds of the segment",
    ]
    assert [f.detail.split(":")[1] for f in corpus.faults] == ["1", "2", "3", "4", "5"]
    assert [u.id for u in corpus.utterances] == ["a@0-0.5", "a@0.5-9.5"]
    with pytest.raises(ValueError, match=r"its segment 0\.50 s to 9\.50 s is not in the file, which has 1\.00 s"):
        corpus.read_audio(corpus.utterances[1])
    assert not cuts.utterances
    for fault, (_, message) in zip(cuts.faults, CUT_FAULTS, strict=True):
        assert message in fault.detail


def test_ids_of_absolute_paths(recordings: Path, tmp_path: Path) -> None:
    """Ids stay where the folder moves with its audio, also if the audio is in a folder beside it, or behind a link."""
    (tmp_path / "link").symlink_to(recordings)
    paths = [recordings / "a.wav", recordings / "train" / "c.wav", tmp_path / "link" / "sub" / "b.wav"]
    table = "audio\ttext\n" + "".join(f"{path}\tក\n" for path in paths)
    found = {}
    for root in (recordings, recordings / "train", tmp_path / "link"):
        (root / "t.tsv").write_text(table, encoding="utf-8")
        corpus = read_corpus(FolderConfig(root=str(root), table="t.tsv"))
        (root / "t.tsv").unlink()
        found[root.name] = [u.id for u in corpus.utterances]
        assert [corpus.read_audio(u).waveform.size for u in corpus.utterances] == [16_000] * 3
    assert found[recordings.name][:2] == ["a", "train/c"]
    assert found["train"] == ["../a", "c", str(tmp_path / "link" / "sub" / "b")]
    assert found["link"] == ["a", "train/c", "sub/b"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"audio\tspoken\nx.wav\ty\n", "no column text; it has audio, spoken"),
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
