"""Raw change events of one table become rows in its state topic. One raw partition, one batch in flight."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from core.clock import Clock
from core.errors import ConfigurationError
from core.keys import TableId
from core.metrics import RAW_IGNORED, RAW_RECORDS, REPAIRED_TEXT, RESOLVE_BATCH, STAGE
from core.settings import Ingest, Source
from core.state import Progress, StateRow, Truncate
from core.version import version
from ingest.agents.drainer import ack, batches, release, still_owner
from ingest.dead_letters import DeadLetter
from ingest.record import RawRecord
from ingest.resolve import GuardAlarm, Resolved, Resolver
from ingest.state_store import StateStore

WITHIN_SECONDS: Final = 0.001
"""A first event waits so long for more: latency counts more than full batches."""

POISON_WINDOW: Final = 1000
"""Records over which the share of unreadable ones is taken (see settings: poison_share)."""

FEWEST_TO_JUDGE: Final = 100

Park = Callable[[Sequence[DeadLetter]], Any]


class LostPartitionError(Exception):
    """A rebalance took the partition: release the batch, its next owner reads it again."""


@dataclass(slots=True)
class _Segment:
    """Rows between two truncates, newest of each key."""

    rows: dict[bytes, StateRow] = field(default_factory=dict)
    truncate: Truncate | None = None
    """Behind the rows."""


class ResolveAgent:
    """Handles the batches of one raw topic, for as many generations of the group as come."""

    def __init__(
        self,
        table: TableId,
        source: Source,
        epoch: int,
        store: StateStore,
        park: Park,
        settings: Ingest,
        clock: Clock,
        failpoint: Callable[[str], None],
    ) -> None:
        self._table, self._source, self._epoch = table, source, epoch
        self._store, self._park, self._settings = store, park, settings
        self._clock, self._failpoint = clock, failpoint
        self._generation: int | None = None
        self._resolver: Resolver | None = None
        self._alarm = GuardAlarm(table, source.expected_events_per_second)
        self._unreadable: deque[bool] = deque(maxlen=POISON_WINDOW)
        self._position, self._committed_at = "", 0
        self._app: Any = None
        self.busy_since: float | None = None

    async def run(self, app: Any, stream: Any) -> None:
        """The agent's body. Raises what must end the process."""
        self._app = app
        async for batch in batches(app, stream, self._settings.batch_records, WITHIN_SECONDS):
            self.busy_since = time.monotonic()
            try:
                with RESOLVE_BATCH.time():
                    await self._handle(batch)
            except LostPartitionError:
                release(app, batch)
            else:
                self._failpoint("before_ack")
                ack(app, batch)
                self._failpoint("after_ack")
            self.busy_since = None

    async def maintain(self) -> None:
        """Repair what regressed and bury expired graves, if this worker owns the table."""
        if self._generation is None or not self._owner():
            return
        try:
            await self._store.repair(self._check_owner)
            oldest = self._clock.now_ms() - int(self._settings.grave_hours * 3_600_000)
            expired = [r for r in self._store.table.rows() if r.deleted and 0 < r.resolved_at < oldest]
            if expired:
                await self._store.bury(expired[: self._settings.batch_records], self._check_owner)
        except LostPartitionError:
            return

    def _owner(self) -> bool:
        return self._generation is not None and still_owner(self._app, self._generation)

    def _check_owner(self) -> None:
        if not self._owner():
            raise LostPartitionError

    async def _handle(self, batch: list[Any]) -> None:
        generation = batch[-1].message.generation_id
        if self._generation != generation:
            await self._take_over(generation)
        self._check_owner()
        now = self._clock.now_ms()
        segments, letters = self._resolve(batch, now)
        self._failpoint("after_decode")
        if letters:
            await self._park(letters)
        made = version(self._epoch, batch[-1].message.offset)
        progress = Progress(made, self._position, self._committed_at, now)
        for place, segment in enumerate(segments):
            last = place == len(segments) - 1
            await self._store.write(list(segment.rows.values()), None, None, self._check_owner)
            if segment.truncate is not None or last:
                await self._store.write((), segment.truncate, progress if last else None, self._check_owner)

    async def _take_over(self, generation: int) -> None:
        await self._store.catch_up()
        table = self._store.table
        known = next(table.rows(), None)
        shape = tuple((name, type(value)) for name, value in known.key.columns) if known else None
        self._resolver = Resolver(self._table, self._source, self._epoch, table.truncate, shape)
        self._generation = generation

    def _resolve(self, batch: list[Any], now: int) -> tuple[list[_Segment], list[DeadLetter]]:
        if self._resolver is None:
            raise RuntimeError("a batch before the first take-over")
        table = self._store.table
        segments, letters = [_Segment()], list[DeadLetter]()
        pending: dict[bytes, StateRow] = {}
        dead_below = 0

        def lookup(canonical: bytes) -> StateRow | None:
            row = pending.get(canonical) or table.get(canonical)
            if row is not None and row.version < dead_below and not row.deleted:
                row = StateRow(
                    row.key,
                    row.version,
                    row.columns,
                    deleted=True,
                    streamed=row.streamed,
                    position=row.position,
                    committed_at=row.committed_at,
                    resolved_at=row.resolved_at,
                    tainted=row.tainted,
                )
            return row

        for event in batch:
            message = event.message
            record = RawRecord(
                message.topic,
                message.partition,
                message.offset,
                int(message.timestamp * 1000),
                message.key,
                message.value,
                tuple(_headers(message.headers)),
            )
            resolved = self._resolver.resolve(record, lookup, now)
            self._count(resolved, record, now)
            if resolved.error is not None:
                letters.append(DeadLetter(record, "resolve", resolved.error))
            for row in resolved.rows:
                pending[row.key.canonical] = row
                segments[-1].rows[row.key.canonical] = row
                self._position, self._committed_at = row.position or self._position, row.committed_at
            if resolved.truncate is not None:
                dead_below = resolved.truncate.version
                segments[-1].truncate = resolved.truncate
                segments.append(_Segment())
        return segments, letters

    def _count(self, resolved: Resolved, record: RawRecord, now: int) -> None:
        alarm = self._alarm.observe(resolved)
        if alarm is not None:
            raise ConfigurationError(alarm)
        name = str(self._table)
        RAW_RECORDS.labels(name, resolved.outcome).inc()
        if resolved.outcome == "ignored":
            RAW_IGNORED.labels(name, resolved.kind).inc()
        if resolved.repaired:
            REPAIRED_TEXT.labels(name).inc(resolved.repaired)
        for row in resolved.rows:
            if row.streamed is not None and row.committed_at and resolved.outcome == "applied":
                STAGE.labels("source").observe(max(0, record.timestamp_ms - row.committed_at) / 1000)
                STAGE.labels("resolve").observe(max(0, now - record.timestamp_ms) / 1000)
        self._unreadable.append(resolved.outcome == "parked")
        unreadable = sum(self._unreadable) if self._unreadable[-1] else 0
        if unreadable > max(FEWEST_TO_JUDGE, self._settings.poison_share * POISON_WINDOW):
            raise ConfigurationError(
                f"{record.topic}: {unreadable} of the last {len(self._unreadable)} records could not be"
                " applied: that is no bad record but a bad set-up (schemas, placeholder, converter)."
                " Nothing was acknowledged; correct the source's settings and start again"
            )


def _headers(found: Any) -> list[tuple[str, bytes]]:
    if not found:
        return []
    pairs = found.items() if hasattr(found, "items") else found
    return [(str(name), value or b"") for name, value in pairs]
