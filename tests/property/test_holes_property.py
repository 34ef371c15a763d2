"""What retention took is told from what nobody is given."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.agents.holes import has_hole, missed


@given(st.sets(st.integers(0, 60), min_size=1), st.integers(0, 60), st.none() | st.integers(0, 60))
def test_what_is_missed_lies_before_the_log_and_was_never_given(
    given_offsets: set[int], log_start: int, expected: int | None
) -> None:
    offsets = sorted(given_offsets)
    gone = missed(expected, offsets, log_start)
    if gone is not None:
        first, last = gone
        assert has_hole(expected, offsets)
        assert first <= last < log_start
        assert not set(range(first, last + 1)) & given_offsets
        assert first == expected or first - 1 in given_offsets
    elif not has_hole(expected, offsets):
        assert offsets == [*range(offsets[0], offsets[-1] + 1)]
        assert expected is None or offsets[0] <= expected


@given(st.integers(0, 50), st.integers(1, 50), st.integers(1, 50))
def test_a_cut_log_is_always_seen(done: int, gone: int, more: int) -> None:
    """The client goes on at the first offset that is left."""
    start = done + gone
    assert missed(done, range(start, start + more), start) == (done, start - 1)
    assert missed(None, [*range(done), *range(start, start + more)], start) == (
        (done, start - 1) if done else None
    )
