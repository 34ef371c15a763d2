"""Consumers that belong to no group: they read topics at any place, and no worker notices them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from core.errors import ConfigurationError, TransientError
from core.settings import EmbeddedLog, KafkaLog

FETCH_WAIT_MS: Final = 20
"""The embedded log answers a fetch only when its time is over."""

KAFKA_FETCH_WAIT_MS: Final = 100
"""Kafka answers as soon as there is data; asked fifty times a second for nothing, it took a tenth of a core.
Not longer: what else is asked on the connection waits for it, and so does a partition that was left out of a
fetch because what was read of it before was still being worked on."""

FETCH_BYTES: Final = 1 << 20


class Record(Protocol):
    """What is used of aiokafka's ConsumerRecord."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


def fetch_wait_ms(log: EmbeddedLog | KafkaLog) -> int:
    """For a consumer that reads as long as the process runs."""
    return KAFKA_FETCH_WAIT_MS if isinstance(log, KafkaLog) else FETCH_WAIT_MS


def new_consumer(
    brokers: Sequence[str], *, fetch_bytes: int = FETCH_BYTES, wait_ms: int = FETCH_WAIT_MS
) -> AIOKafkaConsumer:
    """Not started. `fetch_bytes`: of one partition's part of a fetch; `wait_ms`: where that has nothing."""
    return AIOKafkaConsumer(
        bootstrap_servers=list(brokers),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=wait_ms,
        max_partition_fetch_bytes=fetch_bytes,
    )


@asynccontextmanager
async def opening(
    brokers: Sequence[str],
    topics: Sequence[str],
    *,
    fetch_bytes: int = FETCH_BYTES,
    wait_ms: int = FETCH_WAIT_MS,
) -> AsyncIterator[AIOKafkaConsumer]:
    """Started, with all partitions of these topics assigned. Stopped if the block fails, and else left open.

    Raises TransientError if the broker does not answer, in the block too, ConfigurationError if a topic is
    missing.
    """
    consumer = new_consumer(brokers, fetch_bytes=fetch_bytes, wait_ms=wait_ms)
    try:
        await consumer.start()
        consumer.assign([one for topic in topics for one in await _partitions(consumer, topic)])
        yield consumer
    except KafkaError as error:
        await consumer.stop()
        raise away(brokers, topics, repr(error)) from error
    except BaseException:
        await consumer.stop()
        raise


def away(brokers: Sequence[str], topics: Sequence[str], why: str) -> TransientError:
    """What to raise when the broker has failed who reads or writes these topics."""
    return TransientError(
        f"topic {', '.join(topics)} at {', '.join(brokers)}: {why}: see that the broker runs, and try again"
    )


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    found = consumer.partitions_for_topic(topic)
    if not found:
        # A consumer without subscriptions learns of a topic only when asked for it.
        client = consumer._client  # noqa: SLF001 - no public way in 0.14
        await client.force_metadata_update()
        client.add_topic(topic)
        await client.force_metadata_update()
        found = consumer.partitions_for_topic(topic)
    if not found:
        raise ConfigurationError(f"topic {topic} does not exist: run `tailrace topics apply`, then try again")
    return [TopicPartition(topic, number) for number in sorted(found)]
