import re

from hypothesis import given
from hypothesis import strategies as st

from khasr.decoding.decoded import Word
from khasr.inference.subtitles import subtitles

TIMES = re.compile(r"(\d+):(\d\d):(\d\d),(\d{3}) --> (\d+):(\d\d):(\d\d),(\d{3})")


def captions(text: str) -> list[tuple[int, int, list[str]]]:
    """Start and end in milliseconds, and the lines, of each caption."""
    found = []
    for number, block in enumerate(text.split("\n\n") if text else [], 1):
        head, times, *lines = block.split("\n")
        assert head == str(number)
        groups = [int(x) for x in TIMES.fullmatch(times).groups()]  # type: ignore[union-attr]
        start, end = (((h * 60 + m) * 60 + s) * 1000 + ms for h, m, s, ms in (groups[:4], groups[4:]))
        found.append((start, end, lines))
    return found


def test_pause() -> None:
    """A caption ends at a pause."""
    text = subtitles([Word("a", 0.0, 0.5, 1), Word("b", 0.6, 1.0, 1), Word("c", 3661.5, 3662.3, 1)])
    assert text == "1\n00:00:00,000 --> 00:00:01,000\na b\n\n2\n01:01:01,500 --> 01:01:02,300\nc"


def test_two_lines() -> None:
    """Words fill two lines, then a new caption starts."""
    words = [Word("abcdefghi", i / 5, (i + 1) / 5, 1) for i in range(10)]
    line = " ".join(["abcdefghi"] * 4)
    assert [lines for _, _, lines in captions(subtitles(words))] == [[line, line], ["abcdefghi abcdefghi"]]


def test_doubtful_words() -> None:
    """Words with a confidence below 0.5 are in italics, which do not count for the length of a line."""
    words = [Word("abcdefghi", i / 5, (i + 1) / 5, 1, 0.4 if i in (1, 2) else 0.6) for i in range(4)]
    assert captions(subtitles(words))[0][2] == ["abcdefghi <i>abcdefghi abcdefghi</i> abcdefghi"]


def test_no_spaces() -> None:
    """A model without spaces gives one word for a piece of 30 s: it is cut between clusters, in time too."""
    text = "ស្រីខ្មែរ" * 20
    found = captions(subtitles([Word(text, 0.0, 30.0, 1)], ""))
    assert "".join(line for _, _, lines in found for line in lines) == text
    assert len(found) >= 5
    assert all(line[0] not in "្ី" for _, _, lines in found for line in lines)
    assert abs(found[len(found) // 2][0] - 15_000) < 5_000


WORDS = st.lists(
    st.tuples(
        st.text("កខ្ីabc", min_size=1, max_size=130),
        st.floats(0, 2) | st.just(0.0),
        st.floats(0, 12) | st.just(0.02),
    ),
    max_size=30,
)


@given(WORDS, st.sampled_from([" ", ""]))
def test_limits(words: list[tuple[str, float, float]], between: str) -> None:
    """Two lines of 42 characters, 0.7 to 7 s, no overlap, and every character, whatever the words."""
    at, timed = 0.0, []
    for text, pause, seconds in words:
        timed.append(Word(text, at + pause, at + pause + seconds, 1.0))
        at += pause + seconds
    found = captions(subtitles(timed, between))
    until = 0
    for start, end, lines in found:
        assert 1 <= len(lines) <= 2
        assert all(0 < len(line) <= 42 for line in lines)
        assert 700 <= end - start <= 7000
        assert start >= until
        until = end
    written = "".join(line for _, _, lines in found for line in lines)
    assert written.replace(" ", "") == "".join(text for text, _, _ in words)
