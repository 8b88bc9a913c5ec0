"""Tables, manifests, archives and Parquet files with wrong separators, quotes, line ends, shapes and bytes."""
# ruff: noqa: E501

import csv
import io
import json
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

import good
import pyarrow as pa
import pyarrow.parquet as pq
from case import PREPARE, READ, Case, Damage, flip

INSERTED = [
    b"\t", b"\n", b"\r", b"\r\n", b"\0", b'"', b'""', b"'", b",", b"\\", b"\x0b", b"\x0c", b"\x1b[2J", b"\x1c", b"\xff",
    "\u2028".encode(), "\x85".encode(), "\u202e".encode(), "\ufeff".encode(), b"\xed\xa0\x80", b"\n\n", b"\t\t", b"${oc.env:HOME}",
    "\u200b".encode(), b"=1+1", b"%s%n", b"..", b"/",
]  # fmt: skip


def table(ending: str, rows: list[list[str]]) -> bytes:
    """A table as its ending says."""
    if ending == "jsonl":
        return b"".join(json.dumps(dict(zip(rows[0], r, strict=True))).encode() + b"\n" for r in rows[1:])
    return "".join(("\t" if ending == "tsv" else ",").join(row) + "\n" for row in rows).encode()


def tables(seed: int) -> Iterator[Case]:
    """Tables with separators, quotes, line ends and control characters in the wrong place, and with wrong shapes."""
    rng = random.Random(seed)
    rows = [["audio", "text", "speaker"], *([f"u{i}.wav", t, f"s{i % 2}"] for i, t in enumerate(good.texts()))]
    for ending in ("tsv", "csv", "jsonl"):
        data = table(ending, rows)
        lines = data.split(b"\n")[:-1]
        for inserted in INSERTED:
            at, place = rng.randrange(0 if ending == "jsonl" else 1, len(lines)), rng.choice(["text", "audio", "end"])
            line = lines[at]
            text = line.index({"tsv": b"\t", "csv": b",", "jsonl": b'"text": "'}[ending]) + (
                9 if ending == "jsonl" else 1
            )
            where = {"text": text, "audio": 14 if ending == "jsonl" else 3, "end": len(line)}[place]
            damaged = [*lines[:at], line[:where] + inserted + line[where:], *lines[at + 1 :]]
            yield _table(ending, f"{inserted!r} in {place} of line {at + 1}", b"\n".join(damaged) + b"\n")
        row = rng.randrange(2, len(lines))
        shapes: dict[str, bytes] = {
            "empty": b"", "one byte": b"a", "only its header": lines[0] + b"\n", "no last line end": data[:-1],
            "CRLF": data.replace(b"\n", b"\r\n"), "CR": data.replace(b"\n", b"\r"), "byte order mark": b"\xef\xbb\xbf" + data,
            "two byte order marks": 2 * b"\xef\xbb\xbf" + data, "UTF-16": data.decode().encode("utf-16"),
            "no header": b"\n".join(lines[1:]) + b"\n", "header twice": lines[0] + b"\n" + data,
            "a row twice": data + lines[row] + b"\n", "cut": data[: rng.randrange(30, len(data))],
            "empty lines": data.replace(b"\n", b"\n\n\n"), "a field of 10 MB": data.replace(b"u3.wav", b"x" * 10_000_000),
            "a text of 10 MB": data + table(ending, [rows[0], ["u0.wav", "ក " * 2_000_000, "s"]]).split(b"\n", 1)[-1 if ending != "jsonl" else 0],
            "100,000 columns": lines[0] + (b"\t" if ending == "tsv" else b",") * 100_000 + b"\n" + b"\n".join(lines[1:]),
            "zeros": bytes(len(data)), "random bytes": rng.randbytes(2_000), "gzip": b"\x1f\x8b\x08" + rng.randbytes(500),
            "open quote": data.replace(b"u4.wav", b'"u4.wav'), "deep JSON": b"[" * 100_000 + b"\n",
            "a folder": b"FOLDER",
        }  # fmt: skip
        for name, content in shapes.items():
            yield _table(ending, name, content)
    for path in (
        ".",
        "..",
        "/",
        "//",
        "/etc/passwd",
        "c",
        "../c/u0.wav",
        "~",
        "*",
        "x" * 300,
        "x/" * 3000,
        "u0.wav/",
        "-",
        "\\",
        "CON",
    ):
        content = table("tsv", [*rows, [path, "ក", "s"]])
        yield _table("tsv", f"path {path[:20]}", content)


def _table(ending: str, name: str, content: bytes) -> Case:
    def make(folder: Path) -> None:
        root = good.write_corpus(folder / "c")
        (root / "utterances.tsv").unlink()
        if content == b"FOLDER":
            (root / f"t.{ending}").mkdir()
        else:
            (root / f"t.{ending}").write_bytes(content)

    return Case(
        "table", f"{ending}: {name}", [*READ, f"data.table=t.{ending}"], make, records=_records(ending, content)
    )


