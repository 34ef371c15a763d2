"""Raw change events of one table become rows in its state topic. One raw partition, one batch in flight."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from core.clock import Clock
from core.errors import ConfigurationError, ContractError, FencedError
from core.keys import TableId
from core.metrics import RAW_IGNORED, RAW_RECORDS, REPAIRED_TEXT, RESOLVE_BATCH, STAGE
from core.positions import parse_position
from core.settings import Ingest, Source
from core.state import Progress, Seen, StateRow, Truncate
from core.telemetry import logger
from core.topics import HOUR_MS, raw_topic
from core.version import epoch_of, version
from embed.pace import Priority
from ingest.agents.drainer import ack, assigned_generation, batches, release, still_owner
from ingest.agents.holes import has_hole, missed
from ingest.brake import Brake
from ingest.course import seen_before
from ingest.dead_letters import DeadLetter
from ingest.guard_alarm import GuardAlarm
from ingest.record import RawRecord
from ingest.resolve import Resolved, Resolver
from ingest.resolve_batch import ResolvedBatch, Tally, resolve_batch
from ingest.state_store import StateStore

log = logger(__name__)

WITHIN_SECONDS: Final = 0.001
"""A first event waits so long for more: latency counts more than full batches."""

INDEXED_SECONDS: Final = 0.05
"""From the state record to the batch of the index agent that has it: 7 ms where nothing else runs."""

GRAVES_A_TURN: Final = 2000
WALK_MS: Final = 60_000
"""From one walk over all graves to the next, at least."""

Park = Callable[[Sequence[DeadLetter]], Any]


class LostPartitionError(Exception):
    """A rebalance took the partition: release the batch, its next owner reads it again."""


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
        log_start: Callable[[], int],
        priority: Priority,
    ) -> None:
        """`log_start`: the first offset that the raw topic still has; blocking.

        `priority`: builds in the background give way to what is resolved here, and to its way to the index.
        """
        self._priority = priority
        self._table, self._source, self._epoch = table, source, epoch
        self._store, self._park, self._settings = store, park, settings
        self._clock, self._failpoint, self._log_start = clock, failpoint, log_start
        self._next: int | None = None
        """The raw offset that comes next, where a progress record or the batch before tells."""
        self._generation: int | None = None
        self._resolver: Resolver | None = None
        self._alarm = GuardAlarm(raw_topic(source.prefix, table.table), source.expected_events_per_second)
        self._brake = Brake(settings.poison_share, "the source's schemas, placeholder, converter")
        self._position, self._committed_at = "", 0
        self._reached: Progress | None = None
        self._walk: Iterator[bytes] = iter(())
        self._next_walk = 0
        self._app: Any = None
        self._lock = asyncio.Lock()
        """A batch or maintenance, never both: each writes what it has read of the table before."""
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
            except BaseException:
                release(app, batch)  # else a stop would wait for it for ever
                raise
            else:
                self._failpoint("before_ack")
                ack(app, batch)
                self._failpoint("after_ack")
            self.busy_since = None

    async def maintain(self) -> None:
        """Repair what regressed and bury expired graves, if this worker owns the table.

        A table that nobody changes is owned like any other: by who was given its raw partition, batch
        or no batch. Raises what must end the process.
        """
        if self._app is None:
            return
        async with self._lock:
            generation = assigned_generation(self._app, raw_topic(self._source.prefix, self._table.table))
            if generation is None:
                return
            try:
                if self._generation != generation:
                    await self._take_over(generation)
                await self._store.repair(self._check_owner)
                expired = self._expired()
                if expired:
                    await self._store.bury(expired, self._check_owner)
            except LostPartitionError:
                return

    def _expired(self) -> list[StateRow]:
        """Of the next graves in a slow walk over the table: a table of millions must not stop the loop."""
        now, table = self._clock.now_ms(), self._store.table
        keys = list(islice(self._walk, GRAVES_A_TURN))
        if not keys and now >= self._next_walk:
            self._next_walk = now + WALK_MS
            self._walk = iter([key for key, _ in table.items()])
        oldest = now - int(self._settings.grave_hours * HOUR_MS)
        rows = (table.get(key) for key in keys)
        return [row for row in rows if row is not None and row.deleted and 0 < row.resolved_at < oldest]

    def _owner(self) -> bool:
        return self._generation is not None and still_owner(self._app, self._generation)

    def _check_owner(self) -> None:
        if not self._owner():
            self._generation = None  # what was resolved in vain may come again in this one
            raise LostPartitionError
        self._check_epoch()

    def _check_epoch(self) -> None:
        """Our epoch was read at start, maybe minutes before we joined: a resync may have come between.

        What we wrote would lie below its truncates, and our commits behind the offset that it set: the
        next worker would find nothing left to read. It writes its truncates before it sets that offset,
        so who was given the offset finds them in the state topic.
        """
        newest = epoch_of(self._store.table.newest)
        if newest > self._epoch:
            raise FencedError(
                f"{self._table}: its state topic is in epoch {newest}, and this process began in epoch"
                f" {self._epoch}: `tailrace resync` was run meanwhile. Nothing was acknowledged; start the"
                " worker again, and it goes on in the new epoch"
            )

    async def _handle(self, batch: list[Any]) -> None:
        self._priority.expect(INDEXED_SECONDS)
        await self._resolve_in_turn(batch)
        self._priority.expect(INDEXED_SECONDS)

    async def _resolve_in_turn(self, batch: list[Any]) -> None:
        async with self._lock:
            generation = batch[-1].message.generation_id
            if not still_owner(self._app, generation):
                raise LostPartitionError
            if self._generation != generation:
                await self._take_over(generation)
            self._check_owner()
            await self._check_whole(batch)
            now = self._clock.now_ms()
            resolved = self._resolve(batch, now)
            self._failpoint("after_decode")
            if resolved.letters:
                await self._park(resolved.letters)
            made = version(self._epoch, batch[-1].message.offset)
            seen = self._resolver.seen if self._resolver is not None else None
            progress = Progress(made, self._position, self._committed_at, now, seen)
            *before, last = resolved.segments
            for segment in before:
                rows = list(segment.rows.values())
                await self._store.write(rows, segment.truncate, None, self._check_owner)
            await self._store.write(list(last.rows.values()), None, progress, self._check_owner)
            self._next = batch[-1].message.offset + 1
            self._brake.count(len(resolved.letters), len(batch))
            self._count(resolved.tally)

    async def _check_whole(self, batch: list[Any]) -> None:
        """A client whose offset is gone goes on at the log's first one, and says nothing."""
        offsets = [event.message.offset for event in batch]
        if not has_hole(self._next, offsets):
            return
        gone = missed(self._next, offsets, await asyncio.to_thread(self._log_start))
        if gone is not None:
            topic = raw_topic(self._source.prefix, self._table.table)
            raise FencedError(
                f"{topic}: records {gone[0]} to {gone[1]} were deleted before they were read: its retention"
                " is too short for this worker. Nothing of what follows was acknowledged: give"
                f" the topic more, let the connector take a new snapshot, and run `tailrace resync {topic}`"
            )

    async def _take_over(self, generation: int) -> None:
        await self._store.catch_up()
        self._check_epoch()
        table = self._store.table
        # A crash in a write leaves partitions behind others: what only some have is not read yet.
        marks = sorted(table.progress.values(), key=lambda one: one.version)
        least = marks[0] if len(marks) == self._store.partitions else Progress(0, seen=Seen())
        self._position, self._committed_at = least.position, least.committed_at
        self._reached = marks[-1] if marks else None
        ours = len(marks) == self._store.partitions and epoch_of(least.version) == self._epoch
        self._next = least.version - version(self._epoch, 0) + 1 if ours else None
        # An older epoch's keys may have had another shape: a resync is the cure for that.
        rows = (row for row in table.rows() if not row.deleted and epoch_of(row.version) == self._epoch)
        known = next(rows, None)
        shape = tuple((name, type(value)) for name, value in known.key.columns) if known else None
        seen = seen_before(least, self._epoch, table.rows())
        self._resolver = Resolver(self._table, self._source, self._epoch, table.truncate, shape, seen)
        self._generation = generation

    def _resolve(self, batch: list[Any], now: int) -> ResolvedBatch:
        if self._resolver is None:
            raise RuntimeError("a batch before the first take-over")
        records = [_record(event.message) for event in batch]
        made = resolve_batch(self._resolver, records, self._store.table.get, now)
        for offset in made.begun_anew:
            log.warning("the first snapshot began anew", table=str(self._table), offset=offset)
        for resolved in made.each:
            self._observe(resolved)
        why = made.letters[-1].error if made.letters else None
        self._brake.judge(len(made.letters), len(records), records[-1].topic, why)
        self._advance(made.newest, version(self._epoch, records[-1].offset))
        return made

    def _observe(self, resolved: Resolved) -> None:
        """Raises ConfigurationError where what the guard drops is no replay."""
        alarm = self._alarm.observe(resolved)
        if alarm is not None:
            raise ConfigurationError(alarm)

    def _advance(self, newest: StateRow | Truncate | None, read: int) -> None:
        """The newest source position seen: a row of a snapshot may stand behind an event before it.

        What a torn write had reached holds again once everything up to its version is `read`.
        """
        marks = [one for one in (self._reached, newest) if one is not None and one.version <= read]
        for mark in sorted(marks, key=lambda one: one.version):
            self._position = _later(self._position, mark.position)
            self._committed_at = max(self._committed_at, mark.committed_at)

    def _count(self, tally: Tally) -> None:
        name, now = str(self._table), self._clock.now_ms()
        for outcome, number in tally.outcomes.items():
            RAW_RECORDS.labels(name, outcome).inc(number)
        for kind, number in tally.ignored.items():
            RAW_IGNORED.labels(name, kind).inc(number)
        if tally.repaired:
            REPAIRED_TEXT.labels(name).inc(tally.repaired)
        source, resolve = STAGE.labels("source"), STAGE.labels("resolve")
        for committed, logged in tally.streamed:
            source.observe(max(0, logged - committed) / 1000)
            resolve.observe(max(0, now - logged) / 1000)


def _later(known: str, position: str) -> str:
    """The later of two source positions; the newer one where they do not compare."""
    try:
        return position if parse_position(position) >= parse_position(known) else known
    except ContractError:
        return position or known


def _record(message: Any) -> RawRecord:
    found = message.headers or ()
    pairs = found.items() if hasattr(found, "items") else found
    return RawRecord(
        message.topic,
        message.partition,
        message.offset,
        int(message.timestamp * 1000),
        message.key,
        message.value,
        tuple((str(name), value or b"") for name, value in pairs),
    )
