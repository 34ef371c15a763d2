"""A batch of raw records becomes what is written to the state topic: a pure step, safe to repeat."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from core.errors import LimitError
from core.state import StateRow, Truncate
from ingest.dead_letters import MOST_BYTES, DeadLetter
from ingest.record import RawRecord
from ingest.resolve import Lookup, Resolved, Resolver
from ingest.state_store import EncodedRow


@dataclass(slots=True)
class Segment:
    """Rows between two truncates, newest of each key."""

    rows: dict[bytes, EncodedRow] = field(default_factory=dict)
    truncate: Truncate | None = None
    """Behind the rows."""


@dataclass(slots=True)
class Tally:
    """What became of the records of one batch, counted once it is written."""

    outcomes: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    repaired: int = 0
    streamed: list[tuple[int, int]] = field(default_factory=list)
    """Of each applied event: when it was committed, when it stood in the raw log; ms since 1970."""

    def note(self, resolved: Resolved, record: RawRecord) -> None:
        self.outcomes[resolved.outcome] += 1
        self.repaired += resolved.repaired
        if resolved.outcome == "ignored":
            self.ignored[resolved.kind] += 1
        elif resolved.outcome == "applied":
            self.streamed += [
                (row.committed_at, record.timestamp_ms)
                for row in resolved.rows
                if row.streamed is not None and row.committed_at
            ]


@dataclass(slots=True)
class ResolvedBatch:
    """To be written in this order: each segment's rows, then its truncate; the last segment has none."""

    segments: list[Segment] = field(default_factory=lambda: [Segment()])
    each: list[Resolved] = field(default_factory=list)
    """What became of each record."""
    letters: list[DeadLetter] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    newest: StateRow | Truncate | None = None
    """What the last applied record left: it has the newest position."""
    begun_anew: list[int] = field(default_factory=list)
    """Offsets at which a first snapshot began anew."""


def resolve_batch(
    resolver: Resolver, records: Sequence[RawRecord], known: Lookup, now_ms: int
) -> ResolvedBatch:
    """`known`: a row as the state topic has it.

    Rows and truncates of the batch count as known for what follows them in it.
    """
    made = ResolvedBatch()
    pending: dict[bytes, StateRow] = {}
    dead_below = 0

    def lookup(canonical: bytes) -> StateRow | None:
        row = pending.get(canonical) or known(canonical)
        if row is not None and row.version < dead_below and not row.deleted:
            row = replace(row, deleted=True)
        return row

    for record in records:
        resolved, rows = _within_limit(resolver.resolve(record, lookup, now_ms), lookup, now_ms)
        made.each.append(resolved)
        made.tally.note(resolved, record)
        if resolved.error is not None:
            made.letters.append(DeadLetter(record, "resolve", resolved.error))
        for one in rows:
            pending[one.key] = one.row
            made.segments[-1].rows[one.key] = one
        if resolved.truncate is not None:
            dead_below = resolved.truncate.version
            made.segments[-1].truncate = resolved.truncate
            made.segments.append(Segment())
            if resolved.kind != "t":
                made.begun_anew.append(record.offset)
        if resolved.outcome == "applied":
            made.newest = resolved.rows[-1] if resolved.rows else resolved.truncate
    return made


def _within_limit(resolved: Resolved, lookup: Lookup, now_ms: int) -> tuple[Resolved, list[EncodedRow]]:
    """The same and its rows encoded, unless one is longer than what a topic takes.

    Carried columns can make a row longer than its event. Then it is parked, and taints the row as
    known, as everything parked does. Not so a delete, or its row could be cited for ever: the grave
    goes without its columns, tainted, since nothing can be carried from it.
    """
    rows = [EncodedRow.of(row) for row in resolved.rows]
    if resolved.outcome != "applied" or not any(map(_is_long, rows)):
        return resolved, rows
    bare = tuple(
        replace(one.row, columns={}, tainted=True) if one.row.deleted and _is_long(one) else one.row
        for one in rows
    )
    rows = [EncodedRow.of(row) for row in bare]
    long = next((one for one in rows if _is_long(one) and not one.row.deleted), None)
    if long is None:
        return replace(resolved, rows=bare), rows
    error = LimitError(
        f"row {long.row.key}: {len(long.value)} bytes, and a state topic takes {MOST_BYTES}: leave a column"
        " out (column.exclude.list of the connector), or keep its long texts in a table of their own"
    )
    known, new = lookup(long.key), long.row
    tainted = (
        (replace(known, version=new.version, streamed=new.streamed, resolved_at=now_ms, tainted=True),)
        if known
        else ()
    )
    parked = replace(resolved, outcome="parked", kind=type(error).__name__, rows=tainted, error=error)
    return parked, [EncodedRow.of(row) for row in tainted]


def _is_long(one: EncodedRow) -> bool:
    return len(one.key) + len(one.value) > MOST_BYTES
