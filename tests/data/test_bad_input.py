"""Faults of a corpus on disk, and of the machine: one message, or a counted skip."""

import os
import re
import signal
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from khasr.cli.errors import FAILED, report_error
from khasr.config import DataConfig, FolderConfig, OpenslrKmConfig
from khasr.data.corpora import read_corpus
from khasr.data.datamodule import CorpusDataModule
from tests.commands import Commands
from tests.conftest import tones

GOOD = 8
TEXT = "កខ គ"


def write(path: Path, seconds: float = 0.5, rate: int = 16_000, channels: int = 1, subtype: str = "PCM_16") -> None:
    if seconds == 0:
        soundfile.write(path, np.zeros(0), rate)
        return
    samples = np.resize(tones("កខគង"), int(seconds * 16_000))
    samples = np.interp(np.arange(int(seconds * rate)) * 16_000 / rate, np.arange(len(samples)), samples)
    soundfile.write(path, np.stack([samples] * channels, 1), rate, subtype=subtype)


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def truncated_flac(path: Path) -> None:
    flac = path.with_suffix(".flac")
    write(flac, 3)
    flac.rename(path)
    cut(path, 0.5)


def not_finite(path: Path) -> None:
    soundfile.write(path, np.array([0.1, np.nan] * 5000, np.float32), 16_000, subtype="FLOAT")


def opposite(path: Path, noise: float = 0.0) -> None:
    samples = np.resize(tones("កខគង"), 8_000)
    noisy = samples + noise * np.random.default_rng(0).normal(0, samples.std(), len(samples))
    soundfile.write(path, np.stack([samples, -noisy], 1), 16_000, subtype="FLOAT")


def silent_channel(path: Path) -> None:
    samples = np.resize(tones("កខគង"), 8_000)
    soundfile.write(path, np.stack([samples, 0 * samples], 1), 16_000)


# What bad.wav is; the reason for leaving it out, None if it is usable; a part of the message.
AUDIO: list[tuple[str, Callable[[Path], object], str | None, str]] = [
    ("missing", lambda p: None, "no audio", r"utterances\.tsv:10: bad\.wav is not a file in "),
    ("empty file", lambda p: p.write_bytes(b""), "unreadable audio", r"utterances\.tsv:10: the audio of bad: "),
    ("no samples", lambda p: write(p, 0), "unreadable audio", "the audio of bad: it has no samples"),
    ("a WAV cut short", lambda p: (write(p), cut(p, 0.6)), "audio cut short", r"it is cut short: 9,5\d\d of 16,000 bytes of audio are there"),
    ("cut in its header", lambda p: (write(p), p.write_bytes(p.read_bytes()[:30])), "unreadable audio", "the audio of bad: "),
    ("a FLAC cut short", truncated_flac, "audio cut short", "the audio of bad: "),
    ("not audio", lambda p: p.write_text("<html>404</html>" * 100), "unreadable audio", "the audio of bad: .*does not recognise its format"),
    ("a folder", lambda p: p.mkdir(), "no audio", r"bad\.wav is not a file"),
    ("samples that are not finite", not_finite, "unreadable audio", "it has samples that are not finite"),
    ("0.02 s", lambda p: write(p, 0.02), "too short", r"bad is 0\.020 s long; the minimum is 0\.1 s"),
    ("10 min", lambda p: write(p, 600, rate=4000), "too long", r"bad is 600\.0 s long; the maximum is 30 s"),
    ("30 min", lambda p: write(p, 1800, rate=1000), "unreadable audio", "it is longer than 20 min"),
    ("stereo", lambda p: write(p, channels=2), None, ""),
    ("channels that cancel", opposite, "channels that cancel", r"the audio of bad: its 2 channels cancel when they are mixed to one, and all of it would be lost"),
    ("channels that almost cancel", lambda p: opposite(p, 0.1), "channels that cancel", r"and 26 dB of it would be lost: one of them has the opposite polarity\. `ffmpeg"),
    ("one silent channel", silent_channel, None, ""),
    ("six channels", lambda p: write(p, channels=6), None, ""),
    ("8 bit", lambda p: write(p, subtype="PCM_U8"), None, ""),
    ("float", lambda p: write(p, subtype="FLOAT"), None, ""),
    ("96 kHz", lambda p: write(p, rate=96_000), None, ""),
    ("8 kHz mu-law", lambda p: write(p, rate=8_000, subtype="ULAW"), None, ""),
]  # fmt: skip

