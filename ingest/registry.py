"""Small compacted topics read whole, followed, and written record by record: sources and generations."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, TypeAlias

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from core.consumer import FETCH_WAIT_MS, away, new_consumer
from core.errors import ConfigurationError
from core.retry import Backoff
from core.telemetry import logger
from core.topics import generations_topic
from ingest.generations import Generation, Pointer, Record, Registry, decode_record, registry_of

log = logger(__name__)

WISHES: Final = 1000
"""So many are remembered: many times those that anybody writes between a decision and its record."""

Wish: TypeAlias = tuple[int, Generation | Pointer]
"""With its offset."""

POLL_MS: Final = 200


async def read_registry(brokers: Sequence[str], topic: str) -> dict[bytes, bytes]:
    """The last value of each key. TransientError if the broker does not answer."""
    consumer = new_consumer(brokers)
    found: dict[bytes, bytes] = {}
    try:
        await consumer.start()
        partition = TopicPartition(topic, 0)
        end = await _rewound(consumer, partition)
        while await consumer.position(partition) < end:
            for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                for record in records:
                    if record.value is None:
                        found.pop(record.key, None)
                    else:
                        found[record.key] = record.value
    except KafkaError as error:
        raise away(brokers, [topic], repr(error)) from error
    finally:
        await consumer.stop()
    return found


async def write_registry(
    brokers: Sequence[str], topic: str, records: Sequence[tuple[bytes, bytes | None]]
) -> None:
    """Append, each acknowledged by all replicas before the next."""
    writer = RegistryWriter(brokers, topic)
    try:
        await writer.write(records)
    finally:
        await writer.stop()


class RegistryWriter:
    """Appends to one topic for as long as a process runs. Connects when it is first used."""

    def __init__(self, brokers: Sequence[str], topic: str) -> None:
        self._brokers, self._topic = list(brokers), topic
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()

    async def write(self, records: Sequence[tuple[bytes, bytes | None]]) -> list[int]:
        """Each acknowledged by all replicas before the next; their offsets. TransientError if that fails."""
        offsets: list[int] = []
        if not records:
            return offsets
        try:
            producer = await self._connected()
            for key, value in records:
                sent = await producer.send_and_wait(self._topic, value, key, partition=0)
                offsets.append(int(sent.offset))
        except KafkaError as error:
            await self.stop()  # the next one begins anew: a producer may stay broken
            raise away(self._brokers, [self._topic], repr(error)) from error
        return offsets

    async def _connected(self) -> AIOKafkaProducer:
        """Whole or not at all: one whose start was cancelled would take records and send none, for ever."""
        async with self._connecting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._brokers, acks="all", enable_idempotence=True
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def stop(self) -> None:
        """Safe to call twice."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()


class RegistryTail:
    """What `<app>.generations` says, as it changes: for as many readers in the process as there are.

    A broker that is away is waited for, and what was known last stays. So does the last record of a
    key that a newer release wrote while this one runs. A generation that was dropped stays dropped,
    whatever is written later: its collection may be gone, and its group would not read the log again.
    """

    def __init__(self, app: str, brokers: Sequence[str], *, fetch_wait_ms: int = FETCH_WAIT_MS) -> None:
        self._brokers, self._topic = list(brokers), generations_topic(app)
        self._fetch_wait_ms = fetch_wait_ms
        self._records: dict[bytes, Record] = {}
        self._registry = Registry()
        self._undone: dict[bytes, Generation] = {}
        self._wishes: deque[Wish] = deque(maxlen=WISHES)
        self._position = 0
        self._moved = asyncio.Condition()
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def registry(self) -> Registry:
        """As read last. Another object whenever anything has changed."""
        return self._registry

    @property
    def position(self) -> int:
        """The offset after the last record that `registry` knows of."""
        return self._position

    @property
    def undone(self) -> Sequence[Generation]:
        """Dropped generations of which the topic's last record says that they run.

        Compaction will forget the drop, and readers of then would run them again: to be written once more.
        """
        return tuple(self._undone.values())

    @property
    def wishes(self) -> Sequence[Wish]:
        """The last WISHES generations and pointers written, whatever was written over them since."""
        return tuple(self._wishes)

    async def start(self) -> None:
        """Read all that stands there now, then follow.

        Raises TransientError if the broker does not answer, ConfigurationError for records that this
        release does not understand.
        """
        consumer = new_consumer(self._brokers, wait_ms=self._fetch_wait_ms)
        partition = TopicPartition(self._topic, 0)
        self._consumer = consumer
        try:
            await consumer.start()
            end = await _rewound(consumer, partition)
            while await consumer.position(partition) < end:
                for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                    for record in records:
                        self._take(record.offset, record.key, record.value)
            self._position = end
        except KafkaError as error:
            await self.stop()
            raise away(self._brokers, [self._topic], repr(error)) from error
        except BaseException:
            await self.stop()
            raise
        self._registry = registry_of(self._records.values())
        self._task = asyncio.create_task(self._follow(consumer), name="registry-tail")

    async def changed(self, timeout: float, known: Registry | None = None) -> bool:  # noqa: ASYNC109 - no error
        """Whether the registry is another one than `known` (by default: than now) within so many seconds."""
        before = self._registry if known is None else known
        try:
            async with asyncio.timeout(timeout), self._moved:
                await self._moved.wait_for(lambda: self._registry is not before)
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Safe to call twice. The registry stays as it was."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._consumer is not None:
            await self._consumer.stop()
        self._task = self._consumer = None

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        backoff = Backoff(first=0.1, most=5.0)
        while True:
            try:
                batches = await consumer.getmany(timeout_ms=POLL_MS)
            except KafkaError as error:
                log.warning("waiting for the generations topic", why=repr(error))
                await backoff.wait()
                continue
            backoff.reset()
            if batches:
                for record in (one for records in batches.values() for one in records):
                    self._position = record.offset + 1
                    try:
                        self._take(record.offset, record.key, record.value)
                    except ConfigurationError as error:
                        log.warning("a record of a generation is left aside", why=str(error))
                self._registry = registry_of(self._records.values())
                async with self._moved:
                    self._moved.notify_all()

    def _take(self, offset: int, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._records.pop(key, None)
            self._undone.pop(key, None)
            return
        record, known = decode_record(key, value), self._records.get(key)
        if isinstance(record, Generation | Pointer):
            self._wishes.append((offset, record))
        if isinstance(known, Generation) and known.status == "dropped" and record != known:
            log.warning(
                "a dropped generation stays dropped", document=known.document, generation=known.number
            )
            self._undone[key] = known
            return
        self._records[key] = record
        self._undone.pop(key, None)


async def _rewound(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int:
    """At the beginning now; the end offset."""
    consumer.assign([partition])
    await consumer.seek_to_beginning(partition)
    return int((await consumer.end_offsets([partition]))[partition])
