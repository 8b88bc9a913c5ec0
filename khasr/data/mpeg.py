"""MPEG audio (mp3, mp2): its frames counted one by one.

mpg123, which libsndfile uses, estimates the length of a file from its first frame or takes it from a Xing header. With
a variable bit rate, or when files were joined, both are wrong, and the audio beyond is never decoded. A Xing header
with the counted number of frames makes it decode everything.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

# kbit/s by index (ISO 11172-3, 13818-3): MPEG-1 layers I, II, III, then MPEG-2 layers I, and II and III.
_BIT_RATES = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}

_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}

# Bytes between frames that are neither a tag nor zeros: more are damage.
_MOST_GARBAGE = 1024

# libsndfile recognises MPEG audio in memory only behind a tag of ID3.
_ID3 = b"ID3\x04\0\0\0\0\0\x10" + bytes(16)

# Consecutive frames that tell MPEG audio from other data.
_LEAST_FRAMES = 3


@dataclass(frozen=True)
class _Header:
    """A frame's header: what stays the same within a stream, and the frame's length in bytes."""

    kind: tuple[int, int, int, bool]  # version bits, layer, rate in Hz, mono
    length: int

    @property
    def side_info(self) -> int:
        """Bytes between the header and a Xing header."""
        version, _, _, mono = self.kind
        return (17 if mono else 32) if version == 3 else (9 if mono else 17)


@dataclass
class MpegStream:
    """Frames of one format, as bytes to insert and ranges of the file."""

    segments: list[bytes | tuple[int, int]]


@dataclass
class MpegStreams:
    """The streams of a file, and how its length differs from what it states."""

    streams: list[MpegStream]
    problem: str = ""


def _header(data: bytes) -> _Header | None:
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    version, layer = data[1] >> 3 & 3, 4 - (data[1] >> 1 & 3)
    bit_rate, rate, pad = data[2] >> 4, data[2] >> 2 & 3, data[2] >> 1 & 1
    if version == 1 or layer == 4 or rate == 3 or bit_rate in (0, 15):
        return None
    hertz = _RATES[version][rate]
    kbits = _BIT_RATES[1 if version == 3 else 2, layer][bit_rate]
    if layer == 1:
        length = (12_000 * kbits // hertz + pad) * 4
    else:
        length = (144_000 if version == 3 or layer == 2 else 72_000) * kbits // hertz + pad
    return _Header((version, layer, hertz, data[3] >> 6 == 3), length)


class _Reader:
    """Random access to a file by small reads, through one buffer."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._start, self._data = file, 0, b""

    def __call__(self, start: int, count: int) -> bytes:
        if not (self._start <= start and start + count <= self._start + len(self._data)):
            self._file.seek(start)
            self._start, self._data = start, self._file.read(max(count, 2**16))
        return self._data[start - self._start : start - self._start + count]


def mpeg_streams(file: BinaryIO, base: int, size: int) -> MpegStreams | None:
    """The streams of MPEG audio from `base` on; None if the file is not MPEG audio, or has a free bit rate."""
    read = _Reader(file)
    first = _next_frame(read, base, min(size, base + 2**16))
    if first is None:
        return None
    streams: list[tuple[_Header, list[tuple[int, int, int]]]] = []  # the first header; runs of (start, end, frames)
    problem, kind = "", None
    garbage = 0
    for start, header, skipped in _frames(read, first, size):
        if header is None:  # the last frame is incomplete
            problem = "it is cut short within its last frame"
            break
        garbage += skipped
        if header.kind != kind:
            streams.append((header, []))
            kind = header.kind
        runs = streams[-1][1]
        if runs and runs[-1][1] == start:
            runs[-1] = (runs[-1][0], start + header.length, runs[-1][2] + 1)
        else:
            runs.append((start, start + header.length, 1))
    if sum(count for _, runs in streams for _, _, count in runs) < _LEAST_FRAMES:
        return None
    if garbage > _MOST_GARBAGE:
        problem = problem or f"it is damaged: {garbage:,} bytes between its frames are not MPEG audio"
    found = MpegStreams([], problem)
    for header, runs in streams:
        found.streams.append(_stream(read, header, runs, found))
    return found


