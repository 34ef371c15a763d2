"""Waits until connectors are in the state that they should be in, and stay there."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from connectors.live import ConnectorStatus, State
from connectors.rest import ConnectClient
from core.errors import TransientError

_T = TypeVar("_T")
_FAILURE_S: Final = 2.0
"""A failure after a write counts once it was shown for so long: one worker may know less than another."""

_SAME_FAILURE_S: Final = 5.0
"""And for so much longer than `settle_s` where it is that of before the write, to the letter: a busy worker
restarts late, and Connect shows the old failure until then."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait, in seconds.

    `settle_s`: a state counts once it has held for so long. A task that cannot work says RUNNING first,
    and FAILED only after it has tried: up to 4 s later was seen.
    """

    timeout_s: float = 120.0
    settle_s: float = 5.0
    poll_s: float = 0.2
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class Seen:
    """How a connector was found in the end. `trace` if it failed."""

    state: State
    reached: bool
    said: str
    trace: str | None = None


def wait_for(
    client: ConnectClient,
    wanted: Mapping[str, State],
    *,
    deadline: float,
    pace: Pace,
    changed: Collection[str] = (),
    before: Mapping[str, ConnectorStatus | None] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Seen]:
    """Look at all until each has held its wanted state, failed for good, or the time is over.

    Those in `changed` were just written to: their state must hold for `settle_s`, and a failure counts
    only once it cannot be the one from before, which their status in `before` tells. Others need to be
    seen once. Never raises for a Connect that is away: it may come back before the deadline.
    """
    known = before or {}
    watches = {
        name: _Watch(state, pace, fresh=name in changed, before=known.get(name))
        for name, state in wanted.items()
    }
    away = False
    # One that has come to its state just in time is looked at for as long as the others.
    latest = max(deadline, pace.clock()) + pace.settle_s
    while True:
        for name, watch in watches.items():
            if watch.seen is not None:
                continue
            try:
                watch.look(client.status(name))
                away = False
            except TransientError as error:
                watch.lost(error)
                if not away:
                    say(f"waiting: {error}")
                away = True
        unseen = [watch for watch in watches.values() if watch.seen is None]
        until = latest if any(watch.settling for watch in unseen) else deadline
        if not unseen or pace.clock() >= until:
            return {name: watch.seen or watch.unfinished() for name, watch in watches.items()}
        pace.sleep(pace.poll_s)


class _Watch:
    """One connector, looked at again and again."""

    def __init__(self, wanted: State, pace: Pace, *, fresh: bool, before: ConnectorStatus | None) -> None:
        self._wanted = wanted
        self._pace = pace
        self._hold_s = pace.settle_s if fresh else 0.0
        self._failure_hold_s = min(_FAILURE_S, pace.timeout_s / 4) if fresh else 0.0
        self._old = before.failures if fresh and before is not None else frozenset()
        self._state: State | None = None
        self._failures: frozenset[tuple[int | None, str, str]] = frozenset()
        self._trace: str | None = None
        self._since = 0.0
        self._said = "not seen"
        self.seen: Seen | None = None

    def look(self, status: ConnectorStatus | None) -> None:
        state: State = "starting" if status is None else status.summary
        failures = frozenset() if status is None else status.failures
        now = self._pace.clock()
        if (state, failures) != (self._state, self._failures):
            self._state, self._failures, self._since = state, failures, now
        if not failures:
            # What was there before is gone: whatever fails from now on is new.
            self._old = frozenset()
        self._said, self._trace = state, None if status is None else status.failure
        held = now - self._since
        if state == self._wanted and held >= self._hold_s:
            self.seen = Seen(state, True, state)
        elif self._wanted == "stopped":
            # What has failed is stopped like anything else, a moment later.
            self._trace = None
        elif self._trace is not None and held >= self._patience_s:
            self.seen = Seen(state, False, state, self._trace)

    @property
    def _patience_s(self) -> float:
        """How long the failures that are shown have to stay to count."""
        is_old = self._failures <= self._old
        return self._pace.settle_s + _SAME_FAILURE_S if is_old else self._failure_hold_s

    @property
    def settling(self) -> bool:
        """In its wanted state, and not yet for long enough."""
        return self.seen is None and self._state == self._wanted

    def lost(self, error: TransientError) -> None:
        """A worker that comes back begins anew."""
        self._state, self._said, self._trace = None, str(error), None

    def unfinished(self) -> Seen:
        return Seen(self._state or "starting", False, self._said, self._trace)


def patiently(act: Callable[[], _T], deadline: float, pace: Pace) -> _T:
    """Again while Connect is away, busy or rebalancing, until the deadline; then its TransientError."""
    while True:
        try:
            return act()
        except TransientError:
            if pace.clock() >= deadline:
                raise
            pace.sleep(pace.poll_s)
