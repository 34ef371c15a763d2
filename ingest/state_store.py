"""The resolve agent's rows, in front of a compacted state topic.

A write counts when the broker has acknowledged it; memory follows. The highest version of each key
wins, whatever order the log has. Why not a Faust table: docs/adr/0001-own-state-store.md.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self, TypeAlias

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder

from core.errors import FencedError, TransientError
from core.metrics import STATE_REPAIRS
from core.state import Progress, Removed, StateRow, Truncate, encode_state, encode_tombstone
from core.state_reader import StateReader
from core.state_table import Mark, StateTable

_Record: TypeAlias = tuple[int, bytes, bytes | None, list[tuple[str, bytes]]]
"""Partition, key, value, headers."""

PULSES: Final = 20
"""Looks at the clock in one session: a frozen process must see that it slept."""

FROZEN_SHARE: Final = 0.7
"""Of the session: asleep for longer, somebody else may own the partition. The last heartbeat may be a
quarter of the session old when the sleep begins."""

WRITE_SECONDS: Final = 60.0


def partition_of(canonical: bytes, partitions: int) -> int:
    """The state partition of a key: Kafka's own default, so any client finds it."""
    return int(murmur2(canonical) & 0x7FFFFFFF) % partitions


class Pulse:
    """Notices that the process was frozen, before it writes."""

    def __init__(self, session_seconds: float) -> None:
        self._limit = session_seconds * FROZEN_SHARE
        self._step = session_seconds / PULSES
        self._beat = time.monotonic()

    def check(self) -> None:
        """Raises FencedError if too long passed since the last look."""
        now = time.monotonic()
        asleep, self._beat = now - self._beat, now
        if asleep > self._limit:
            raise FencedError(
                f"this process stood still for {asleep:.1f} s, and its session is {self._limit:.1f} s:"
                " another worker may own its partitions; it exits and starts anew"
            )

    async def run(self) -> None:
        """Looks at the clock from now on, until it raises what `check` raises."""
        self._beat = time.monotonic()
        while True:
            self.check()
            await asyncio.sleep(self._step)


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A row with its record's key and value: encoded once, where its length is checked."""

    row: StateRow
    key: bytes
    value: bytes

    @classmethod
    def of(cls, row: StateRow) -> Self:
        return cls(row, *encode_state(row))


