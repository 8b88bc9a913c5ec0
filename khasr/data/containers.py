"""The layout of audio files: where their audio is, and whether the length that they state is there.

libsndfile believes length fields, and for most formats it shortens them silently to what the file holds. Each function
below reads the headers of one family of formats and compares the stated length with the size of the file. Formats that
none of them reads are refused: `FORMATS` are those that speech is kept in.

FLAC, Ogg and MPEG audio are streams, which may be joined: all of them are decoded. A second file behind the stated end
of a WAV, AIFF, AU, CAF, W64 or SPHERE file is a fault, because other programs do not read it either.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from khasr.data.mpeg import mpeg_streams

FORMATS = "wav (also RF64 and W64), flac, ogg, opus, mp3, aiff, au, caf and NIST SPHERE"
"""The formats whose length is checked."""

Segment = bytes | tuple[int, int]
"""Bytes to be inserted, or a range of the file."""

_FLAC_START = b"fLaC\x00\x00\x00\x22"

# Bytes behind the audio that are neither a tag nor zeros: fewer are padding or a writer's leftovers.
_MOST_FOREIGN = 1024

# The GUIDs of Sony Wave64's chunks inside the file, without their four letters.
_W64_GUIDS = (b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a", b"\x9b\x97\xd3\x11\x86\xb0\x00\xc0\x4f\x8e\xdb\x8a")

_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN", b"3DI")


@dataclass
class Stream:
    """One stream of audio in a file; joined files have several.

    Attributes:
        segments: the bytes to decode, in order.
        frames: the length that the header states, in samples per channel; None if it states none.
        tolerance: samples by which the decoded length may fall short of `frames`.
    """

    segments: list[Segment]
    frames: int | None = None
    tolerance: int = 0


@dataclass
class Layout:
    """What the headers of a file show.

    Attributes:
        streams: to be decoded one after the other.
        problem: how the stated length differs from the size of the file; empty if it does not.
        known: whether the format is one of `FORMATS`.
    """

    streams: list[Stream]
    problem: str = ""
    known: bool = True


@dataclass
class _Bytes:
    """The audio of a container: its range as stated, and how to overwrite the length fields if they state none."""

    start: int
    stated: int
    size_fields: list[tuple[int, str]] = field(default_factory=list)
    frames: int | None = None
    tolerance: int = 0


def read_layout(file: BinaryIO) -> Layout:
    """The layout of an audio file, from its headers; the file's position is undefined afterwards."""
    size = file.seek(0, 2)
    base = _skip_id3(file, size)
    head = _read(file, base, 32)
    for magic, read in _FAMILIES:
        if re.match(magic, head, re.DOTALL):
            try:
                return read(file, base, size)
            except struct.error:
                return Layout([Stream([(0, size)])], "its header is incomplete")
    streams = mpeg_streams(file, base, size)
    if streams is not None:
        return Layout([Stream(list(s.segments)) for s in streams.streams], streams.problem)
    return Layout([Stream([(0, size)])], known=False)


def _read(file: BinaryIO, start: int, count: int) -> bytes:
    file.seek(start)
    return file.read(count)


def _unpack(file: BinaryIO, start: int, layout: str) -> tuple[int, ...]:
    return struct.unpack(layout, _read(file, start, struct.calcsize(layout)))


def _skip_id3(file: BinaryIO, size: int) -> int:
    """The offset behind ID3v2 tags at the start of the file."""
    base = 0
    while (head := _read(file, base, 10))[:3] == b"ID3" and len(head) == 10 and base < size:
        base += 10 + sum((byte & 0x7F) << 7 * (3 - i) for i, byte in enumerate(head[6:])) + 10 * bool(head[5] & 0x10)
    return base


def is_unknown_length(stated: int) -> bool:
    """Whether a length field holds one of the values that writers to a pipe leave there.

    0; 0x7FFFF000 (sox), 0x7FFFFFFF, 0x80000000 (arecord), 0x7F000000 (sox, AIFF) and 0xFFFFFFFF (ffmpeg), less or plus
    the size of headers; and anything from 2^62 in 64 bits.
    """
    return (
        stated <= 0
        or 0x7F000000 - 64 <= stated <= 0x7F000040
        or 0x7FFFEF00 <= stated <= 0x80001000
        or 0xFFFFEF00 <= stated <= 0xFFFFFFFF
        or stated >= 2**62
    )


