"""Batches in the background take as long as they may, whatever the speed."""

import pytest

from ingest.agents.batch_sizes import LEAST_BATCH, BatchSizes

USUAL = 128


def settled(rows_a_second: float, *, undisturbed: bool, sizes: BatchSizes | None = None) -> int:
    """Rows of a batch once the speed is known."""
    sizes = sizes or BatchSizes(USUAL)
    for _ in range(12):
        rows = sizes.next(undisturbed=undisturbed)
        sizes.measure(rows, rows / rows_a_second)
    return sizes.next(undisturbed=undisturbed)


@pytest.mark.parametrize(
    ("rows_a_second", "disturbed", "undisturbed"),
    [(50.0, 50, 150), (6.0, LEAST_BATCH, 18), (0.1, LEAST_BATCH, LEAST_BATCH), (1e5, 512, 512)],
    ids=[
        "a second and three",
        "never fewer than the least",
        "however slow",
        "never more than four usual ones",
    ],
)
def test_a_batch_takes_a_second_and_three_where_nobody_edits(
    rows_a_second: float, disturbed: int, undisturbed: int
) -> None:
    assert settled(rows_a_second, undisturbed=False) == pytest.approx(disturbed, abs=1)
    assert settled(rows_a_second, undisturbed=True) == pytest.approx(undisturbed, abs=1)


def test_the_first_edit_makes_the_next_batch_short() -> None:
    sizes = BatchSizes(USUAL)
    settled(50.0, undisturbed=True, sizes=sizes)
    assert sizes.next(undisturbed=False) == pytest.approx(50, abs=1)


def test_it_grows_in_steps_and_shrinks_at_once() -> None:
    sizes = BatchSizes(USUAL)
    first = sizes.next(undisturbed=False)
    sizes.measure(first, 0.0)
    second = sizes.next(undisturbed=False)
    assert (first, second) == (LEAST_BATCH, 2 * LEAST_BATCH)
    sizes.measure(second, 60.0)
    assert sizes.next(undisturbed=False) == LEAST_BATCH


def test_a_batch_that_had_little_to_take_tells_nothing() -> None:
    sizes = BatchSizes(USUAL)
    known = settled(50.0, undisturbed=False, sizes=sizes)
    sizes.measure(3, 60.0)
    assert sizes.next(undisturbed=False) == known


def test_a_build_that_was_throttled_to_a_crawl_is_soon_at_full_speed_again() -> None:
    sizes = BatchSizes(USUAL)
    settled(0.001, undisturbed=False, sizes=sizes)
    assert settled(50.0, undisturbed=False, sizes=sizes) == pytest.approx(50, abs=1)