class StateStore:
    """One table's rows: read by lookup, written with acknowledgement, repaired when they regress."""

    def __init__(self, topic: str, reader: StateReader, producer: AIOKafkaProducer, pulse: Pulse) -> None:
        self.topic, self._reader, self._producer, self._pulse = topic, reader, producer, pulse
        self._lock = asyncio.Lock()

    @property
    def table(self) -> StateTable:
        return self._reader.tables[self.topic]

    @property
    def partitions(self) -> int:
        return self._reader.partitions[self.topic]

    async def catch_up(self) -> None:
        """Before the first write of a generation: read what whoever owned it before has written."""
        await self._reader.caught_up()

    async def write(
        self,
        rows: Sequence[EncodedRow],
        truncate: Truncate | None,
        progress: Progress | None,
        check_owner: Callable[[], None],
    ) -> None:
        """All acknowledged on return: rows and repairs, then truncate and progress in each partition.

        What is not longer than one produce batch is accepted or refused as a whole, so progress never
        stands without its rows; longer writes end with a batch of their own for it.
        Raises TransientError or FencedError; then nothing may be acknowledged and the process ends.
        """
        async with self._lock:
            self._pulse.check()
            check_owner()
            all_rows = [*self._repairs({one.key for one in rows}), *rows]
            marks = [mark for mark in (truncate, progress) if mark is not None]
            await self._write(
                all_rows, [(number, mark) for mark in marks for number in range(self.partitions)]
            )

    async def repair(self, check_owner: Callable[[], None]) -> int:
        """Publish the highest version again where a lower one stands behind it. How many there were."""
        async with self._lock:
            rows, marks = self._repairs(set()), self.table.regressed_marks
            if rows or marks:
                self._pulse.check()
                check_owner()
                await self._write(rows, marks)
                STATE_REPAIRS.labels(self.topic).inc(len(marks))
            return len(rows) + len(marks)

    async def bury(self, expired: Sequence[StateRow], check_owner: Callable[[], None]) -> None:
        """Tombstones for expired graves, each naming the version that it removes."""
        async with self._lock:
            self._pulse.check()
            check_owner()
            records: list[_Record] = []
            graves = []
            for row in expired:
                removed = Removed(row.key, row.version)
                key, _, headers = encode_tombstone(removed)
                held = self.table.held(key)
                # Written again meanwhile: a tombstone behind the new row would take it with it.
                if held is None or not held.row.deleted or held.row.version != row.version:
                    continue
                records.append((held.partition, key, None, headers))
                graves.append(removed)
            # A topic that ends with a tombstone loses its end to compaction, and readers wait for it.
            marks = {number: self.table.progress.get(number) for number, *_ in records}
            last = [(number, mark) for number, mark in marks.items() if mark is not None]
            offsets = iter(await self._send(records, last))
            for removed, (partition, *_) in zip(graves, records, strict=True):
                self.table.apply(partition, next(offsets), removed)
            for partition, mark in last:
                self.table.apply(partition, next(offsets), mark)

    def _repairs(self, written: set[bytes]) -> list[EncodedRow]:
        table = self.table
        found = [table.get(key) for key in table.regressed - written]
        repairs = [EncodedRow.of(row) for row in found if row is not None]
        if repairs:
            STATE_REPAIRS.labels(self.topic).inc(len(repairs))
        return repairs

    async def _write(self, rows: Sequence[EncodedRow], marks: Sequence[tuple[int, Mark]]) -> None:
        """Memory follows; `marks` stand behind the rows, by partition."""
        count = self.partitions
        records: list[_Record] = [(partition_of(one.key, count), one.key, one.value, []) for one in rows]
        offsets = iter(await self._send(records, marks))
        for one, (partition, *_) in zip(rows, records, strict=True):
            self.table.apply(partition, next(offsets), one.row)
        for partition, mark in marks:
            self.table.apply(partition, next(offsets), mark)

    async def _send(self, records: Sequence[_Record], marks: Sequence[tuple[int, Mark]]) -> list[int]:
        """The offsets of `records` and of `marks`, which stand behind them in their partitions."""
        last: list[_Record] = [(number, *encode_state(mark), []) for number, mark in marks]
        batches: dict[int, list[_Batch]] = {}
        for place, record in enumerate([*records, *last]):
            mine = batches.setdefault(record[0], [])
            if not mine or not mine[-1].add(place, record):
                mine.append(_Batch(self._producer.create_batch()))
                mine[-1].add(place, record)
        offsets = [-1] * (len(records) + len(last))
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                for stage in (
                    [(number, one) for number, mine in batches.items() for one in mine[:-1]],
                    [(number, mine[-1]) for number, mine in batches.items()],
                ):
                    futures = [
                        await self._producer.send_batch(one.builder, self.topic, partition=number)
                        for number, one in stage
                    ]
                    for (_, one), done in zip(stage, await asyncio.gather(*futures), strict=True):
                        for after, place in enumerate(one.places):
                            offsets[place] = done.offset + after
        except (KafkaError, TimeoutError) as error:
            raise TransientError(
                f"{self.topic}: {len(records)} state records not acknowledged: {error!r}"
            ) from error
        return offsets


class _Batch:
    """One produce batch: accepted or refused as a whole."""

    def __init__(self, builder: BatchBuilder) -> None:
        self.builder = builder
        self.places: list[int] = []

    def add(self, place: int, record: _Record) -> bool:
        """Whether there was room. A first record always has it, however long."""
        _, key, value, headers = record
        if self.builder.append(timestamp=None, key=key, value=value, headers=headers) is None:
            return False
        self.places.append(place)
        return True
