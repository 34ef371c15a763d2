"""Tails state topics into `StateTable`s: the one reader that both sides trust.

The resolve agent loads its rows with it before it joins its group, and catches up with it on
each new generation before its first write. The query service keeps its view with it. No
consumer group: every process reads every partition.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from core.consumer import FETCH_WAIT_MS, Record, away, opening
from core.errors import ConfigurationError, PermanentError, TransientError
from core.metrics import STATE_UNREADABLE
from core.retry import Backoff
from core.state import StateRow, decode_state
from core.state_table import StateTable
from core.tasks import background
from core.telemetry import logger

log = logger(__name__)

POLL_MS = 100
FETCH_BYTES = 4 << 20
RECORDS_A_TURN = 500  # about 2 ms of decoding: the event loop is shared with the API


@dataclass(frozen=True, slots=True)
class Loading:
    """How far a first load has come, in records of all partitions."""

    read: int
    total: int

    @property
    def done(self) -> bool:
        return self.read >= self.total


class StateReader:
    """Keeps one `StateTable` a topic equal to its log, from the first record on.

    `on_rows(topic, rows)` is called with each batch of changed rows, in the event loop, after
    the table has taken them. A record that no release wrote is passed over, logged and counted.
    `on_error(exception)` is called once, when the tail ends for a reason that waiting does not
    cure, say a record of a newer release; the tables stand still from then on.
    """

    def __init__(
        self,
        brokers: Sequence[str],
        topics: Sequence[str],
        *,
        on_rows: Callable[[str, list[StateRow]], None],
        on_error: Callable[[BaseException], None],
        fetch_wait_ms: int = FETCH_WAIT_MS,
    ) -> None:
        self._brokers, self._fetch_wait_ms = list(brokers), fetch_wait_ms
        self.tables: Mapping[str, StateTable] = {topic: StateTable() for topic in topics}
        self.partitions: Mapping[str, int] = {}
        """Of each topic; none before the start."""
        self._on_rows, self._on_error = on_rows, on_error
        self._consumer: AIOKafkaConsumer | None = None
        self._read_to: dict[TopicPartition, int] = {}
        self._first_ends: dict[TopicPartition, int] = {}
        self._moved = asyncio.Condition()
        self._tail_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to read. Returns once the end offsets of now are known; `loading` says the rest.

        Raises TransientError if the broker does not answer, ConfigurationError if a topic is
        missing.
        """
        async with opening(
            self._brokers, list(self.tables), fetch_bytes=FETCH_BYTES, wait_ms=self._fetch_wait_ms
        ) as consumer:
            partitions = sorted(consumer.assignment())
            await consumer.seek_to_beginning(*partitions)
            self._first_ends = await consumer.end_offsets(partitions)
            self.partitions = dict(Counter(tp.topic for tp in partitions))
        self._consumer = consumer
        self._tail_task = background(partial(self._tail, consumer), self._on_error, name="state-reader")

    async def stop(self) -> None:
        """End the tail and close the consumer. Safe to call twice."""
        if self._tail_task is not None:
            self._tail_task.cancel()
            await asyncio.gather(self._tail_task, return_exceptions=True)
        if self._consumer is not None:
            await self._consumer.stop()
        self._consumer = self._tail_task = None

    @property
    def loading(self) -> Loading:
        """Against the end offsets that were read at start."""
        total = sum(self._first_ends.values())
        read = sum(min(self._read_to.get(tp, 0), end) for tp, end in self._first_ends.items())
        return Loading(read, total)

    def read_to(self, topic: str) -> Mapping[int, int]:
        """The next offset to read, by partition."""
        return {tp.partition: to for tp, to in self._read_to.items() if tp.topic == topic}

    async def caught_up(self) -> None:
        """Wait until everything that stands in the topics now has been read.

        Raises TransientError if the broker does not say what stands there.
        """
        if self._consumer is None:
            raise TransientError("the state reader has stopped")
        try:
            ends = await self._consumer.end_offsets(list(self._first_ends))
        except KafkaError as error:
            raise away(self._brokers, list(self.tables), repr(error)) from error
        async with self._moved:
            await self._moved.wait_for(
                lambda: all(self._read_to.get(tp, 0) >= end for tp, end in ends.items())
            )

    async def changed(self) -> None:
        """Wait until something more has been read."""
        async with self._moved:
            await self._moved.wait()

    async def _tail(self, consumer: AIOKafkaConsumer) -> None:
        backoff = Backoff(first=0.1, most=5.0)
        while True:
            try:
                batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=RECORDS_A_TURN)
                for tp, records in batches.items():
                    self._take(tp, records)
                for tp in self._first_ends:
                    self._read_to[tp] = await consumer.position(tp)  # passes holes
            except KafkaError:
                await backoff.wait()
                continue
            backoff.reset()
            async with self._moved:
                self._moved.notify_all()

    def _take(self, tp: TopicPartition, records: Sequence[Record]) -> None:
        table, changed = self.tables[tp.topic], list[StateRow]()
        for record in records:
            try:
                made = decode_state(record.key, record.value, dict(record.headers))
            except ConfigurationError as error:
                place = f"{tp.topic}, partition {tp.partition}, offset {record.offset}"
                raise ConfigurationError(f"{place}: {error}") from error
            except PermanentError as error:  # nothing of ours: the index agent parks the same record
                STATE_UNREADABLE.labels(tp.topic).inc()
                log.error(  # noqa: TRY400 - a traceback of ours says nothing of another's record
                    "a state record that cannot be read is passed over",
                    topic=tp.topic,
                    partition=tp.partition,
                    offset=record.offset,
                    error=str(error),
                    todo="find what else writes to this topic; `tailrace resync` brings its rows again",
                )
                continue
            changed += table.apply(tp.partition, record.offset, made)
        if changed:
            self._on_rows(tp.topic, changed)
