"""The rows of one state topic in memory: the highest version of each key wins, not the last.

A worker that was frozen past its session may write an older row after a newer one. So every
reader keeps the highest version, and the owner of a partition repairs what regressed by
publishing the highest again, before compaction drops it. Pure: records go in, rows come out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from core.state import Progress, Removed, StateRecord, StateRow, Truncate

Mark: TypeAlias = Truncate | Progress
"""What stands once in each partition."""


@dataclass(slots=True)
class Held:
    """A row and where its newest record stands in the state topic."""

    row: StateRow
    partition: int
    offset: int


class StateTable:
    """What every reader of a state topic agrees on, whatever the order of regressions."""

    def __init__(self) -> None:
        self._rows: dict[bytes, Held] = {}
        self._truncates: dict[int, Truncate] = {}
        self.progress: dict[int, Progress] = {}
        self._mark_offsets: dict[tuple[int, type[Mark]], int] = {}
        self.regressed: set[bytes] = set()
        self._regressed_marks: set[tuple[int, type[Mark]]] = set()
        self.newest = 0
        """The highest version of any record, marks and tombstones among them."""

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, canonical: bytes) -> StateRow | None:
        """The newest row, live or grave; a row below a truncate is given as its grave."""
        held = self._rows.get(canonical)
        return held.row if held is not None else None

    def held(self, canonical: bytes) -> Held | None:
        """The row with its place in the topic."""
        return self._rows.get(canonical)

    def rows(self) -> Iterator[StateRow]:
        """Every row, graves included, in no order. Do not apply while iterating."""
        return (held.row for held in self._rows.values())

    def keys(self) -> list[bytes]:
        """Canonical keys of every row, graves included, as of now; from any thread."""
        return list(self._rows)

    def items(self) -> Iterator[tuple[bytes, Held]]:
        """Canonical keys and what is held of them."""
        return iter(self._rows.items())

    def dead_below(self, partition: int) -> int:
        """Rows of this partition with a lower version are dead (0: none)."""
        found = self._truncates.get(partition)
        return found.version if found is not None else 0

    @property
    def truncate(self) -> Truncate | None:
        """The newest truncate of the table, whole: a replayed one is recognised by its position."""
        return max(self._truncates.values(), key=lambda one: one.version, default=None)

    @property
    def regressed_marks(self) -> list[tuple[int, Mark]]:
        """By partition, the newest mark where an older one stands behind it: compaction would keep that."""
        places = sorted(self._regressed_marks, key=lambda place: (place[0], place[1].__name__))
        held = ((number, self._mark(number, kind)) for number, kind in places)
        return [(number, mark) for number, mark in held if mark is not None]

    def apply(self, partition: int, offset: int, record: StateRecord) -> list[StateRow]:
        """Take one record; the rows that changed by it, as they are now."""
        self.newest = max(self.newest, record.version)
        match record:
            case StateRow():
                return self._apply_row(partition, offset, record)
            case Truncate():
                return self._apply_truncate(partition, offset, record)
            case Progress():
                if self._is_newest(partition, offset, record):
                    self.progress[partition] = record
                return []
            case Removed():
                return self._apply_removed(offset, record)

    def _apply_row(self, partition: int, offset: int, row: StateRow) -> list[StateRow]:
        canonical = row.key.canonical
        held = self._rows.get(canonical)
        if held is not None and row.version < held.row.version:
            if offset > held.offset:
                self.regressed.add(canonical)  # compaction would keep the older one
            return []
        truncate = self._truncates.get(partition)
        if truncate is not None and row.version < truncate.version and not row.deleted:
            row = _buried(row, truncate.resolved_at)
        if held is not None and row.version == held.row.version and offset <= held.offset:
            return []
        self._rows[canonical] = Held(row, partition, offset)
        self.regressed.discard(canonical)
        return [row]

    def _mark(self, partition: int, kind: type[Mark]) -> Mark | None:
        return self._truncates.get(partition) if kind is Truncate else self.progress.get(partition)

    def _is_newest(self, partition: int, offset: int, mark: Mark) -> bool:
        """Whether none is newer; remembers where the newest stands, and whether an older one is behind it."""
        place = partition, type(mark)
        known, at = self._mark(*place), self._mark_offsets.get(place, -1)
        if known is not None and mark.version < known.version:
            if offset > at:
                self._regressed_marks.add(place)
            return False
        if known is None or mark.version > known.version or offset > at:
            self._mark_offsets[place] = offset
            self._regressed_marks.discard(place)
        return True

    def _apply_truncate(self, partition: int, offset: int, truncate: Truncate) -> list[StateRow]:
        known = self._truncates.get(partition)  # the first record of a topic may be one: version 0
        if not self._is_newest(partition, offset, truncate) or (known and truncate.version == known.version):
            return []
        self._truncates[partition] = truncate
        buried = []
        for held in self._rows.values():
            if held.partition == partition and held.row.version < truncate.version and not held.row.deleted:
                held.row = _buried(held.row, truncate.resolved_at)
                buried.append(held.row)
        return buried

    def _apply_removed(self, offset: int, removed: Removed) -> list[StateRow]:
        canonical = removed.key.canonical
        held = self._rows.get(canonical)
        if held is None:
            return []
        if held.row.version > removed.version:
            if offset > held.offset:
                self.regressed.add(canonical)  # compaction would keep the tombstone
            return []
        del self._rows[canonical]
        self.regressed.discard(canonical)
        return [_buried(held.row)]


def _buried(row: StateRow, since: int = 0) -> StateRow:
    """Its grave, no older than `since`."""
    return StateRow(
        row.key,
        row.version,
        row.columns,
        deleted=True,
        streamed=row.streamed,
        position=row.position,
        committed_at=row.committed_at,
        resolved_at=max(row.resolved_at, since),
        tainted=row.tainted,
    )
