"""OpenSLR 42, high-quality Khmer speech, in the layout of the archive: the zip itself or its folder."""

import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from khasr.config import OpenslrKmConfig
from khasr.data.audio_file import Recording, decode_audio
from khasr.data.corpora.corpus import Corpus, Utterance, UtteranceList
from khasr.data.corpora.files import cache_folder, digest, stamps
from khasr.data.download import download
from khasr.data.tables import read_lines
from khasr.text.terminal import printable

_INDEX = "line_index.tsv"

# Bytes, so that with its ending it can be the name of a file.
_LONGEST_ID = 250

# Limits of the unpacked size: OpenSLR 42 has 1.4 GB, its longest recording some megabytes.
_MOST_MEMBER, _MOST_TOTAL, _MOST_RATIO, _SMALL = 2**28, 15 * 10**9, 200, 2**20


def read_openslr_km(options: OpenslrKmConfig) -> Corpus:
    """The corpus's utterances, in the index's order; ids are `khm_<speaker>_<n>`.

    Raises:
        FileNotFoundError: no root, or no archive in it.
        ValueError: an archive that is damaged or unsafe, or an index that is not UTF-8.
    """
    root = Path(options.root).expanduser() if options.root is not None else downloaded(options)
    if options.root is None and not root.is_file():
        raise FileNotFoundError(
            "data.root is not set, and OpenSLR 42 is not in the cache. `python -m khasr.prepare data=openslr_km` "
            "downloads km_kh_male.zip (866 MB) from https://www.openslr.org/42/. If it is on this machine, pass "
            "data.root=PATH/km_kh_male.zip or the unpacked folder. `python -m khasr.train experiment=quickstart` "
            "needs no download."
        )
    if root.is_file():
        return _from_zip(root)
    for base in (root, root / "km_kh_male"):
        if (base / _INDEX).is_file():
            return _from_folder(base)
    if (root / "km_kh_male.zip").is_file():
        return _from_zip(root / "km_kh_male.zip")
    there = "does not contain" if root.is_dir() else "does not exist. Expected a folder with"
    raise FileNotFoundError(
        f"data.root={options.root} {there} {_INDEX}, km_kh_male/{_INDEX} or km_kh_male.zip, the layout of OpenSLR 42. "
        "For a different corpus use data=folder (a table of audio, text and speaker)."
    )


def downloaded(options: OpenslrKmConfig) -> Path:
    """The path of the archive in the cache."""
    return cache_folder(options) / "downloads" / Path(options.url).name


def fetch_openslr_km(options: OpenslrKmConfig, progress: bool = True) -> None:
    """Downloads the archive to the cache, unless it is there or data.root is set.

    Raises:
        ValueError, OSError: as `download` does.
    """
    if options.root is None:
        size, sha256 = options.archive_bytes, options.archive_sha256
        download(options.url, downloaded(options), size=size, sha256=sha256, progress=progress)


def _from_folder(base: Path) -> Corpus:
    wavs = base / "wavs"
    index = base / _INDEX
    data = index.read_bytes()
    found = _utterances(data, str(index), "wavs", lambda id_: (wavs / f"{id_}.wav").is_file())

    def read_audio(utterance: Utterance) -> Recording:
        return decode_audio(wavs / f"{utterance.id}.wav")

    files = stamps([wavs / f"{u.id}.wav" for u in found.utterances])
    return Corpus("openslr_km", found.utterances, read_audio, digest(data, files), found.faults)


def _from_zip(path: Path) -> Corpus:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is not a complete zip archive ({error}). Download it again.") from None
    _check_archive(archive, path)
    members = set(archive.namelist())
    indexes = sorted((m for m in members if m.split("/")[-1] == _INDEX), key=len)
    if not indexes:
        raise FileNotFoundError(
            f"{path} has no {_INDEX}. Expected the archive of OpenSLR 42, with km_kh_male/{_INDEX}."
        )
    base = indexes[0].removesuffix(_INDEX)
    found = _utterances(
        _member(archive, indexes[0]),
        f"{path}!{indexes[0]}",
        f"{base}wavs",
        lambda id_: f"{base}wavs/{id_}.wav" in members,
    )

    def read_audio(utterance: Utterance) -> Recording:
        return decode_audio(io.BytesIO(_member(archive, f"{base}wavs/{utterance.id}.wav")))

    return Corpus("openslr_km", found.utterances, read_audio, digest(stamps([path])), found.faults)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member's bytes.

    Raises:
        ValueError: it is encrypted, damaged, or compressed by a method that Python does not have.
    """
    try:
        return archive.read(name)
    except (RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{name} cannot be read from {archive.filename} ({error})") from None


def _check_archive(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuses an archive that cannot be OpenSLR 42. No member is unpacked to disk; audio is read from the archive.

    Raises:
        ValueError: a member path outside the archive, or members that would unpack to too much.
    """
    total = 0
    for member in archive.infolist():
        name, size = member.filename, member.file_size
        if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
            raise ValueError(
                f"{path} has a member {name!r}, a path outside of it. It is not the archive of OpenSLR 42."
            )
        total += size
        ratio = size / max(1, member.compress_size)
        if size > _MOST_MEMBER or (size > _SMALL and ratio > _MOST_RATIO):
            raise ValueError(
                f"{path}: {name} would unpack to {size:,} bytes, {ratio:,.0f} times its compressed size; the "
                f"limits are {_MOST_MEMBER:,} bytes and {_MOST_RATIO} times. It is not OpenSLR 42's archive."
            )
    if total > _MOST_TOTAL:
        raise ValueError(f"{path} would unpack to {total:,} bytes; the limit is {_MOST_TOTAL:,}, ten times OpenSLR 42.")


def _utterances(data: bytes, name: str, wavs: str, has_audio: Callable[[str], bool]) -> UtteranceList:
    found = UtteranceList()
    for number, line in enumerate(read_lines(data, name), 1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        fields = [f.strip() for f in line.split("\t")]
        # The archive has three fields, the middle one empty; its prompts are also distributed with two.
        if len(fields) not in (2, 3) or not fields[0] or (len(fields) == 3 and fields[1]):
            why = f"expected id, tab, (tab,) text; found {printable(line, 80)!r}"
            found.fault(where, "a row that cannot be read", where, why)
            continue
        id_, text = fields[0], fields[-1]
        parts = id_.split("_")
        # An id is a file name here: a path would lead out of the folder.
        named = "/" not in id_ and len(id_.encode("utf-8", "replace")) <= _LONGEST_ID
        missing = "" if named and has_audio(id_) else f"{printable(id_, 80)} has no audio in {wavs}"
        found.add(Utterance(id_, text, parts[1] if len(parts) > 2 else "", where), missing)
    return found
