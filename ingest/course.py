"""What the ordering rule remembers of a table beyond its rows: how far its stream has come, and when.

An event that the guard drops was sent before, or it comes of another line of positions: a database
that was restored or failed over. Commit times tell which, but not those of one key alone: clocks step
back. What was sent before committed no later than the newest commit seen up to the furthest place in
the stream. Only events past that place count, so another line cannot raise the mark by which it
is known.
"""

from collections.abc import Iterable
from typing import Final

from core.state import Progress, Seen, StateRow
from core.version import epoch_of

REPLAY_MS: Final = 300_000
"""Longest replay, in time of the raw log: many flushes of the connector's offsets. Commit times of
before are forgotten: a clock that was once hours ahead must not hide another line for hours."""


def seen_before(least: Progress, epoch: int, rows: Iterable[StateRow]) -> Seen:
    """What was seen up to where reading goes on. An older release wrote it in the rows only."""
    if epoch_of(least.version) != epoch:
        return Seen()
    if least.seen is not None:
        return least.seen
    streamed = [row for row in rows if row.streamed is not None and epoch_of(row.version) == epoch]
    places = [row.streamed for row in streamed if row.streamed is not None]
    return Seen(max(places, default=None), max((row.committed_at for row in streamed), default=0))


class Course:
    """Follows the events of one table, in the order of the log."""

    def __init__(self, seen: Seen) -> None:
        self._front = seen.streamed
        self._newest, self._before = 0, seen.committed_at
        self._since: int | None = None

    @property
    def newest(self) -> int:
        """The newest commit time of the last REPLAY_MS or more, ms since 1970."""
        return max(self._newest, self._before)

    def follow(self, place: tuple[int, int], committed_at: int, logged_at: int) -> None:
        """Take note of one streamed event, whatever became of it."""
        front = self._front
        if front is not None:
            if place[0] == 0:  # the connector has seen no commit yet
                place = front[0], place[1]
                behind = place[1] <= max(front)
            else:
                behind = place <= front
            if behind:
                return
        self._front = place
        if self._since is None:
            self._since = logged_at
        elif not 0 <= logged_at - self._since <= REPLAY_MS:
            self._before, self._newest, self._since = self._newest, 0, logged_at
        self._newest = max(self._newest, committed_at)

    def seen(self) -> Seen:
        """To go on from after a restart."""
        return Seen(self._front, self.newest)