def _check_bytes(
    file: BinaryIO, base: int, size: int, found: _Bytes, chunks: Callable[[BinaryIO, int, int], int] | None = None
) -> Layout:
    """The layout of a container with one range of audio bytes.

    Args:
        chunks: returns the end of the well-formed chunks that start at an offset; None if nothing may follow the audio.
    """
    there = size - found.start
    stream = Stream([(base, size)], found.frames, found.tolerance)
    follows = chunks or (lambda _file, start, _size: start)
    empty = found.stated == 0 and (there <= 0 or follows(file, found.start, size) >= size)
    if is_unknown_length(found.stated) and found.stated != there and not empty:
        stream.frames = None
        stream.segments = list(_overwrite(base, size, [(at, form, there) for at, form in found.size_fields]))
        return Layout([stream])
    if found.stated > there:
        return Layout([stream], f"it is cut short: {max(0, there):,} of {found.stated:,} bytes of audio are there")
    end = follows(file, found.start + found.stated, size)
    rest = _read(file, end, size - end)
    if len(rest) > _MOST_FOREIGN and not rest.startswith(_TAGS) and rest.strip(b"\0"):
        return Layout([stream], f"its header states {found.stated:,} bytes of audio, and {len(rest):,} more follow")
    return Layout([stream])


def _overwrite(base: int, size: int, values: list[tuple[int, str, int]]) -> Iterator[Segment]:
    """The range from base to size with some integers replaced; values that do not fit stay."""
    at = base
    for offset, form, value in sorted(values):
        try:
            packed = struct.pack(form, value)
        except struct.error:
            continue
        yield (at, offset)
        yield packed
        at = offset + len(packed)
    yield (at, size)


def _walk(file: BinaryIO, start: int, size: int, order: str, pad: int = 2) -> Iterator[tuple[bytes, int, int]]:
    """Chunks of a RIFF or IFF file as (id, start of the content, length of the content)."""
    at = start
    while len(head := _read(file, at, 8)) == 8:
        name, length = struct.unpack(order + "4sI", head)
        yield name, at + 8, length
        at += 8 + length + length % pad


def _is_name(name: bytes) -> bool:
    return all(0x20 <= byte < 0x7F for byte in name)


def _chunks_end(order: str) -> Callable[[BinaryIO, int, int], int]:
    def end(file: BinaryIO, start: int, size: int) -> int:
        best = start
        for first in (start, start + start % 2):  # some writers do not pad audio of odd length
            at = first
            for name, begin, length in _walk(file, first, size, order):
                if not _is_name(name) or name in (b"RIFF", b"RIFX", b"RF64", b"FORM") or begin + length > size:
                    break
                at = min(size, begin + length + length % 2)
            best = max(best, at)
        return best

    return end


def _riff(file: BinaryIO, base: int, size: int) -> Layout:
    order = ">" if _read(file, base, 4) == b"RIFX" else "<"
    big_size, frames, form, block_frames = None, None, 0, 0
    fields: list[tuple[int, str]] = []
    for name, begin, length in _walk(file, base + 12, size, order):
        if name == b"ds64":
            big_size = _unpack(file, begin + 8, "<Q")[0]
            fields.append((begin + 8, "<Q"))
        elif name == b"fmt ":
            form = _unpack(file, begin, order + "H")[0]
            extra = _read(file, begin + 16, 4)
            block_frames = struct.unpack(order + "2H", extra)[1] if len(extra) == 4 and length >= 20 else 0
        elif name == b"fact" and length >= 4:
            frames = _unpack(file, begin, order + "I")[0]
        elif name == b"data":
            stated = big_size if big_size is not None and length == 0xFFFFFFFF else length
            # PCM and float state their length in bytes; `fact` is for compressed audio, rounded to a block.
            compressed = form not in (1, 3, 0xFFFE) and frames is not None and not is_unknown_length(frames)
            found = _Bytes(begin, stated, fields or [(begin - 4, order + "I")])
            if compressed:
                found.frames, found.tolerance = frames, max(block_frames, 1024)
            return _check_bytes(file, base, size, found, _chunks_end(order))
    return Layout([Stream([(base, size)])], "it has no audio (no chunk `data`)")