def _records(ending: str, content: bytes) -> int | None:
    """The number of records if LF ends a line, or CR if there is no LF; None for what Python's csv does not read."""
    text = content.decode("utf-8-sig", "replace")
    text = text if "\n" in text else text.replace("\r", "\n")
    if ending == "csv":
        csv.field_size_limit(10**9)
        try:
            return sum(bool(row) for row in csv.reader(io.StringIO(text, newline="\n"))) - 1
        except csv.Error:
            return None
    return sum(bool(line.strip()) for line in text.split("\n")) - (ending == "tsv")


def manifests(seed: int) -> Iterator[Case]:
    """data.split=FILE."""
    parts = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    lines = ["id\tpart", *(f"u{i}\t{part}" for i, part in enumerate(parts))]
    data = "\n".join(lines).encode() + b"\n"
    rng = random.Random(seed)
    contents = {
        "empty": b"", "header": b"id\tpart\n", "absent ids": data + b"absent\ttrain\n", "CRLF": data.replace(b"\n", b"\r\n"),
        "CR": data.replace(b"\n", b"\r"), "third column": data.replace(b"\ttrain", b"\ttrain\tx"), "unknown part": data + b"z\tdev\n",
        "an id twice": data + b"u0\ttest\n", "zeros": bytes(100), "random bytes": rng.randbytes(300), "spaces": data.replace(b"\t", b"  "),
        "byte order mark": b"\xef\xbb\xbf" + data, "cut": data[: len(data) // 2], "U+2028 in an id": data.replace(b"u1\t", "u1\u2028\t".encode()),
        "escape codes": data + b"\x1b[2J\ttrain\n", "formulas": data + b"'=1\ttrain\n",
    }  # fmt: skip
    for name, content in contents.items():

        def make(folder: Path, content: bytes = content) -> None:
            good.write_corpus(folder / "c")
            (folder / "m.tsv").write_bytes(content)

        yield Case("manifest", name, [*PREPARE, "data.split=FOLDER/m.tsv"], make, records=good.UTTERANCES)


def archives(seed: int) -> Iterator[Case]:
    """Zip archives in the layout of OpenSLR 42, and Parquet files."""
    rng = random.Random(seed)
    names = [f"khm_{i % 2:04}_{i:03}" for i in range(good.UTTERANCES)]
    command = [word.replace("data=folder", "data=openslr_km").replace("FOLDER/c", "FOLDER/a.zip", 1)
               if word.startswith(("data=", "data.root")) else word for word in PREPARE]  # fmt: skip

    def zipped(folder: Path, damage: Damage) -> None:
        root = good.write_corpus(folder / "c")
        with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            index = "".join(f"{n}\t\t{t}\n" for n, t in zip(names, good.texts(), strict=True))
            archive.writestr("km_kh_male/line_index.tsv", index)
            for i, name in enumerate(names):
                archive.write(root / f"u{i}.wav", f"km_kh_male/wavs/{name}.wav")
        (folder / "a.zip").write_bytes(damage((folder / "a.zip").read_bytes()))

    def encrypted(data: bytes) -> bytes:
        changed = bytearray(data)
        for header, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            at = data.rindex(header)
            changed[at + flags] |= 1
        return bytes(changed)

    damages: dict[str, Damage] = {
        "whole": lambda d: d, "empty": lambda d: b"", "cut": lambda d: d[: len(d) // 2], "encrypted": encrypted,
        "200 bits of its members": flip(rng, 2_000, 10**9, 200), "10 bits": flip(rng, 0, 10**9, 10),
        "method 99": lambda d: d.replace(b"\x08\x00", b"\x63\x00"), "zeros behind": lambda d: d + bytes(70_000),
        "name of 255 slashes": lambda d: d.replace(b"km_kh_male/wavs/khm_0001_003", b"/" * 28),
    }  # fmt: skip
    for name, damage in damages.items():
        yield Case("zip", name, command, lambda f, d=damage: zipped(f, d), records=good.UTTERANCES)

    def parquet(folder: Path, damage: Damage) -> None:
        root = good.write_corpus(folder / "c")
        audio_ = [{"bytes": (root / f"u{i}.wav").read_bytes(), "path": f"u{i}.wav"} for i in range(good.UTTERANCES)]
        pq.write_table(pa.table({"audio": audio_, "sentence": good.texts()}), folder / "t.parquet")
        (folder / "t.parquet").write_bytes(damage((folder / "t.parquet").read_bytes()))

    hub = ["data=hub", "data.text_column=sentence", "data.speaker_column=null", "data.root=FOLDER/t.parquet"]
    words = ["prepare", *hub, *PREPARE[3:]]
    parquets: dict[str, Damage] = {
        "whole": lambda d: d, "empty": lambda d: b"", "cut": lambda d: d[: len(d) // 2], "text": lambda d: b"version git-lfs\n",
        "20 bits of its data": flip(rng, 100, 20_000, 20), "footer": lambda d: d[:-300] + bytes(292) + d[-8:],
        "2 bits of its footer": lambda d: d[:-400] + flip(rng, 0, 392, 2)(d[-400:]), "joined": lambda d: d + d,
    }  # fmt: skip
    for name, damage in parquets.items():
        yield Case("parquet", name, words, lambda f, d=damage: parquet(f, d), records=good.UTTERANCES)
