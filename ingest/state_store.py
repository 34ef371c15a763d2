"""The resolve agent's rows, in front of a compacted state topic.

A write counts when the broker has acknowledged it; memory follows. The highest version of each key
wins, whatever order the log has. Why not a Faust table: docs/adr/0001-own-state-store.md.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from core.errors import FencedError, TransientError
from core.metrics import STATE_REPAIRS
from core.state import Progress, Removed, StateRow, Truncate, encode_state, encode_tombstone
from core.state_reader import StateReader
from core.state_table import StateTable

PULSES: Final = 20
"""Looks at the clock in one session: a frozen process must see that it slept."""

FROZEN_SHARE: Final = 0.8
"""Of the session: asleep for longer, somebody else may own the partition."""

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
        while True:
            self.check()
            await asyncio.sleep(self._step)


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
        rows: Sequence[StateRow],
        truncate: Truncate | None,
        progress: Progress | None,
        check_owner: Callable[[], None],
    ) -> None:
        """All acknowledged on return: truncate, rows, repairs, then progress in each partition.

        Raises TransientError or FencedError; then nothing may be acknowledged and the process ends.
        """
        async with self._lock:
            self._pulse.check()
            check_owner()
            if truncate is not None:
                key, value = encode_state(truncate)
                await self._send([(key, value, number, None) for number in range(self.partitions)])
                for number in range(self.partitions):
                    self.table.apply(number, -1, truncate)
            await self._write_rows([*self._repairs(rows), *rows])
            if progress is not None:
                key, value = encode_state(progress)
                await self._send([(key, value, number, None) for number in range(self.partitions)])

    async def repair(self, check_owner: Callable[[], None]) -> int:
        """Publish the highest version again where a lower one stands behind it. How many there were."""
        async with self._lock:
            rows = self._repairs(())
            if rows:
                self._pulse.check()
                check_owner()
                await self._write_rows(rows)
            return len(rows)

    async def bury(self, expired: Sequence[StateRow], check_owner: Callable[[], None]) -> None:
        """Tombstones for expired graves, each naming the version that it removes."""
        async with self._lock:
            self._pulse.check()
            check_owner()
            records = []
            for row in expired:
                removed = Removed(row.key, row.version)
                key, _, headers = encode_tombstone(removed)
                records.append((key, None, partition_of(key, self.partitions), headers))
            await self._send(records)

    def _repairs(self, rows: Sequence[StateRow]) -> list[StateRow]:
        written = {row.key.canonical for row in rows}
        table = self.table
        found = [table.get(key) for key in table.regressed - written]
        repairs = [row for row in found if row is not None]
        if repairs:
            STATE_REPAIRS.labels(self.topic).inc(len(repairs))
        return repairs

    async def _write_rows(self, rows: Sequence[StateRow]) -> None:
        records = []
        for row in rows:
            key, value = encode_state(row)
            records.append((key, value, partition_of(key, self.partitions), None))
        offsets = await self._send(records)
        for row, (_, _, partition, _), offset in zip(rows, records, offsets, strict=True):
            self.table.apply(partition, offset, row)

    async def _send(
        self, records: Sequence[tuple[bytes, bytes | None, int, list[tuple[str, bytes]] | None]]
    ) -> list[int]:
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                futures = [
                    await self._producer.send(self.topic, value, key, partition=partition, headers=headers)
                    for key, value, partition, headers in records
                ]
                return [done.offset for done in await asyncio.gather(*futures)]
        except (KafkaError, TimeoutError) as error:
            raise TransientError(
                f"{self.topic}: {len(records)} state records not acknowledged: {error!r}"
            ) from error
