"""Waiting before another try."""

import asyncio
import random


class Backoff:
    """Waits that double from `first` to `most` seconds, with a fifth of jitter."""

    def __init__(self, *, first: float, most: float) -> None:
        self._first, self._most, self._next = first, most, first
        self.tries = 0

    def reset(self) -> None:
        """It worked: begin again at `first`."""
        self._next, self.tries = self._first, 0

    def seconds(self, at_least: float | None = None) -> float:
        """How long to wait now; the next answer is twice as long."""
        wait = max(self._next, at_least or 0.0)
        self._next = min(self._next * 2, self._most)
        self.tries += 1
        return wait * random.uniform(0.9, 1.1)  # noqa: S311 - jitter, not a secret

    async def wait(self, at_least: float | None = None) -> None:
        """Sleep for `seconds(at_least)`."""
        await asyncio.sleep(self.seconds(at_least))
