"""Time is a parameter."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for people and reports; monotonic time for waiting. Never used to order changes."""

    def now_ms(self) -> int: ...
    def monotonic(self) -> float: ...


class SystemClock:
    """The machine's clock: `now_ms` in milliseconds since 1970 UTC, `monotonic` in seconds."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class FixedClock:
    """The twin for tests: stands still until `advance`."""

    def __init__(self, at_ms: int = 1_700_000_000_000) -> None:
        self._ms = float(at_ms)

    def now_ms(self) -> int:
        return int(self._ms)

    def monotonic(self) -> float:
        return self._ms / 1000

    def advance(self, seconds: float) -> None:
        self._ms += seconds * 1000