def _next_frame(read: _Reader, start: int, end: int) -> int | None:
    """The offset of the first frame that is followed by two more of the same format."""
    at = start
    while at < end:
        block = read(at, min(4096, end - at + 4))
        offset = block.find(b"\xff")
        if offset < 0:
            at += max(1, len(block))
            continue
        at += offset
        place, kind = at, None
        for _ in range(_LEAST_FRAMES):
            header = _header(read(place, 4))
            if header is None or (kind is not None and header.kind[:3] != kind):
                break
            kind, place = header.kind[:3], place + header.length
        else:
            return at
        at += 1
    return None


def _frames(read: _Reader, at: int, size: int) -> Iterator[tuple[int, _Header | None, int]]:
    """Frames as (offset, header, bytes of garbage before it); a header of None for an incomplete last frame."""
    skipped = 0
    while at < size:
        header = _header(read(at, 4))
        if header is not None and at + header.length <= size:
            yield at, header, skipped
            at, skipped = at + header.length, 0
            continue
        head = read(at, 16)
        if head[:3] == b"ID3" and len(head) >= 10:
            at += 10 + sum((byte & 0x7F) << 7 * (3 - i) for i, byte in enumerate(head[6:10]))
        elif head[:3] == b"TAG" and at + 128 <= size:
            at += 128
        elif head[:8] == b"APETAGEX":
            at += struct.unpack("<I", head[12:16])[0] + (32 if _is_ape_header(read, at) else 0)
        elif header is not None:
            yield at, None, 0
            return
        else:
            following = _next_frame(read, at + 1, size)
            if following is None:
                return
            skipped += 0 if not read(at, following - at).strip(b"\0") else following - at
            at = following


def _is_ape_header(read: _Reader, at: int) -> bool:
    return bool(struct.unpack("<I", read(at + 20, 4).ljust(4, b"\0"))[0] & 1 << 29)


def _stream(read: _Reader, header: _Header, runs: list[tuple[int, int, int]], found: MpegStreams) -> MpegStream:
    """One stream; behind a Xing header with the number of its frames unless it has a right one already."""
    start, end, count = runs[0]
    total = sum(frames for _, _, frames in runs)
    present, stated = _xing_frames(read, start, header)
    if present:
        total -= 1
        if stated is not None and stated > total + 1:
            found.problem = found.problem or f"it is cut short: {total:,} of {stated:,} MPEG frames are there"
        if stated is not None and total - 1 <= stated <= total + 1 and len(runs) == 1:
            return MpegStream([_ID3, (start, end)])
        runs = [(start + header.length, end, count - 1), *runs[1:]]
    if header.kind[1] != 3:
        return MpegStream([_ID3, *((s, e) for s, e, _ in runs)])
    return MpegStream([_ID3, _xing_frame(read(start, 4), header, total), *((s, e) for s, e, _ in runs)])


def _xing_frames(read: _Reader, start: int, header: _Header) -> tuple[bool, int | None]:
    """Whether the frame is a Xing, Info or VBRI header, and the number of frames that it states, if any."""
    place = read(start + 4 + header.side_info, 12)
    if place[:4] in (b"Xing", b"Info") and len(place) == 12:
        return True, (struct.unpack(">I", place[8:12])[0] or None) if place[7] & 1 else None
    vbri = read(start + 36, 18)
    if vbri[:4] == b"VBRI" and len(vbri) == 18:
        return True, struct.unpack(">I", vbri[14:18])[0]
    return False, None


def _xing_frame(first: bytes, header: _Header, total: int) -> bytes:
    """A frame of silence in the stream's format with a Xing header."""
    version = 1 if header.kind[0] == 3 else 2
    for index in range(1, 15):  # the smallest bit rate whose frame has room for the header
        head = bytes([first[0], first[1] | 1, index << 4 | first[2] & 0x0C, first[3]])
        frame = _header(head)
        if frame is not None and frame.length >= 4 + header.side_info + 16:
            return (head + bytes(header.side_info) + struct.pack(">4sII", b"Xing", 1, total)).ljust(frame.length, b"\0")
    raise AssertionError(f"no frame of MPEG version {version} has room for a Xing header")
