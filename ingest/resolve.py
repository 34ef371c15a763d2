"""Raw records become rows: decode, the ordering rule, the carrying of unchanged long values.

The rule, for the changes of one key in one topic:

1. The log's order counts: version = epoch and offset. At or below the known version: superseded.
2. A streamed event at or below the key's last streamed position is a replay after a crash of
   the connector: superseded. Positions are compared stream against stream only, and only inside
   one epoch. A first part of 0 says that the connector has seen no commit yet: this is a new life
   of it, or its first transaction sent again. A new life reads what was written later, so there
   the second parts decide. Rows of a snapshot have no place in that order: they go by the log's alone.
3. A delete leaves a grave with the row's columns; a change of key takes unchanged long values
   from there. Tombstones after a delete say nothing new.
4. A truncate that was replayed must not bury what came after it. Truncates of one table lock
   each other out, so their places in the stream order them as they order the changes of one key;
   their source positions do where a place is missing. They lock out changes of rows as well: one
   whose place is not above the last truncate's is a replay, whether or not its grave is left.
5. A connector's first snapshot that begins anew, before anything was streamed, is a truncate: what
   the attempt before had read may have been deleted since, and no event tells of it.

What cannot be applied is parked, and taints its key: the row as known stays, at the version of
the parked record, and nothing is carried across it until an event brings every column.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from core.errors import ContractError, PermanentError
from core.keys import RowKey, TableId
from core.positions import parse_position
from core.settings import Source
from core.state import Json, Seen, StateRow, Truncate
from core.version import epoch_of, version
from ingest.course import Course
from ingest.debezium import Decoder, Ignored, RowChange, TruncateChange
from ingest.record import RawRecord

Lookup: TypeAlias = Callable[[bytes], StateRow | None]
KeyShape: TypeAlias = tuple[tuple[str, type], ...]

# MariaDB: domain-server-number; MySQL: server's uuid:number.
_GTID: Final = re.compile(r"(?:(\d{1,10})-\d{1,10}-|([0-9a-f-]{36}):)(\d{1,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What became of one raw record.

    `rows` and `truncate` are to be written to the state topic, in order; a parked record may
    have a row too: the known one, tainted. The first row of a snapshot that begins anew may have
    both. `kind` says what was ignored, or by which rule an event was superseded: `version` or `guard`.
    """

    outcome: Literal["applied", "superseded", "ignored", "parked"]
    kind: str = ""
    rows: tuple[StateRow, ...] = ()
    truncate: Truncate | None = None
    error: PermanentError | None = None
    repaired: int = 0
    """Lone surrogates replaced by U+FFFD."""
    newer: bool = False
    """The guard dropped an event that committed later than all that was seen (see GuardAlarm)."""


