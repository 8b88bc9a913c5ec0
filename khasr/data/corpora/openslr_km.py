"""OpenSLR 42, high-quality Khmer speech, in the archive's own layout: the zip itself or its folder."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

from khasr.config import OpenslrKmConfig
from khasr.data.corpora.corpus import Corpus, Fault, Utterance
from khasr.data.corpora.files import Audio, cache_folder, decode_audio, digest, read_table, stamps
from khasr.data.download import download

_INDEX = "line_index.tsv"

# Limits of what an archive may unpack to: OpenSLR 42 has 1.4 GB, its longest recording some megabytes.
_MOST_MEMBER, _MOST_TOTAL, _MOST_RATIO, _SMALL = 2**28, 15 * 10**9, 200, 2**20


def read_openslr_km(options: OpenslrKmConfig) -> Corpus:
    """The corpus's utterances, in the index's order; ids are `khm_<speaker>_<n>`.

    Raises:
        FileNotFoundError: no root, or nothing of the archive in it.
        ValueError: a line of the index that is not id and text.
    """
    root = Path(options.root).expanduser() if options.root is not None else downloaded(options)
    if options.root is None and not root.is_file():
        raise FileNotFoundError(
            "data.root is not set: OpenSLR 42 must be on this machine. `python -m khasr.prepare data=openslr_km` gets "
            "km_kh_male.zip (866 MB) from https://www.openslr.org/42/; or pass data.root=PATH/km_kh_male.zip, or the "
            "folder it unpacks to; or learn the tools without it: python -m khasr.train experiment=quickstart."
        )
    if root.is_file():
        return _from_zip(root)
    for base in (root, root / "km_kh_male"):
        if (base / _INDEX).is_file():
            return _from_folder(base)
    if (root / "km_kh_male.zip").is_file():
        return _from_zip(root / "km_kh_male.zip")
    there = "has neither" if root.is_dir() else "does not exist; it should be a folder with"
    raise FileNotFoundError(
        f"data.root={options.root} {there} {_INDEX}, km_kh_male/{_INDEX} nor km_kh_male.zip, the layout of OpenSLR 42. "
        "For another corpus use data=folder (a table of audio, text and speaker)."
    )


def downloaded(options: OpenslrKmConfig) -> Path:
    """Where `fetch_openslr_km` puts the archive."""
    return cache_folder(options) / "downloads" / Path(options.url).name


def fetch_openslr_km(options: OpenslrKmConfig, progress: bool = True) -> None:
    """Downloads the archive to the cache, unless it is there or data.root names another place.

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
    utterances, faults = _utterances(data, str(index), "wavs", lambda id_: (wavs / f"{id_}.wav").is_file())

    def read_audio(utterance: Utterance) -> Audio:
        return decode_audio(wavs / f"{utterance.id}.wav")

    files = stamps([wavs / f"{u.id}.wav" for u in utterances])
    return Corpus("openslr_km", utterances, read_audio, digest(data, files), faults)


def _from_zip(path: Path) -> Corpus:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is not a whole zip archive ({error}). Download it again.") from None
    _check_archive(archive, path)
    members = set(archive.namelist())
    indexes = sorted((m for m in members if m.split("/")[-1] == _INDEX), key=len)
    if not indexes:
        raise FileNotFoundError(f"{path} holds no {_INDEX}; OpenSLR 42's own archive has km_kh_male/{_INDEX}.")
    base = indexes[0].removesuffix(_INDEX)
    utterances, faults = _utterances(
        archive.read(indexes[0]), f"{path}!{indexes[0]}", f"{base}wavs", lambda id_: f"{base}wavs/{id_}.wav" in members
    )

    def read_audio(utterance: Utterance) -> Audio:
        return decode_audio(io.BytesIO(archive.read(f"{base}wavs/{utterance.id}.wav")))

    return Corpus("openslr_km", utterances, read_audio, digest(stamps([path])), faults)


def _check_archive(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuses what no corpus is. Nothing is written under a member's name: audio is read out of the archive.

    Raises:
        ValueError: a path that leads out of the archive, or members that would unpack to too much.
    """
    total = 0
    for member in archive.infolist():
        name, size = member.filename, member.file_size
        if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
            raise ValueError(f"{path} has a member {name!r}, which leads out of it. It is not OpenSLR 42's archive.")
        total += size
        ratio = size / max(1, member.compress_size)
        if size > _MOST_MEMBER or (size > _SMALL and ratio > _MOST_RATIO):
            raise ValueError(
                f"{path}: {name} would unpack to {size:,} bytes, {ratio:,.0f} times what it takes in the archive; the "
                f"limits are {_MOST_MEMBER:,} bytes and {_MOST_RATIO} times. It is not OpenSLR 42's archive."
            )
    if total > _MOST_TOTAL:
        raise ValueError(f"{path} would unpack to {total:,} bytes; the limit is {_MOST_TOTAL:,}, ten times OpenSLR 42.")


def _utterances(
    data: bytes, name: str, wavs: str, has_audio: Callable[[str], bool]
) -> tuple[list[Utterance], list[Fault]]:
    utterances, faults, seen = [], [], set()
    for number, line in enumerate(read_table(data, name), 1):
        if not line.strip():
            continue
        fields = [f.strip() for f in line.split("\t")]
        # The archive has three fields, the middle one empty; the prompts are found with two as well.
        if len(fields) not in (2, 3) or not fields[0] or (len(fields) == 3 and fields[1]):
            raise ValueError(f"{name}:{number}: expected id, tab, (tab,) text; got {line[:80]!r}.")
        id_, text = fields[0], fields[-1]
        parts = id_.split("_")
        if id_ in seen:
            faults.append(Fault(id_, "its id occurs twice", f"{name}:{number}: {id_} occurs a second time"))
            continue
        seen.add(id_)
        if not has_audio(id_):
            faults.append(Fault(id_, "no audio", f"{name}:{number}: {id_} has no audio in {wavs}"))
        elif not text:
            faults.append(Fault(id_, "no text", f"{name}:{number}: {id_} has no text"))
        else:
            utterances.append(Utterance(id_, text, parts[1] if len(parts) > 2 else "", f"{name}:{number}"))
    return utterances, faults
