"""Random windows of a state topic, or all of it, by a consumer of no group: no worker notices."""

import asyncio
import random
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple, Protocol, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from core.consumer import Record, away, opening
from core.errors import TransientError

RECORDS: Final = 32
"""Of one window, about: few enough for windows to be many, and more than a fetch is worth."""

_PROBES: Final = 16
"""Places of each partition where the density of its records is looked at."""

_DENSE: Final = 4096
"""Offsets of a partition below which it is taken to have no holes."""

_MOST: Final = 1 << 16
"""Windows that are drawn."""

POLL_MS: Final = 100
WINDOW_BYTES: Final = 256 << 10
"""Of one partition's part of a fetch: what is fetched beyond a window is thrown away."""

PASS_BYTES: Final = 4 << 20
SILENCE_SECONDS: Final = 20.0


class Raw(NamedTuple):
    """One record as the broker keeps it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Window:
    """Offsets of one partition, from `start` up to `end`."""

    partition: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Offsets that are divided into windows of `width`, for its records are about equally dense."""

    partition: int
    start: int
    end: int
    width: int

    @property
    def windows(self) -> int:
        return -(-(self.end - self.start) // self.width)


class Layout:
    """All windows, by number: every offset is in exactly one."""

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        self._stretches = [one for one in stretches if one.end > one.start]
        self._ends = list(accumulate(one.windows for one in self._stretches))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, number: int) -> Window:
        place = bisect_right(self._ends, number)
        stretch = self._stretches[place]
        before = self._ends[place - 1] if place else 0
        start = stretch.start + (number - before) * stretch.width
        return Window(stretch.partition, start, min(start + stretch.width, stretch.end))

    def drawn(self, chance: random.Random) -> list[Window]:
        """Windows in random order, each at most once: all of them if they are not too many."""
        numbers = chance.sample(range(len(self)), min(len(self), _MOST))
        return [self[number] for number in numbers]

    def all(self) -> list[Window]:
        """In order of partitions and offsets."""
        return [self[number] for number in range(len(self))]


class Log(Protocol):
    """One state topic, read at any place."""

    async def bounds(self) -> Mapping[int, tuple[int, int]]:
        """By partition: its first offset, and the one after its last."""
        ...

    async def read(self, windows: Sequence[Window]) -> list[list[Raw]]:
        """The records of each of these windows."""
        ...

    def follow(self, windows: Sequence[Window]) -> AsyncIterator[list[Raw]]:
        """The records of these windows, which are whole partitions, in batches."""
        ...


async def laid_out(log: Log) -> Layout:
    """Windows of about RECORDS records each: compaction leaves holes, so the density is looked at."""
    bounds = await log.bounds()
    stretches: list[Stretch] = []
    probes: list[Window] = []
    for partition, (start, end) in sorted(bounds.items()):
        if end - start <= _DENSE:
            stretches.append(Stretch(partition, start, end, RECORDS))
            continue
        places = [start + (end - start) * n // _PROBES for n in range(_PROBES)]
        probes += [
            Window(partition, at, to) for at, to in zip(places, [*places[1:], end], strict=True) if to > at
        ]
    for window, records in zip(probes, await log.read([_opening(w) for w in probes]), strict=True):
        # Nothing in the opening: a long hole. Its windows are wide, and few.
        seen = max(len(records), 1)
        width = max(RECORDS, RECORDS * (_opening(window).end - window.start) // seen)
        stretches.append(Stretch(window.partition, window.start, window.end, width))
    return Layout(stretches)


def _opening(window: Window) -> Window:
    return Window(window.partition, window.start, min(window.end, window.start + 4 * RECORDS))


class KafkaLogReader:
    """A `Log` of a real or embedded broker. Raises TransientError if it does not answer."""

    def __init__(self, brokers: Sequence[str], topic: str) -> None:
        self._brokers, self._topic = list(brokers), topic
        self._consumer: AIOKafkaConsumer | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def bounds(self) -> Mapping[int, tuple[int, int]]:
        consumer = await self._open(WINDOW_BYTES)
        try:
            partitions = sorted(consumer.assignment())
            first = await consumer.beginning_offsets(partitions)
            last = await consumer.end_offsets(partitions)
        except KafkaError as error:
            raise self._away(repr(error)) from error
        return {tp.partition: (first[tp], last[tp]) for tp in partitions}

    async def read(self, windows: Sequence[Window]) -> list[list[Raw]]:
        consumer = await self._open(WINDOW_BYTES)
        found: dict[Window, list[Raw]] = {window: [] for window in windows}
        async for window, records in self._windows(consumer, windows):
            found[window] += records
        return [found[window] for window in windows]

    async def follow(self, windows: Sequence[Window]) -> AsyncIterator[list[Raw]]:
        await self._close()
        consumer = await self._open(PASS_BYTES)
        async for _, records in self._windows(consumer, windows):
            yield records

    async def _windows(
        self, consumer: AIOKafkaConsumer, windows: Sequence[Window]
    ) -> AsyncIterator[tuple[Window, list[Raw]]]:
        """Each partition's windows one after the other, all partitions at once."""
        waiting: dict[TopicPartition, deque[Window]] = {}
        for window in sorted(windows, key=lambda one: (one.partition, one.start)):
            waiting.setdefault(TopicPartition(self._topic, window.partition), deque()).append(window)
        clock = asyncio.get_running_loop().time
        heard = clock()
        try:
            consumer.pause(*consumer.assignment())
            for partition, queue in waiting.items():
                consumer.seek(partition, queue[0].start)
                consumer.resume(partition)
            while waiting:
                batches = await consumer.getmany(*waiting, timeout_ms=POLL_MS)
                for partition in list(waiting):
                    records = batches.get(partition, [])
                    window = waiting[partition][0]
                    if made := [_raw(record) for record in records if record.offset < window.end]:
                        yield window, made
                    if await self._passed(consumer, waiting, partition) or records:
                        heard = clock()
                if clock() - heard > SILENCE_SECONDS:
                    raise self._away(f"no record for {SILENCE_SECONDS:.0f} s")
        except KafkaError as error:
            raise self._away(repr(error)) from error

    @staticmethod
    async def _passed(
        consumer: AIOKafkaConsumer, waiting: dict[TopicPartition, deque[Window]], partition: TopicPartition
    ) -> bool:
        """Whether the partition's window is read; then its next one is begun."""
        queue = waiting[partition]
        if await consumer.position(partition) < queue[0].end:  # holes are passed too
            return False
        queue.popleft()
        if queue:
            consumer.seek(partition, queue[0].start)
        else:
            del waiting[partition]
            consumer.pause(partition)
        return True

    async def _open(self, fetch_bytes: int) -> AIOKafkaConsumer:
        if self._consumer is not None:
            return self._consumer
        async with opening(self._brokers, [self._topic], fetch_bytes=fetch_bytes) as consumer:
            self._consumer = consumer
        return consumer

    async def _close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    def _away(self, why: str) -> TransientError:
        return away(self._brokers, [self._topic], why)


def _raw(record: Record) -> Raw:
    return Raw(record.partition, record.offset, record.key, record.value, dict(record.headers))