class Resolver:
    """The rule for one table. Its raw topic has one partition.

    `truncate` is the last one in the state topic, `shape` the key of any live row of this epoch
    there: the first event sets it where there is none. `seen` is what the progress record says where
    reading goes on. All are kept in memory, and giving the same records again after a failed write
    gives the same results.
    """

    def __init__(
        self,
        table: TableId,
        source: Source,
        epoch: int,
        truncate: Truncate | None = None,
        shape: KeyShape | None = None,
        seen: Seen | None = None,
    ) -> None:
        self._decoder: Final = Decoder(source, table.table)
        self._table: Final = table
        self._epoch: Final = epoch
        self._truncate = truncate
        self._shape = shape
        self._course: Final = Course(seen or Seen())

    @property
    def seen(self) -> Seen:
        """What the next resolver of this table has to know."""
        return self._course.seen()

    def resolve(self, record: RawRecord, lookup: Lookup, now_ms: int) -> Resolved:
        """`lookup` gives the newest row of a canonical key, graves and unwritten rows included.

        `now_ms` is stamped on what is made. Never raises for what is in a record.
        """
        made = version(self._epoch, record.offset)
        try:
            event = self._decoder.decode(record)
        except PermanentError as error:
            spelled = (lookup(key.canonical) for key in self._decoder.keys_of(record))
            known = next((row for row in spelled if row is not None), None)
            return _parked(error, known, made, now_ms)
        if isinstance(event, Ignored):
            return Resolved("ignored", event.kind)
        if isinstance(event, RowChange):
            resolved = self._row(event, made, lookup, now_ms)
            anew = self._course.read(event.read_at, made)
            if anew and (self._truncate is None or self._truncate.version <= made):
                self._truncate = Truncate(made, resolved_at=now_ms)
                resolved = replace(resolved, truncate=self._truncate)
        else:
            resolved = self._truncated(event, made, now_ms)
            self._course.read(None, made)
        if event.streamed is not None:
            self._course.follow(event.streamed, event.committed_at, record.timestamp_ms)
        return resolved

    def _row(self, event: RowChange, made: int, lookup: Lookup, now_ms: int) -> Resolved:
        known = lookup(event.key.canonical)
        # A parked record was not applied: the same one may be tried again.
        if known is not None and made < known.version + (not known.tainted):
            return Resolved("superseded", "version")
        ours = known is not None and epoch_of(known.version) == self._epoch
        last = known.streamed if known is not None and ours else None
        if known is not None and _is_replay(event.streamed, last) and not _clears(event, known):
            return Resolved("superseded", "guard", newer=self._is_newer(event, known))
        truncate = self._truncate_before(made)
        if truncate is not None and _is_replay(event.streamed, truncate.streamed):
            return Resolved("superseded", "guard", newer=self._is_newer(event, truncate))
        shape = tuple((name, type(value)) for name, value in event.key.columns)
        if self._shape is not None and shape != self._shape:
            return _parked(self._wrong_shape(shape), known, made, now_ms)
        if event.columns is None:
            columns: Mapping[str, Json] = known.columns if known is not None else {}
            # A delete of what is deleted already: a life of this key was missed, and its columns.
            tainted = known is not None and (
                known.tainted or known.deleted or not ours or _may_be_newer(known, event)
            )
        else:
            try:
                columns, tainted = self._whole(event, known if ours else None, lookup), False
            except ContractError as error:
                return _parked(error, known, made, now_ms)
        self._shape = shape
        row = StateRow(
            event.key,
            made,
            columns,
            event.columns is None,
            event.streamed or last,
            event.position,
            event.committed_at,
            now_ms,
            tainted,
        )
        return Resolved("applied", event.op, (row,), repaired=event.repaired)

    def _whole(self, event: RowChange, known: StateRow | None, lookup: Lookup) -> Mapping[str, Json]:
        """The columns of the event, with what it left out taken from the row that had it before."""
        sent = event.columns or {}
        if not event.absent:
            return sent
        if event.old_key is not None:
            donor = self._left_by(event, event.old_key, lookup)
        else:
            donor = known if known is not None and not known.deleted else None
        if donor is None or donor.tainted or not event.absent <= donor.columns.keys():
            names = ", ".join(sorted(event.absent))[:200]
            raise ContractError(
                f"{self._table}: unchanged {names} was not sent, and no row here has it:"
                f" `tailrace resync` reads the row again, REPLICA IDENTITY FULL sends it always"
            )
        # In the table's order, so that a row reads the same however its columns came.
        carried = {
            name: sent.get(name, value)
            for name, value in donor.columns.items()
            if name in sent or name in event.absent
        }
        return {**carried, **sent}

    def _left_by(self, event: RowChange, old_key: RowKey, lookup: Lookup) -> StateRow | None:
        """The row that this event moved: a grave of the same position, or the row just before it."""
        donor = lookup(old_key.canonical)
        if donor is None or epoch_of(donor.version) != self._epoch:
            return None
        if not donor.deleted and _may_be_newer(donor, event):
            return None
        if event.streamed is None or donor.streamed is None:
            return donor
        # Another position: the old key had another life since, or its delete was missed.
        fits = donor.streamed == event.streamed if donor.deleted else donor.streamed < event.streamed
        return donor if fits else None

    def _truncated(self, event: TruncateChange, made: int, now_ms: int) -> Resolved:
        if self._truncate is not None and made < self._truncate.version:
            return Resolved("superseded", "version")
        last = self._truncate_before(made)
        if last is not None and _is_replayed_truncate(event, last):
            return Resolved("superseded", "guard", newer=self._is_newer(event, last))
        self._truncate = Truncate(made, event.position, event.committed_at, event.streamed, now_ms)
        return Resolved("applied", "t", truncate=self._truncate)

    def _truncate_before(self, made: int) -> Truncate | None:
        """The last truncate, if the record of this version stands behind it in the same epoch."""
        last = self._truncate
        behind = last is not None and made > last.version and epoch_of(last.version) == self._epoch
        return last if behind else None

    def _is_newer(self, event: RowChange | TruncateChange, known: StateRow | Truncate) -> bool:
        """Whether a dropped event committed after everything seen: then it was never sent before."""
        return event.committed_at > max(known.committed_at, self._course.newest)

    def _wrong_shape(self, shape: KeyShape) -> ContractError:
        had, has = (
            ", ".join(f"{name[:80]} {kind.__name__}" for name, kind in of)
            for of in (self._shape or (), shape)
        )
        return ContractError(
            f"{self._table}: a key of ({has}) where the table has ({had}): after a change of the"
            " primary key run `tailrace resync`"
        )


def _is_replay(streamed: tuple[int, int] | None, last: tuple[int, int] | None) -> bool:
    if streamed is None or last is None:
        return False
    if streamed[0] == 0:
        return streamed[1] <= last[1]
    return streamed <= last


def _is_replayed_truncate(event: TruncateChange, last: Truncate) -> bool:
    """The place first: a GTID may be missing, tagged, or of another domain than the last one's."""
    if event.streamed is not None and last.streamed is not None:
        return _is_replay(event.streamed, last.streamed)
    before, this = _order(last.position), _order(event.position)
    return before is not None and this is not None and before[0] == this[0] and this <= before


def _may_be_newer(row: StateRow, event: RowChange) -> bool:
    """Whether `row` may be a snapshot's that has `event` in it already: a later life of its key.

    A blocking snapshot may be followed by events from before it. Not so if the event was
    written after the snapshot's position, or after a commit at or above it.
    """
    if event.streamed is None or "/" not in row.position:
        return False
    return parse_position(row.position) >= max(event.streamed[1], event.streamed[0] + 1)


def _clears(event: RowChange, known: StateRow) -> bool:
    """The last event that was applied, replayed whole after an unreadable one that tainted its row."""
    return (
        known.tainted
        and not known.deleted
        and event.streamed == known.streamed
        and event.columns is not None
        and not event.absent
    )


def _parked(error: PermanentError, known: StateRow | None, made: int, now_ms: int) -> Resolved:
    rows: tuple[StateRow, ...] = ()
    if known is not None and made >= known.version + (not known.tainted):
        streamed = known.streamed if epoch_of(known.version) == epoch_of(made) else None
        rows = (replace(known, version=made, streamed=streamed, resolved_at=now_ms, tainted=True),)
    return Resolved("parked", type(error).__name__, rows, error=error)


def _order(position: str) -> tuple[str, int] | None:
    """A source position that orders truncates: an LSN, or the number of a GTID in its domain."""
    found = _GTID.fullmatch(position)
    if found is not None:
        return found[1] or found[2], int(found[3])
    try:
        return "", parse_position(position)
    except ContractError:
        return None
