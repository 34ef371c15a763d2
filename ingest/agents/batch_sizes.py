"""How many rows a batch in the background has: so many that it takes about as long as it may."""

from typing import Final

BACKGROUND_SECONDS: Final = 1.0
"""Of one batch while edits come: the longer it is, the longer are the writes that they meet."""

UNDISTURBED_SECONDS: Final = 3.0
"""Where no edit has come for a while. At both ends of a batch together the encoder has some 60 ms nothing to
do. Not longer: a rebalance or a promotion may find it at work."""

LEAST_BATCH: Final = 8
"""Rows of a batch, at first too."""

MOST_BATCHES: Final = 4
"""At most so many times the rows of a batch of what answers."""


def batch_rows(rows_a_second: float, seconds: float, usual: int) -> int:
    """Rows of a batch that is to take so long. `usual`: most rows of a batch of what answers."""
    return min(max(int(rows_a_second * seconds), LEAST_BATCH), MOST_BATCHES * usual)


class BatchSizes:
    """Follows how fast batches are done: a slower one shrinks the next at once, a faster one doubles it."""

    def __init__(self, usual: int) -> None:
        self._usual, self._asked = usual, LEAST_BATCH
        self._rows_a_second = LEAST_BATCH / BACKGROUND_SECONDS

    def next(self, *, undisturbed: bool) -> int:
        """Most rows of the next batch. `undisturbed`: whether no edit has come for a while."""
        seconds = UNDISTURBED_SECONDS if undisturbed else BACKGROUND_SECONDS
        self._asked = batch_rows(self._rows_a_second, seconds, self._usual)
        return self._asked

    def measure(self, rows: int, seconds: float) -> None:
        """A batch is done. One that had little to take tells nothing of the speed."""
        if rows > self._asked // 2:
            fastest, slowest = 2 * self._rows_a_second, LEAST_BATCH / UNDISTURBED_SECONDS
            self._rows_a_second = max(min(rows / max(seconds, 0.001), fastest), slowest)