def _aiff(file: BinaryIO, base: int, size: int) -> Layout:
    counted: list[tuple[int, int]] = []  # the offset of the number of frames, and the bytes of a frame
    for name, begin, length in _walk(file, base + 12, size, ">"):
        if name == b"COMM":
            channels, _, bits = _unpack(file, begin, ">HIH")
            counted.append((begin + 2, max(1, channels * ((bits + 7) // 8))))
        elif name == b"SSND":
            start = begin + 8
            stated = length - 8 if length else 0
            layout = _check_bytes(file, base, size, _Bytes(start, stated), _chunks_end(">"))
            if is_unknown_length(stated) and not layout.problem:
                # The sizes count what precedes the audio, and the number of frames is stated separately.
                values = [(base + 4, ">I", size - base - 8), (begin - 4, ">I", size - begin)]
                values += [(at, ">I", (size - start) // frame) for at, frame in counted]
                layout.streams[0].segments = list(_overwrite(base, size, values))
            return layout
    return Layout([Stream([(base, size)])], "it has no audio (no chunk SSND)")


def _w64(file: BinaryIO, base: int, size: int) -> Layout:
    at = base + 40
    while len(head := _read(file, at, 24)) == 24:
        name, length = struct.unpack("<16sQ", head)
        if name.startswith(b"data\xf3\xac\xd3\x11"):
            stated = 0 if is_unknown_length(length) or length < 24 else length - 24
            layout = _check_bytes(file, base, size, _Bytes(at + 24, stated), _w64_chunks_end)
            if stated == 0 and size > at + 24:
                values = [(base + 16, "<Q", size - base), (at + 16, "<Q", size - at)]
                layout = Layout([Stream(list(_overwrite(base, size, values)))])
            return layout
        at += max(24, length + -length % 8)
    return Layout([Stream([(base, size)])], "it has no audio (no chunk `data`)")


def _w64_chunks_end(file: BinaryIO, start: int, size: int) -> int:
    at = start + -start % 8
    while len(head := _read(file, at, 24)) == 24 and head[4:16] in _W64_GUIDS:
        at += max(24, (length := int.from_bytes(head[16:], "little")) + -length % 8)
    return min(at, size)


def _au(file: BinaryIO, base: int, size: int) -> Layout:
    order = ">" if _read(file, base, 4) == b".snd" else "<"
    offset, stated = _unpack(file, base + 4, order + "2I")
    return _check_bytes(file, base, size, _Bytes(base + offset, stated, [(base + 8, order + "I")]))


def _caf(file: BinaryIO, base: int, size: int) -> Layout:
    def end(file: BinaryIO, start: int, size: int) -> int:
        while len(head := _read(file, start, 12)) == 12:
            name, length = struct.unpack(">4sq", head)
            if not _is_name(name) or name == b"caff" or not 0 <= length <= size - start - 12:
                break
            start += 12 + length
        return start

    at = base + 8
    while len(head := _read(file, at, 12)) == 12:
        name, length = struct.unpack(">4sq", head)
        if name == b"data":
            # The chunk begins with four bytes that number its edits.
            stated = 0 if is_unknown_length(length) else length - 4
            layout = _check_bytes(file, base, size, _Bytes(at + 16, stated), end)
            if stated == 0 and not layout.problem:
                layout.streams[0].segments = list(_overwrite(base, size, [(at + 4, ">q", size - at - 12)]))
            return layout
        at += 12 + max(0, length)
    return Layout([Stream([(base, size)])], "it has no audio (no chunk `data`)")


def _nist(file: BinaryIO, base: int, size: int) -> Layout:
    header = _read(file, base, 16).split()
    start = int(header[1]) if len(header) > 1 and header[1].isdigit() else 1024
    text = _read(file, base, start)
    fields = re.findall(rb"(?m)^(sample_count|sample_n_bytes|channel_count) -i (\d+)", text)
    numbers = {key: int(value) for key, value in fields}
    coding = re.search(rb"(?m)^sample_coding -s\d+ (\S+)", text)
    if b"sample_count" not in numbers or (coding and b"shorten" in coding[1]):
        return Layout([Stream([(base, size)])], known=False)  # only ffmpeg decodes shorten
    stated = numbers[b"sample_count"] * numbers.get(b"sample_n_bytes", 2) * numbers.get(b"channel_count", 1)
    return _check_bytes(file, base, size, _Bytes(base + start, stated))


def _flac(file: BinaryIO, base: int, size: int) -> Layout:
    starts = list(_find(file, _FLAC_START, base, size))
    streams = []
    for start, end in zip(starts, [*starts[1:], size], strict=True):
        packed = int.from_bytes(_read(file, start + 18, 8), "big")
        frames: int | None = packed & (2**36 - 1)
        if frames is not None and (is_unknown_length(frames) or frames == 2**36 - 1):
            frames = None
        # With an unknown length the decoder continues to the end of the stream, whatever the header states.
        unknown = (packed >> 36 << 36).to_bytes(8, "big")
        streams.append(Stream([(start, start + 18), unknown, (start + 26, end)], frames))
    return Layout(streams) if streams else Layout([Stream([(base, size)])])


def _find(file: BinaryIO, pattern: bytes, start: int, size: int) -> Iterator[int]:
    """The offsets of a pattern, without holding the file in memory."""
    step, at = 2**20, start
    while at < size:
        block = _read(file, at, step + len(pattern) - 1)
        found = block.find(pattern)
        while found >= 0:
            yield at + found
            found = block.find(pattern, found + 1)
        at += step


def _ogg(file: BinaryIO, base: int, size: int) -> Layout:
    """Links of a chain as streams; the last page of each logical stream carries the flag of its end (RFC 3533)."""
    problem, at = "", base
    links: list[int] = []
    open_streams: dict[int, int] = {}  # serial number: sequence number of the last page
    heads_done = True
    while at < size:
        head = _read(file, at, 27)
        if head[:4] != b"OggS":
            junk = next(_find(file, b"OggS", at, size), size)
            if not _read(file, at, 11).startswith(_TAGS) and _read(file, at, junk - at).strip(b"\0"):
                problem = problem or f"it is damaged: {junk - at:,} bytes at {at:,} are not an Ogg page"
            at = junk
            continue
        if len(head) < 27:
            problem = problem or "it is cut short within a page"
            break
        flags, _, serial, sequence, _, count = struct.unpack("<BqIIIB", head[5:27])
        end = at + 27 + count + sum(_read(file, at + 27, count))
        if flags & 2:
            if heads_done:
                links.append(at)
                if open_streams:
                    problem = problem or "it is cut short: a stream has no last page"
                open_streams.clear()
            heads_done = False
        else:
            heads_done = True
            if serial in open_streams and sequence != open_streams[serial] + 1:
                problem = problem or f"it is damaged: {sequence - open_streams[serial] - 1} Ogg pages are missing"
        open_streams[serial] = sequence
        if flags & 4:
            open_streams.pop(serial)
        if end > size:
            problem = problem or "it is cut short within a page"
            break
        at = end
    if open_streams:
        problem = problem or "it is cut short: the stream has no last page"
    ranges = list(zip(links, [*links[1:], size], strict=True))
    return Layout([Stream([r]) for r in ranges] or [Stream([(base, size)])], problem)


_FAMILIES: list[tuple[bytes, Callable[[BinaryIO, int, int], Layout]]] = [
    (rb"(RIFF|RIFX|RF64|BW64)....WAVE", _riff),
    (rb"FORM....AIF[FC]", _aiff),
    (rb"riff\x2e\x91\xcf\x11", _w64),
    (rb"\.snd|dns\.", _au),
    (rb"caff", _caf),
    (rb"NIST_1A", _nist),
    (rb"fLaC", _flac),
    (rb"OggS", _ogg),
]
