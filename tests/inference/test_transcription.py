from pathlib import Path

import pytest

from khasr.decoding.decoded import Word
from khasr.inference.transcription import recognise_file, subtitles


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="does not exist"):
        next(recognise_file(None, str(tmp_path / "absent"), 30.0, 5.0))  # type: ignore[arg-type]


def test_subtitles() -> None:
    text = subtitles([Word("a", 0.0, 0.5, 1), Word("b", 0.6, 1.0, 1), Word("c", 3661.5, 3662.0, 1)])
    assert text == "1\n00:00:00,000 --> 00:00:01,000\na b\n\n2\n01:01:01,500 --> 01:01:02,000\nc"
