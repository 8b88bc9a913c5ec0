import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from khasr.config import HubConfig, MixConfig
from khasr.data.corpora import read_corpus
from khasr.data.corpora.mix import corpus_options
from tests.conftest import tones


def sound(text: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tones(text, rate=48_000), 48_000, format="FLAC")
    return buffer.getvalue()


def table(count: int, **columns: list[object]) -> dict[str, list[object]]:
    audio = [{"bytes": sound("កខ"), "path": f"{i}.flac"} for i in range(count)]
    return {"audio": audio, "text": [f"ក{'ខ' * (i % 3)}" for i in range(count)], **columns}


def write_parquet(path: Path, count: int, **columns: list[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(table(count, **columns)), path)
    return path


def test_parquet_file(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", 3, who=[7, 7, None])
    corpus = read_corpus(HubConfig(root=str(path), speaker_column="who"))
    assert [(u.id, u.text, u.speaker) for u in corpus.utterances] == [
        ("train/000000", "ក", "7"), ("train/000001", "កខ", "7"), ("train/000002", "កខខ", ""),
    ]  # fmt: skip
    recording = corpus.read_audio(corpus.utterances[2])
    assert (len(recording.waveform), recording.rate) == (3200, 48_000)


def test_parquet_folder(tmp_path: Path) -> None:
    for name, count in [
        ("km_kh/train/0000", 3),
        ("km_kh/train/0001", 2),
        ("km_kh/validation/0000", 2),
        ("km_kh/test/0000", 1),
    ]:
        write_parquet(tmp_path / f"{name}.parquet", count)
    write_parquet(tmp_path / "th_th/train/0000.parquet", 9)
    utterances = read_corpus(HubConfig(root=str(tmp_path), files="km_kh/*/*.parquet")).utterances
    assert Counter(u.own_part for u in utterances) == {"train": 5, "val": 2, "test": 1}
    assert len({u.id for u in utterances}) == 8
    flat = tmp_path / "flat"
    for name in ("train-00000-of-00001", "test-00000-of-00001"):
        write_parquet(flat / f"{name}.parquet", 2)
    assert {u.own_part for u in read_corpus(HubConfig(root=str(flat))).utterances} == {"train", "test"}


@pytest.mark.parametrize("dictionary", [True, False])
def test_save_to_disk(tmp_path: Path, dictionary: bool) -> None:
    one = datasets.Dataset.from_dict(table(4, name=list("abcd"))).cast_column("audio", datasets.Audio(decode=False))
    (datasets.DatasetDict({"train": one, "validation": one}) if dictionary else one).save_to_disk(tmp_path / "d")
    options = HubConfig(root=str(tmp_path / "d"), id_column="name")
    corpus = read_corpus(options)
    assert [u.id for u in corpus.utterances][:4] == ["train/a", "train/b", "train/c", "train/d"]
    assert len(corpus.utterances) == (8 if dictionary else 4)
    assert len(corpus.read_audio(corpus.utterances[0]).waveform) == 3200
    assert read_corpus(options).fingerprint == corpus.fingerprint
    assert read_corpus(HubConfig(root=str(tmp_path / "d"))).fingerprint != corpus.fingerprint


def test_faults(tmp_path: Path) -> None:
    columns = table(4, name=["a", "a", "b", "c"])
    columns["text"] = ["ក", "ខ", " ", "គ"]
    columns["audio"][3] = None
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    corpus = read_corpus(HubConfig(root=str(tmp_path / "a.parquet"), id_column="name"))
    assert [(f.id, f.reason) for f in corpus.faults] == [("train/a", "its id occurs twice"), ("train/b", "no text")]
    with pytest.raises(ValueError, match="it has no audio"):
        corpus.read_audio(corpus.utterances[1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: HubConfig(), r"data\.dataset=ID"),
        (lambda p: HubConfig(root=str(p / "absent")), "does not exist"),
        (lambda p: HubConfig(dataset="a/b/c"), "data.dataset=a/b/c is not the name of a dataset"),
        (lambda p: HubConfig(root=str(p), files="/*"), r"data\.files=/\*: expected a pattern relative"),
        (lambda p: HubConfig(root=str(p), files=""), r"data\.files=: expected a pattern relative"),
        (lambda p: HubConfig(root=str(p.parent), files=f"{p.name}"), "has no files"),
        (lambda p: HubConfig(root=str(p)), r"has no files \*\*/\*\.parquet"),
        (
            lambda p: HubConfig(root=str(write_parquet(p / "a.parquet", 1)), text_column="t"),
            "no column t; it has audio, text",
        ),
    ],
)
def test_bad_source(tmp_path: Path, make: Callable[[Path], HubConfig], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_corpus(make(tmp_path))


def test_loading_script(tmp_path: Path) -> None:
    (tmp_path / "openslr.py").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"loading script \(openslr\.py\).*refs/convert/parquet.*save_to_disk"):
        read_corpus(HubConfig(root=str(tmp_path)))


@pytest.mark.parametrize("damage", ["text", "footer", "cut"])
def test_bad_parquet(damage: str, tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", 3)
    data = bytearray(path.read_bytes())
    if damage == "footer":
        start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        data[start : start + 20] = bytes(20)
    path.write_bytes({"text": b"PAR1 no", "footer": bytes(data), "cut": bytes(data[: len(data) // 2])}[damage])
    with pytest.raises(ValueError, match=r"a\.parquet cannot be read as a dataset") as caught:
        read_corpus(HubConfig(root=str(path)))
    assert "\n" not in str(caught.value)


class Hub:
    """The hub as far as khasr asks it, with a repository of two files."""

    def __init__(self, files: list[str]) -> None:
        self.files = files

    def list_repo_files(self, *_: object, **__: object) -> list[str]:
        return self.files


def test_hub_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "snapshots" / "c0ffee"
    for part in ("train", "validation", "test"):
        write_parquet(snapshot / f"km_kh/{part}/0000.parquet", 2)
    asked: list[dict[str, object]] = []
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: Hub(["fleurs.py", "km_kh/train/0000.parquet"]))
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *a, **k: asked.append({"id": a[0], **k}) or str(snapshot)
    )
    options, _ = corpus_options({"data": "fleurs_km", "text_column": "text"}, MixConfig())
    corpus = read_corpus(options)
    assert Counter(u.own_part for u in corpus.utterances) == {"train": 2, "val": 2, "test": 2}
    assert asked[0]["id"] == "google/fleurs"
    assert (asked[0]["revision"], asked[0]["allow_patterns"]) == ("refs/convert/parquet", ["km_kh/*/*.parquet"])
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path / "empty"))
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: Hub(["openslr.py", "README.md"]))
    with pytest.raises(ValueError, match=r"openslr/openslr is a loading script \(openslr\.py\)"):
        read_corpus(HubConfig(dataset="openslr/openslr"))


def test_offline() -> None:
    with pytest.raises(ConnectionError, match=r"cannot be reached\. data\.root=PATH"):
        read_corpus(HubConfig(dataset="nobody/nothing"))


def test_unknown_parts(tmp_path: Path) -> None:
    """Parts that are not train, validation or test are left out and named."""
    for name in ("train", "test", "other", "invalidated"):
        write_parquet(tmp_path / f"{name}-00000-of-00001.parquet", 2)
    corpus = read_corpus(HubConfig(root=str(tmp_path)))
    assert Counter(u.own_part for u in corpus.utterances) == {"train": 2, "test": 2}
    assert "left out the parts invalidated, other" in corpus.notes[0]


def test_arrays_and_paths(tmp_path: Path) -> None:
    """Structs of samples and rate, paths relative to the Parquet file, and an integer 0 as transcript."""
    soundfile.write(tmp_path / "x.wav", tones("ក"), 16_000)
    arrays = [{"array": tones("កខ").tolist(), "sampling_rate": 16_000}]
    for audio, samples in ((arrays, 3200), (["x.wav"], 1600)):
        pq.write_table(pa.table({"audio": audio, "text": [0]}), tmp_path / "a.parquet")
        corpus = read_corpus(HubConfig(root=str(tmp_path / "a.parquet")))
        assert [u.text for u in corpus.utterances] == ["0"]
        assert len(corpus.read_audio(corpus.utterances[0]).waveform) == samples


def test_control_characters_in_ids(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", 2, name=["a\tb", "c"])
    corpus = read_corpus(HubConfig(root=str(path), id_column="name"))
    assert [f.reason for f in corpus.faults] == ["control characters in its id or speaker"]
    assert [u.id for u in corpus.utterances] == ["train/c"]


def test_values_of_other_types(tmp_path: Path) -> None:
    """A transcript that is a list is a fault, and so is a rate that is no rate."""
    arrays = [{"array": tones("ក").tolist(), "sampling_rate": rate} for rate in (16_000.0, float("inf"))]
    pq.write_table(pa.table({"audio": arrays[:1], "text": [["ក", "ខ"]]}), tmp_path / "lists.parquet")
    pq.write_table(pa.table({"audio": arrays[1:], "text": ["ក"]}), tmp_path / "rates.parquet")
    (fault,) = read_corpus(HubConfig(root=str(tmp_path / "lists.parquet"))).faults
    assert (fault.reason, "a field is a list, where text is expected" in fault.detail) == (
        "a row that cannot be read",
        True,
    )
    corpus = read_corpus(HubConfig(root=str(tmp_path / "rates.parquet")))
    with pytest.raises(ValueError, match="its array has the sampling_rate inf"):
        corpus.read_audio(corpus.utterances[0])
