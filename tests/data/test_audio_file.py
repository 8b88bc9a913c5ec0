"""Audio files of all containers: whole, cut, joined, of unknown length; what is decoded, and which faults are found."""

import io
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from khasr.data.audio import Resampler
from khasr.data.audio_file import TruncatedAudioError, decode_audio, decode_blocks

SAMPLES = 40_000
NOISE = np.random.default_rng(0).normal(0, 0.1, SAMPLES).astype(np.float32)

CONTAINERS = [
    ("WAV", "PCM_16"), ("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("WAV", "GSM610"), ("WAVEX", "PCM_24"),
    ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16"), ("AIFF", "IMA_ADPCM"), ("AU", "PCM_16"),
    ("AIFF", "ULAW"), ("AU", "ULAW"), ("CAF", "PCM_16"), ("CAF", "ALAC_16"), ("NIST", "PCM_16"), ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"),
]  # fmt: skip
REFUSED = ["SVX", "VOC", "PAF", "AVR", "SDS", "MAT4", "MAT5", "PVF", "IRCAM", "HTK", "MPC2K", "XI", "WVE"]


def written(container: str, subtype: str, samples: np.ndarray = NOISE, rate: int = 16_000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=container, subtype=subtype)
    return buffer.getvalue()


def decoded(data: bytes) -> int:
    return len(decode_audio(io.BytesIO(data)).waveform)


def patched(data: bytes, at: int, layout: str, value: int) -> bytes:
    packed = struct.pack(layout, value)
    return data[:at] + packed + data[at + len(packed) :]


@pytest.mark.parametrize(("container", "subtype"), CONTAINERS)
def test_whole(container: str, subtype: str) -> None:
    # Codecs with blocks fill up their last one.
    assert SAMPLES <= decoded(written(container, subtype)) < SAMPLES + 1024


@pytest.mark.parametrize("share", [0.6, 0.97])
@pytest.mark.parametrize(("container", "subtype"), CONTAINERS)
def test_cut(container: str, subtype: str, share: float) -> None:
    data = written(container, subtype)
    with pytest.raises(ValueError, match=r"cut short|damaged"):
        decoded(data[: int(share * len(data))])


def test_decoded_before_damage() -> None:
    """What precedes the end of a cut FLAC file is decoded, as far as its frames go."""
    data = written("FLAC", "PCM_16", np.tile(NOISE, 3))
    blocks: list[np.ndarray] = []
    with pytest.raises(TruncatedAudioError, match=r"it is damaged after 3\.\d\d s|of 7\.50 s are there"):
        blocks.extend(decode_blocks(io.BytesIO(data[: len(data) // 2])))  # keeps what precedes the error
    assert 3.2 * 16_000 < sum(map(len, blocks)) <= 3.75 * 16_000


@pytest.mark.parametrize("container", REFUSED)
def test_refused(container: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Formats in which a cut file would go unnoticed are refused, whole or not, with what converts them."""
    monkeypatch.setenv("PATH", str(tmp_path))  # without ffmpeg
    subtype = soundfile.default_subtype(container)
    data = written(container, subtype, rate=8_000 if container == "WVE" else 44_100)
    with pytest.raises(ValueError, match=r"its format, .*, is not accepted.*Expected wav.*; `ffmpeg -i FILE"):
        decoded(data)
    with pytest.raises(ValueError, match=r"is not accepted|does not recognise its format"):
        decoded(data[: int(0.6 * len(data))])


@pytest.mark.parametrize(("container", "subtype"), [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_joined(container: str, subtype: str) -> None:
    """Two files in one are decoded to the end."""
    assert decoded(2 * written(container, subtype)) == 2 * SAMPLES


def test_joined_mp3() -> None:
    """The header of the second file is a frame of silence, and without gapless data the encoder's delay stays."""
    assert 2 * SAMPLES <= decoded(2 * written("MP3", "MPEG_LAYER_III")) < 2 * SAMPLES + 4000


@pytest.mark.parametrize("container", ["WAV", "AIFF", "AU", "CAF", "RF64", "W64", "NIST"])
def test_joined_chunks(container: str) -> None:
    """A second file behind the stated end is a fault, not lost silently."""
    with pytest.raises(ValueError, match="more follow"):
        decoded(2 * written(container, "PCM_16"))


@pytest.mark.parametrize("container", ["WAV", "AIFF", "CAF"])
def test_chunks_behind(container: str) -> None:
    """Chunks behind the audio are no fault; what only begins like a chunk is."""
    order = "<" if container == "WAV" else ">"
    head = struct.pack(f"{order}4s{'q' if container == 'CAF' else 'I'}", b"note", 5000)
    data = written(container, "PCM_16")
    assert decoded(data + head + bytes(range(250)) * 20) == SAMPLES
    with pytest.raises(ValueError, match="more follow"):
        decoded(data + head + bytes(range(250)) * 19)


def fields(container: str) -> list[tuple[bytes, int, str]]:
    """The length fields of a container: a marker, the offset from it, and the layout."""
    return {
        "WAV": [(b"data", 4, "<I"), (b"RIFF", 4, "<I")],
        "RF64": [(b"ds64", 8, "<Q"), (b"ds64", 16, "<Q"), (b"ds64", 24, "<Q")],
        "W64": [(b"data\xf3", 16, "<Q")],
        "AU": [(b".snd", 8, ">I")],
        "AIFF": [(b"SSND", 4, ">I"), (b"FORM", 4, ">I")],
        "CAF": [(b"data", 4, ">Q")],
    }[container]


@pytest.mark.parametrize("value", [0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1])
@pytest.mark.parametrize("container", ["WAV", "RF64", "W64", "AU", "AIFF", "CAF"])
def test_unknown_length(container: str, value: int) -> None:
    """Streamed files, whose length fields were never filled in, are decoded to the end."""
    data = written(container, "PCM_16")
    wide = any(layout.endswith("Q") for _, _, layout in fields(container))
    if (value > 0xFFFFFFFF) != wide and value != 0:
        pytest.skip("not a value of this field")
    for marker, offset, layout in fields(container):
        data = patched(data, data.index(marker) + offset, layout, value)
    assert decoded(data) == SAMPLES


@pytest.mark.parametrize("total", [0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF, 2**36 - 1, SAMPLES // 2])
def test_flac_total(total: int) -> None:
    """A FLAC stream whose header states no length, or a length that is too small, is decoded to the end."""
    data = written("FLAC", "PCM_16")
    packed = int.from_bytes(data[18:26], "big") >> 36 << 36 | total
    assert decoded(patched(data, 18, ">Q", packed)) == SAMPLES


def test_wav_states_less() -> None:
    data = written("WAV", "PCM_16")
    with pytest.raises(TruncatedAudioError, match=r"states 20,000 bytes of audio, and 60,000 more follow"):
        decoded(patched(data, data.index(b"data") + 4, "<I", 20_000))


def test_tags() -> None:
    """Tags before and after the audio are neither audio nor faults."""
    id3v1, id3v2 = b"TAG" + bytes(125), b"ID3\x04\0\0\0\0\0\x10" + bytes(16)
    for container, subtype in (("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III")):
        assert decoded(id3v2 + written(container, subtype) + id3v1) == SAMPLES


def test_ogg_pages() -> None:
    """A missing page, and a damaged one, which decoders skip silently."""
    data = written("OGG", "VORBIS", np.tile(NOISE, 4))
    pages = [at for at in range(len(data)) if data.startswith(b"OggS", at)]
    with pytest.raises(TruncatedAudioError, match="1 Ogg pages are missing"):
        decoded(data[: pages[5]] + data[pages[6] :])
    with pytest.raises(TruncatedAudioError, match="no last page"):
        decoded(data[: pages[-1]])
    flipped = bytearray(data)
    flipped[pages[5] + 200] ^= 255
    with pytest.raises(TruncatedAudioError, match="cut short"):
        decoded(bytes(flipped))


def vbr_without_xing() -> bytes:
    """An mp3 of variable bit rate whose first frame is small, without its Xing frame."""
    quiet_then_loud = np.concatenate([np.zeros(SAMPLES // 4, np.float32), np.tile(NOISE, 2)])
    buffer = io.BytesIO()
    soundfile.write(
        buffer, quiet_then_loud, 16_000, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="VARIABLE",
        compression_level=0.0,
    )  # fmt: skip
    data = buffer.getvalue()
    return data[data.index(b"\xff", 4) :] if b"Xing" in data[:200] or b"Info" in data[:200] else data


def test_vbr_mp3() -> None:
    expected = SAMPLES // 4 + 2 * SAMPLES
    assert expected - 600 <= decoded(vbr_without_xing()) <= expected + 2400


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_blocks_equal_whole(rate: int, tmp_path: Path) -> None:
    """Decoding and resampling in blocks gives the samples of the whole."""
    stereo = np.random.default_rng(1).normal(0, 0.1, (400_000, 2)).astype(np.float32)
    path = tmp_path / "a.wav"
    soundfile.write(path, stereo, rate, subtype="FLOAT")
    expected = Resampler(rate).convert(stereo, last=True)
    blocks = list(decode_blocks(path))
    assert len(blocks) > 1
    assert np.array_equal(np.concatenate(blocks), expected)
    assert np.array_equal(decode_audio(path).waveform, expected)


def test_measurements() -> None:
    samples = np.clip(40 * np.sin(np.arange(600_000) / 50), -1, 1).astype(np.float32)
    recording = decode_audio(io.BytesIO(written("WAV", "FLOAT", samples)))
    full = np.abs(samples) >= 0.999
    assert recording.clipped == pytest.approx((full[1:-1] & full[:-2] & full[2:]).mean())
    assert recording.peak == 1.0


@pytest.mark.parametrize("name", ["a.raw", "a.m4a", "a.wav"])
def test_not_audio(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a header, or in a format that only ffmpeg reads, a file is a fault whatever its ending."""
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / name).write_bytes(bytes(range(1, 250)) * 40)
    with pytest.raises(ValueError, match=r"ffmpeg, which reads m4a.*is not on the PATH"):
        decode_audio(tmp_path / name)


FFMPEG = """#!{python}
import struct, sys
sys.stdout.buffer.write(struct.pack(">4s5I", b".snd", 24, 0xFFFFFFFF, 6, 16000, 2) + struct.pack(">f", 0.5) * 3200)
{end}
"""


# Lines of ffmpeg's log for 0.1 s of audio, and the fault that they mean.
STATED = (
    "[info]   Duration: 00:00:{seconds}, start: 0.0, bitrate: 73 kb/s\n[info]   Stream #0:0[0x1](und): Audio: aac\n"
)
MAPPING = "[info] Stream mapping:\n[info]   Stream #0:0 -> #0:0 (aac (native) -> pcm_f32be (native))\n"
LOGS = [
    ("", ""),
    ("[mov @ 0x5c] [error] stream 0, offset 0x323bf: partial file", "ffmpeg: stream 0, offset 0x323bf: partial file"),
    (STATED.format(seconds="00.20"), ""),
    (STATED.format(seconds="22.45") + MAPPING, r"it is cut short: 0\.10 s of 22\.45 s are there"),
    (STATED.format(seconds="22.45") + "[info]   Stream #0:1: Video: h264", ""),
    ("[aac @ 0x5c] [warning] Estimating duration from bitrate, this may be inaccurate\n" + STATED.format(seconds="22.45"), ""),
    ("[info]     title  : [error] partial file", ""),
]  # fmt: skip


@pytest.mark.parametrize(("log", "message"), LOGS)
def test_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str, message: str) -> None:
    """What ffmpeg decodes is used; what it reports is a fault, although its exit code is 0; so is a missing end."""
    program = tmp_path / "ffmpeg"
    end = f"print({log!r}, file=sys.stderr)" if log else ""
    program.write_text(FFMPEG.format(python=sys.executable, end=end), encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    file = tmp_path / "a.m4a"
    file.write_bytes(b"\0\0\0\x1cftypM4A \0\0" + bytes(2000))
    if message:
        with pytest.raises(TruncatedAudioError, match=message):
            decode_audio(file)
    else:
        assert len(decode_audio(file).waveform) == 1600


def test_memory_before_refusal() -> None:
    """Many channels at a high rate are decoded and refused with memory for blocks only."""
    import tracemalloc

    silence = np.zeros((96_000 * 20, 8), np.int16)
    data = written("FLAC", "PCM_16", silence, 96_000)
    del silence
    tracemalloc.start()
    decode_audio(io.BytesIO(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 * 2**20  # as float32 the audio is 61 MB
