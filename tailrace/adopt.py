"""Samples topics that exist: reads some of the oldest and newest records, and writes nothing.

No group, no commit: nobody else's reading is touched.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from core.consumer import new_consumer
from core.errors import ConfigurationError, TransientError
from ingest.adopt import Adoption, SampledTopic, judge
from ingest.record import RawRecord
from ingest.topics_admin import Bounds, TopicsAdmin

OLDEST: Final = 50
NEWEST: Final = 150
"""Records of each partition that are looked at."""

MOST_PARTITIONS: Final = 16
"""Of one topic: the others look the same."""

MOST_TOPICS: Final = 500
TOPIC_SECONDS: Final = 15.0
"""The longest that one topic is read."""


async def adopt(brokers: Sequence[str], prefix: str | None = None) -> Adoption:
    """What the topics of this prefix hold, or all that are not the broker's own.

    Raises TransientError if no broker answers, ConfigurationError if there are too many topics.
    """
    return judge(await sample(brokers, prefix))


async def sample(brokers: Sequence[str], prefix: str | None = None) -> list[SampledTopic]:
    """Some records of each topic, by name."""
    consumer = new_consumer(brokers)
    try:
        await consumer.start()
        names = sorted(name for name in await consumer.topics() if _wanted(name, prefix))
        if len(names) > MOST_TOPICS:
            raise ConfigurationError(
                f"{len(names)} topics: say which with --prefix, the connector's topic.prefix"
            )
        admin = TopicsAdmin(brokers)
        bounds = await asyncio.to_thread(admin.bounds, names)
        configs = await asyncio.to_thread(_configs, admin)
        return [await _sampled(consumer, name, bounds, configs) for name in names]
    except KafkaError as error:
        raise TransientError(f"Kafka at {', '.join(brokers)}: {error!r}") from error
    finally:
        await consumer.stop()


def _wanted(name: str, prefix: str | None) -> bool:
    if prefix is not None:
        return name.startswith(f"{prefix}.") or name == f"__debezium-heartbeat.{prefix}"
    return not name.startswith("__") or name.startswith("__debezium-heartbeat.")


def _configs(admin: TopicsAdmin) -> dict[str, dict[str, str]] | None:
    """None where the broker does not tell: it may not be allowed, or not know."""
    try:
        return {name: dict(topic.configs) for name, topic in admin.live().items()}
    except TransientError:
        return None


async def _sampled(
    consumer: AIOKafkaConsumer,
    name: str,
    bounds: dict[tuple[str, int], Bounds],
    configs: dict[str, dict[str, str]] | None,
) -> SampledTopic:
    own = {partition: found for (topic, partition), found in sorted(bounds.items()) if topic == name}
    records: list[RawRecord] = []
    whole = True
    try:
        async with asyncio.timeout(TOPIC_SECONDS):
            for partition, found in list(own.items())[:MOST_PARTITIONS]:
                at = TopicPartition(name, partition)
                consumer.assign([at])
                oldest_end = min(found.start + OLDEST, found.end)
                records += await _read(consumer, at, found.start, oldest_end)
                records += await _read(consumer, at, max(oldest_end, found.end - NEWEST), found.end)
    except TimeoutError:
        whole = False
    return SampledTopic(
        name,
        len(own),
        None if configs is None else configs.get(name, {}),
        records,
        sum(found.start for found in own.values()),
        whole,
    )


async def _read(consumer: AIOKafkaConsumer, at: TopicPartition, start: int, end: int) -> list[RawRecord]:
    """The records from `start` to before `end`; holes of compaction and of transactions are passed."""
    found: list[RawRecord] = []
    consumer.seek(at, start)
    while start < end:
        for records in (await consumer.getmany(at, timeout_ms=200)).values():
            found += [
                RawRecord(at.topic, at.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers))
                for r in records
                if r.offset < end
            ]
        start = await consumer.position(at)
    return found
