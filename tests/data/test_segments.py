from pathlib import Path

import numpy as np
import pytest
import soundfile

from khasr.data.segments import Segment, SegmentReader

RATE = 8000
SECONDS = 400


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A long recording of two channels: noise, and silence."""
    path = tmp_path_factory.mktemp("long") / "long.wav"
    noise = np.random.default_rng(0).integers(-9000, 9000, RATE * SECONDS)
    soundfile.write(path, np.stack([noise, 0 * noise], 1).astype(np.int16), RATE)
    return path


def test_segments(recording: Path) -> None:
    """A segment is the same audio in whatever order segments are read."""
    places = [Segment(0, 1.5, 0), Segment(1.25, 2, 0), Segment(390, 399, 0), Segment(30, 31, 0), Segment(0.5, 1, 0)]
    source = soundfile.read(recording, dtype="int16")[0][:, 0]
    for order in (places, places[::-1]):
        reader = SegmentReader()
        for place in order:
            found = reader.read(recording, place)
            assert place.end is not None
            assert found.rate == RATE
            assert len(found.waveform) == pytest.approx((place.end - place.start) * 16_000, abs=2)
            expected = source[int(place.start * RATE) : int(place.end * RATE)]
            assert np.corrcoef(found.waveform[::2][: len(expected)], expected)[0, 1] > 0.9


def test_channel(recording: Path) -> None:
    reader = SegmentReader()
    assert not reader.read(recording, Segment(1, 2, 1)).waveform.any()
    assert len(reader.read(recording, Segment(395, None)).waveform) == 5 * 16_000
    with pytest.raises(ValueError, match="it has 2 channels, and the table names channel 2"):
        reader.read(recording, Segment(1, 2, 2))


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        (Segment(500, 501), r"its segment 500\.00 s to 501\.00 s is not in the file, which has 400\.00 s of audio"),
        (Segment(400, None), r"its segment 400\.00 s is not in the file"),
        (Segment(0, 1201), "the segment has 1201 s; the longest utterance has 1200 s"),
    ],
)
def test_not_a_segment(recording: Path, segment: Segment, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SegmentReader().read(recording, segment)


def test_cut_recording(recording: Path, tmp_path: Path) -> None:
    """The segments before the place where a file was cut are read; those behind it are faults with the reason."""
    part = tmp_path / "cut.wav"
    part.write_bytes(recording.read_bytes()[: recording.stat().st_size // 2])
    reader = SegmentReader()
    assert len(reader.read(part, Segment(10, 11)).waveform) == 16_000
    with pytest.raises(ValueError, match=r"is not in the file, which has 200\.00 s of audio: it is cut short"):
        reader.read(part, Segment(300, 301))
