"""Recordings of all formats that are cut, flipped, joined, or state the wrong length."""

import io
import random
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import good
import numpy as np
import soundfile
from case import READ, Case, Damage, flip


def _with_length(container: str, value: int, data: bytes) -> bytes:
    """The file with its length fields replaced."""
    fields = {
        "WAV": [(b"data", 4, "<I"), (b"RIFF", 4, "<I")], "WAVEX": [(b"data", 4, "<I"), (b"RIFF", 4, "<I")],
        "RF64": [(b"ds64", 8, "<Q"), (b"ds64", 16, "<Q")], "W64": [(b"data\xf3", 16, "<Q")], "AU": [(b".snd", 8, ">I")],
        "AIFF": [(b"SSND", 4, ">I"), (b"FORM", 4, ">I")], "CAF": [(b"data", 4, ">Q")],
    }  # fmt: skip
    changed = bytearray(data)
    for marker, offset, layout in fields.get(container, []):
        at = data.index(marker) + offset
        size = struct.calcsize(layout)
        changed[at : at + size] = struct.pack(layout, value % 2 ** (8 * size))
    if container == "FLAC":
        packed = int.from_bytes(data[18:26], "big") >> 36 << 36 | value % 2**36
        changed[18:26] = packed.to_bytes(8, "big")
    if container == "NIST":
        text = data[:1024].replace(b"sample_count -i 40000", f"sample_count -i {value % 10**9}".encode())
        changed[:1024] = text[:1024].ljust(1024)
    return bytes(changed)


def recordings(seed: int) -> Iterator[Case]:
    """Recordings of all formats: cut, flipped, joined, with changed lengths; for prepare and, a fifth, transcribe."""
    rng = random.Random(seed)
    whole = good.SAMPLES / good.RATE
    count = 0
    for container, subtype in good.ACCEPTED:
        data = good.recording(container, subtype)
        size = len(data)
        damages: dict[str, tuple[Damage, float]] = {
            "whole": (lambda d: d, whole),
            "empty": (lambda d: b"", whole),
            "cut within its header": (lambda d: d[: rng.randrange(1, 40)], whole),
            "cut at random": (lambda d: d[: rng.randrange(60, int(0.9 * len(d)))], whole),
            "cut by 4 %": (lambda d: d[: int(0.96 * len(d))], whole),
            "a tenth missing inside": (lambda d: d[: len(d) // 2] + d[len(d) // 2 + len(d) // 10 :], whole),
            "joined": (lambda d: d + d, 2 * whole),
            "joined with itself cut": (lambda d: d + d[: int(0.7 * len(d))], 1.6 * whole),
            "200 kB of noise behind": (lambda d: d + rng.randbytes(200_000), whole),
            "zeros behind": (lambda d: d + bytes(5_000), whole),
            "without its first bytes": (lambda d: d[rng.randrange(1, 60) :], whole),
            "bit of its header": (flip(rng, 0, 60, 1), whole),
            "3 bits of its header": (flip(rng, 0, 100, 3), whole),
            "100 bits of its audio": (flip(rng, size // 3, size, 100), whole),
        }
        if _with_length(container, 1, data) != data:
            for value in (0, 0x7FFFF000, 2**63 - 1, 2**64 - 1, 1_000, rng.randrange(2**31)):
                damages[f"length {value:#x}"] = (partial(_with_length, container, value), whole)
        for name, (damage, seconds) in damages.items():
            count += 1
            made = damage(data)
            yield _recording(f"{container} {subtype}: {name}", made, seconds, ".wav")
            if count % 5 == 0:
                yield _transcribed(f"{container} {subtype}: {name}", made)
    for container in good.REFUSED:
        data = good.recording(container)
        yield _recording(f"{container}: whole", data, whole, f".{container.lower()}")
        yield _recording(
            f"{container}: cut at random", data[: rng.randrange(60, len(data))], whole, f".{container.lower()}"
        )
    for ending in (".raw", ".mp3", ".m4a", ".txt"):
        yield _recording(f"headerless bytes as {ending}", rng.randbytes(20_000), whole, ending)
    bomb = "8 channels at 96 kHz, 4 minutes of silence"
    yield Case("audio", bomb, READ, lambda f: _with_recording(f, _bomb(), ".flac"), whole)
    yield Case(
        "audio", bomb, ["transcribe", "GOOD/run", "FOLDER/a.flac"], lambda f: (f / "a.flac").write_bytes(_bomb())
    )


def _bomb() -> bytes:
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 96_000, 8, format="FLAC", subtype="PCM_16") as file:
        for _ in range(240):
            file.write(np.zeros((96_000, 8), np.int16))
    return buffer.getvalue()


def _with_recording(folder: Path, data: bytes, ending: str) -> None:
    root = good.write_corpus(folder / "c")
    (root / f"bad{ending}").write_bytes(data)
    with (root / "utterances.tsv").open("a", encoding="utf-8") as table:
        table.write(f"bad{ending}\tកខ\ts0\n")


def _recording(name: str, data: bytes, seconds: float, ending: str) -> Case:
    return Case("audio", name, READ, lambda f: _with_recording(f, data, ending), seconds, good.UTTERANCES + 1)


def _transcribed(name: str, data: bytes) -> Case:
    command = ["transcribe", "GOOD/run", "FOLDER/a.wav"]
    return Case("transcribe", name, command, lambda f: (f / "a.wav").write_bytes(data))