HEAD = "audio\ttext\tspeaker\n"
ROWS = "".join(f"u{i}.wav\t{TEXT}\ts\n" for i in range(GOOD))
# The table's bytes; the reason for leaving out an utterance, None if none is, "stop" if the table cannot be read; the message.
TABLES: list[tuple[str, bytes, str | None, str]] = [
    ("byte order mark", ("\ufeff" + HEAD + ROWS).encode(), None, ""),
    ("CRLF", (HEAD + ROWS).replace("\n", "\r\n").encode(), None, ""),
    ("Latin-1 bytes", (HEAD + ROWS).encode() + b"bad.wav\tcaf\xe9\ts\n", "stop", r"utterances\.tsv:10: byte 0xe9 is not UTF-8"),
    ("UTF-16", (HEAD + ROWS).encode("utf-16"), "stop", r"utterances\.tsv:1: byte 0xff is not UTF-8"),
    ("missing column", (HEAD + ROWS).replace("text", "spoken").encode(), "stop", "no column text; it has audio, spoken, speaker"),
    ("no rows", HEAD.encode(), "stop", "0 utterances of 0 speakers are too few"),
    ("empty", b"", "stop", "no column audio, text; it has nothing"),
    ("duplicate id", (HEAD + ROWS + f"u0.wav\t{TEXT}\ts\n").encode(), "its id occurs twice", r"utterances\.tsv:10: u0 occurs a second time"),
    ("empty text", (HEAD + ROWS + "bad.wav\t \ts\n").encode(), "no text", r"utterances\.tsv:10: bad has no text"),
    *((name, f"{HEAD}{ROWS}{audio}\t{TEXT}\ts\n".encode(), "no audio", r"utterances\.tsv:10: .{0,90} is not a file in ")
      for name, audio in (("no path", ""), ("a dot", "."), ("the root", "/"), ("a folder", "../c"), ("long name", "x" * 300 + ".wav"),
                          ("long path", "x/" * 3000 + "a.wav"), ("below a file", "u0.wav/a.wav"))),
    ("NUL", f"{HEAD}{ROWS}a\0.wav\t{TEXT}\ts\n".encode(), "control characters in its id or speaker", r"utterances\.tsv:10: the id a\\x00\.wav contains"),
    ("large field", f"{HEAD}{ROWS}bad.wav\t{'x ' * 5_000_000}\ts\n".encode(), "text too long", r"the text of bad has 9,999,999 characters"),
    ("short row", (HEAD + ROWS + "bad.wav\n").encode(), "a row that cannot be read", r"utterances\.tsv:10: it has 1 field, the header has 3"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _without_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages are those of a machine without ffmpeg."""
    monkeypatch.setattr("shutil.which", lambda name: None)


def scene(root: Path) -> Path:
    root.mkdir()
    for i in range(GOOD):
        write(root / f"u{i}.wav", 0.4 + i / 100)
    (root / "utterances.tsv").write_text(HEAD + ROWS, encoding="utf-8")
    return root


def prepared(options: DataConfig) -> CorpusDataModule:
    data = CorpusDataModule(options, seed=0)
    data.prepare(progress=False)
    return data


def check(root: Path, cache: Path, reason: str | None, message: str, usable: int) -> None:
    """The message with on_error=raise; with skip the count, and a complete cache, when it is made and when it is read."""
    if reason is not None:
        with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
            prepared(FolderConfig(root=str(root), cache_dir=str(cache)))
        assert "\n" not in str(caught.value)
        if reason == "stop":
            return
        assert re.search(r"1 of \d+ utterances cannot be used.*data\.on_error=skip", str(caught.value))
    for _ in range(2):
        data = prepared(FolderConfig(root=str(root), cache_dir=str(cache), on_error="skip"))
        assert Counter(fault.reason for fault in data.faults) == ({reason: 1} if reason else {})
        assert sum(map(len, data.parts.values())) == usable
    assert not list(cache.glob("*.partial-*"))


@pytest.mark.parametrize(("make", "reason", "message"), [case[1:] for case in AUDIO], ids=[case[0] for case in AUDIO])
def test_audio(tmp_path: Path, make: Callable[[Path], object], reason: str | None, message: str) -> None:
    root = scene(tmp_path / "c")
    make(root / "bad.wav")
    with (root / "utterances.tsv").open("a", encoding="utf-8") as table:
        table.write(f"bad.wav\t{TEXT}\ts\n")
    check(root, tmp_path / "cache", reason, message, GOOD + (reason is None))


@pytest.mark.parametrize(
    ("content", "reason", "message"), [case[1:] for case in TABLES], ids=[case[0] for case in TABLES]
)
def test_tables(tmp_path: Path, content: bytes, reason: str | None, message: str) -> None:
    root = scene(tmp_path / "c")
    write(root / "bad.wav")
    (root / "utterances.tsv").write_bytes(content)
    check(root, tmp_path / "cache", reason, message, GOOD)


def test_manifest_of_missing_utterances(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ids of a manifest that the corpus does not have are counted, and the first is named."""
    root = scene(tmp_path / "c")
    parts = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    lines = [f"u{i}\t{part}" for i, part in enumerate(parts)] + ["absent\x1b1\ttrain", "absent2\tval"]
    (tmp_path / "split.tsv").write_text("\n".join(lines), encoding="utf-8")
    data = prepared(FolderConfig(root=str(root), cache_dir=str(tmp_path / "cache"), split=str(tmp_path / "split.tsv")))
    assert {name: len(part) for name, part in data.parts.items()} == {"train": 4, "val": 2, "test": 2}
    message = "names 2 utterances that the corpus does not have, or that were left out (the first is absent"
    assert [note.count(message) for note in data.notes] == [1]
    assert message in capsys.readouterr().err


def test_unknown_symbol(tmp_path: Path) -> None:
    root = scene(tmp_path / "c")
    options = FolderConfig(root=str(root), cache_dir=str(tmp_path / "cache"), val_share=0.3)
    validated = next(iter(prepared(options).parts["val"].audio["id"]))
    table = root / "utterances.tsv"
    table.write_text(
        table.read_text(encoding="utf-8").replace(f"{validated}.wav\t", f"{validated}.wav\tឆ"), encoding="utf-8"
    )
    data = prepared(options)
    assert data.vocabulary
    assert data.unknown["val"] == {"ឆ": 1}
    options.text.unknown_symbols = "raise"
    with pytest.raises(ValueError, match=rf"val utterance {validated} contains 'ឆ' \(U\+1786\)"):
        _ = prepared(options).vocabulary


# ------------------------------------------------------------------------------------------------------- the machine

PREPARE = """
import os, signal, sys, time
from pathlib import Path
from khasr.config import FolderConfig
from khasr.data.audio_cache import load_audio
from khasr.data.corpora import read_corpus
ends = sys.argv[3]
corpus = read_corpus(FolderConfig(root=sys.argv[1]))
read, reads = corpus.read_audio, []
def counted(utterance):
    reads.append(utterance.id)
    if ends == "together":  # so slowly that the second process begins before the first has finished
        time.sleep(0.05)
    if ends == "killed" and len(reads) == 5:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
    return read(utterance)
corpus.read_audio = counted
if ends == "together":
    ready = Path(sys.argv[2]).with_name("ready")
    ready.mkdir(exist_ok=True)
    (ready / str(os.getpid())).touch()
    while len(list(ready.iterdir())) < 2:
        time.sleep(0.01)
audio, faults = load_audio(corpus, Path(sys.argv[2]), progress=False)
print(len(reads), len(audio), len(faults))
"""
REPOSITORY = Path(__file__).resolve().parents[2]


def start(command: Commands, *words: object) -> "subprocess.Popen[str]":
    # Not a fork of this process: it may have used threads, and would hang.
    return subprocess.Popen(
        [command.python, "-c", PREPARE, *map(str, words)], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def test_two_processes(command: Commands, tmp_path: Path) -> None:
    root = scene(tmp_path / "c")
    processes = [start(command, root, tmp_path / "cache", "together") for _ in range(2)]
    counts = sorted(process.communicate(timeout=120)[0].split() for process in processes)
    assert counts == [["0", "8", "0"], ["8", "8", "0"]]


def test_killed_process(command: Commands, tmp_path: Path) -> None:
    root, cache = scene(tmp_path / "c"), tmp_path / "cache"
    killed = start(command, root, cache, "killed")
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert list(cache.glob("*.partial-*"))
    assert not list(cache.glob("*/made.json"))[1:]
    assert sum(map(len, prepared(FolderConfig(root=str(root), cache_dir=str(cache))).parts.values())) == GOOD
    assert not list(cache.glob("*.partial-*"))


def test_full_disk(tmp_path: Path) -> None:
    root, disk = scene(tmp_path / "c"), tmp_path / "disk"
    disk.mkdir()
    for i in range(GOOD):
        write(root / f"u{i}.wav", 4)
    in_small_tmpfs = [
        "unshare", "--map-root-user", "--mount", "sh", "-c",
        f"mount -t tmpfs -o size=300k tmpfs '{disk}' || exit 99; {sys.executable} -m khasr.prepare data=folder "
        f"data.root={root} data.cache_dir={disk}/cache hydra.run.dir={tmp_path}/out; code=$?; ls -A {disk}/cache; exit $code",
    ]  # fmt: skip
    try:
        done = subprocess.run(in_small_tmpfs, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    except FileNotFoundError:
        pytest.skip("unshare is not available")
    if done.returncode in (1, 99) and ("unshare" in done.stderr or "mount" in done.stderr):
        pytest.skip("mounts are not permitted")
    assert done.returncode == 1
    messages = done.stderr.strip().splitlines()
    assert len(messages) == 1, done.stderr
    assert re.match(r"No space left on device: .*cache.*data\.cache_dir", messages[0])
    assert [name for name in done.stdout.split() if not name.endswith(".lock")] == []


def test_unreadable_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = scene(tmp_path / "c")
    root.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)  # root may read everything
        with pytest.raises(PermissionError, match=r"Permission denied: '.*/c") as caught:
            read_corpus(FolderConfig(root=str(root)))
    finally:
        os.seteuid(user)
        root.chmod(0o755)
    assert report_error(caught.value) == FAILED
    assert re.fullmatch(r"Permission denied: .*/c\.", capsys.readouterr().err.strip())


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (("../../etc/passwd", b"x"), "a path outside of it"),
        (("/etc/passwd", b"x"), "a path outside of it"),
        (("km_kh_male/wavs/bomb.wav", bytes(2**24)), r"would unpack to 16,777,216 bytes, [\d,]+ times"),
    ],
)
def test_archive_traps(tmp_path: Path, member: tuple[str, bytes], message: str) -> None:
    path = tmp_path / "km_kh_male.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("km_kh_male/line_index.tsv", "khm_1_1\t\tក\n")
        archive.writestr(*member)
    with pytest.raises(ValueError, match=message):
        prepared(OpenslrKmConfig(root=str(path)))
