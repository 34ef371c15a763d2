"""What the ordering rule remembers of a table beyond its rows: how far its stream has come, and when.

An event that the guard drops was sent before, or it comes of another line of positions: a database
that was restored or failed over. Commit times tell which, but not those of one key alone: clocks step
back. What was sent before committed no later than the newest commit seen up to the furthest place in
the stream. Only events past that place count, so another line cannot raise the mark by which it
is known.

A connector that dies in its first snapshot takes a whole new one. What was deleted in between is told
by no event: the rows of the attempt before are dead unless the new one reads them again. Tables that
the first attempt had finished are no different. It is known by its place, which lies behind that of the
attempt before: a batch that was sent twice, or a record that is read again, names the same one.
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
    newest = max((row.committed_at for row in streamed), default=0)
    return Seen(max(places, default=None), newest, streaming=True)  # whether it was is not known


class Course:
    """Follows the events of one table, in the order of the log."""

    def __init__(self, seen: Seen) -> None:
        self._front = seen.streamed
        self._newest, self._before = 0, seen.committed_at
        self._since: int | None = None
        self._snapshot, self._streaming = seen.snapshot, seen.streaming
        self._began: int | None = None

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

    def read(self, place: tuple[int, int] | None, made: int) -> bool:
        """Take note of a row or truncate of version `made`, and where the first snapshot stands that read it.

        Whether that snapshot begins with it, and everything known was read by one that broke off. Asked
        again, the answer is the same.
        """
        if place is None:
            self._snapshot, self._streaming = None, True
        if self._streaming or place is None:
            return False
        if self._snapshot is not None and place > self._snapshot:
            self._began = made
        self._snapshot = max(place, self._snapshot or place)
        return made == self._began

    def seen(self) -> Seen:
        """To go on from after a restart."""
        return Seen(self._front, self.newest, self._snapshot, self._streaming)
