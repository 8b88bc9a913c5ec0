import pytest
from hypothesis import given
from hypothesis import strategies as st

from khasr.scoring.alignments import align, error_segments, mark_differences
from khasr.scoring.error_rates import word_edits

TEXT = st.lists(st.text("កខគ្ា", min_size=1, max_size=4), min_size=1, max_size=6).map(" ".join)


@given(TEXT, TEXT | st.just(""))
def test_align(reference: str, hypothesis: str) -> None:
    pairs = align(reference.split(), hypothesis.split())
    assert [w for p in pairs for w in p.reference] == reference.split()
    assert [w for p in pairs for w in p.hypothesis] == hypothesis.split()
    edits = sum(max(len(p.reference), len(p.hypothesis)) for p in pairs if p.kind != "equal")
    assert edits == word_edits(reference, hypothesis).total


def test_mark_differences() -> None:
    assert mark_differences("a b c", "a x c d") == ("a [b] c []", "a [x] c [d]")


@pytest.mark.parametrize(
    ("reference", "one", "other", "segments"),
    [
        ("a b c d", "a b c d", "a b c d", []),
        ("a b c d e", "x b c d e", "a b c d x", [(1, 0), (0, 1)]),  # three right words between
        ("a b c d", "x b c d", "a b c x", [(1, 0), (0, 1)]),  # two
        ("a b c", "x b c", "a b x", [(1, 1)]),  # one: the errors may depend on each other
        ("a b c d", "a b c d e", "b c d", [(0, 1), (1, 0)]),
        ("a b", "a x b", "a y z b", [(1, 2)]),
        ("", "a", "", [(1, 0)]),
    ],
)
def test_error_segments(reference: str, one: str, other: str, segments: list[tuple[int, int]]) -> None:
    assert error_segments(reference, one, other) == segments
