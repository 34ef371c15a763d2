"""What is known to stand in a source's raw topics, since when, and which position that means. Pure.

A database position is claimed by its *needs*. The connector's committed offset L is read first, the
ends of the raw topics after it: every change committed up to L lies below those ends. So L is
covered as soon as index and view have covered the ends, on an idle source too. Positions are never
compared with those of single events: a row's own event carries one *below* what its writer reads
after COMMIT.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, TypeAlias

from core.keys import TableId
from core.version import epoch_of, version

KEPT: Final = 512
"""Watermarks of one source (an even number), before every second old one is given up: an index that
is hours behind has no use for the position of each second."""


class Mark(NamedTuple):
    """Everything up to `version` of a table is covered; `committed_at` (ms) is the source's time of it."""

    version: int
    committed_at: int


NOTHING: Final = Mark(-1, 0)


class Moment(NamedTuple):
    """A time by both clocks: the one may be set back, the other stands still while the machine sleeps."""

    at: int
    """Ms since 1970."""
    monotonic: float
    """Seconds."""

    def is_since(self, other: "Moment") -> bool:
        """Not before it by either clock."""
        return self.at >= other.at and self.monotonic >= other.monotonic


Coverage: TypeAlias = Mapping[TableId, Mark]
"""A table that is not in it has nothing to cover: no document of the request is made of it."""


def least(marks: Iterable[Mark | None]) -> Mark:
    """What all of these have covered: of one table's partitions, or of index and view."""
    return min((mark or NOTHING for mark in marks), default=NOTHING)


def both(one: Coverage, other: Coverage) -> Coverage:
    """What both have covered, of every table that either names."""
    tables = one.keys() | other.keys()
    return {t: min(c[t] for c in (one, other) if t in c) for t in tables}


@dataclass(frozen=True, slots=True)
class Watermark:
    """The raw topics held at least `needs` (the newest version of each table) at `first_at`."""

    needs: Mapping[TableId, int]
    first_at: int
    """When that was known first, or committed; ms since 1970."""
    checked: Moment | None
    """A look at all ends that began then found nothing beyond; None before the first look."""
    position: str | None
    order: int
    """`position` as a number; -1 without one."""

    def covered_by(self, coverage: Coverage) -> bool:
        return all(coverage[table].version >= need for table, need in self.needs.items() if table in coverage)


@dataclass(frozen=True, slots=True)
class Look:
    """A look at the ends that has begun: what is seen meanwhile by other ways does not contradict it."""

    began: Moment
    highest: Mapping[TableId, int]


class Watermarks:
    """Those of one source, oldest first; the needs of each are at least those of the one before it.

    So what a coverage has reached is always a first part of the list.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._marks: list[Watermark] = []
        self._highest: Mapping[TableId, int] = {}

    def __len__(self) -> int:
        return len(self._marks)

    def see(self, table: TableId, mark: Mark, now: int) -> None:
        """The view holds progress of this version: its raw record exists since its commit at the latest."""
        if mark.version <= self._highest.get(table, NOTHING.version):
            return
        at = min(now, mark.committed_at or now)
        self._rise({**self._highest, table: mark.version})
        last = self._marks[-1] if self._marks else Watermark({}, at, None, None, -1)
        self._append(replace(last, needs=self._highest, first_at=at))

    def begin(self, now: Moment) -> Look:
        """Before anything is read for a look."""
        return Look(now, self._highest)

    def look(
        self,
        look: Look,
        position: tuple[str, int] | None,
        ends: Mapping[TableId, int],
        epochs: Mapping[TableId, int],
    ) -> str | None:
        """First `position`, then the `ends` of the raw topics were read, since `look` began.

        None if it was taken. Otherwise why not: a topic that ends below what was resolved from it is
        another topic than the one that the epoch was counted for, and would prove what never happened.
        """
        needs = dict(self._highest)
        for table, end in ends.items():
            known = look.highest.get(table, NOTHING.version)
            if end == 0 and (known == NOTHING.version or epoch_of(known) < epochs[table]):
                continue
            need = version(epochs[table], end - 1) if end else NOTHING.version
            if need < known:
                return f"the raw topic of {table} ends below what was read from it: run `tailrace resync`"
            needs[table] = max(need, needs.get(table, need))
        self._rise(needs)
        last = self._marks[-1] if self._marks else None
        if position is None and last is not None and last.position is not None:
            position = (last.position, last.order)
        text, order = position or (None, -1)
        if last is not None and order < last.order:
            self._disown()  # the source's line was reset: where it was says nothing about where it is
        if last is not None and last.needs == needs:
            self._marks[-1] = replace(last, checked=look.began, position=text, order=order)
        else:
            self._append(Watermark(needs, look.began.at, look.began, text, order))
        return None

    def reached(self, coverage: Coverage) -> Watermark | None:
        """The newest watermark that this coverage contains."""
        count = self._count(coverage)
        return self._marks[count - 1] if count else None

    def missing_since(self, coverage: Coverage) -> int | None:
        """Since when (ms) something that is not covered is known to exist; None if all is covered."""
        count = self._count(coverage)
        return self._marks[count].first_at if count < len(self._marks) else None

    def settle(self, coverage: Coverage) -> None:
        """Forget what is older than the newest watermark of this coverage: nobody asks with less."""
        count = self._count(coverage)
        if count > 1:
            del self._marks[: count - 1]

    def _rise(self, highest: Mapping[TableId, int]) -> None:
        """A watermark's needs are never edited: there is a new mapping each time.

        In a new epoch older positions are given up: if the topic was made anew, they may have been
        read with ends of the new one and needs of the old, which everything new seems to cover.
        """
        risen = any(epoch_of(highest[table]) > epoch_of(known) for table, known in self._highest.items())
        self._highest = highest
        if risen:
            self._disown()

    def _disown(self) -> None:
        self._marks = [replace(mark, position=None, order=-1) for mark in self._marks]

    def _count(self, coverage: Coverage) -> int:
        beyond: Callable[[Watermark], bool] = lambda mark: not mark.covered_by(coverage)  # noqa: E731
        return bisect_left(self._marks, True, key=beyond)

    def _append(self, mark: Watermark) -> None:
        self._marks.append(mark)
        if len(self._marks) > self._kept:
            # The survivor of each pair is the newer one, and as old as the older: never too fresh.
            pairs = zip(self._marks[:-1:2], self._marks[1:-1:2], strict=False)
            thinned = [replace(new, first_at=min(old.first_at, new.first_at)) for old, new in pairs]
            self._marks = [*thinned, self._marks[-1]]
