"""Small compacted topics read whole and written record by record: sources and generations."""

from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from core.errors import TransientError


async def read_registry(brokers: Sequence[str], topic: str) -> dict[bytes, bytes]:
    """The last value of each key. TransientError if the broker does not answer."""
    consumer = AIOKafkaConsumer(bootstrap_servers=list(brokers), group_id=None, enable_auto_commit=False)
    found: dict[bytes, bytes] = {}
    try:
        await consumer.start()
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    if record.value is None:
                        found.pop(record.key, None)
                    else:
                        found[record.key] = record.value
    except KafkaError as error:
        raise TransientError(f"topic {topic} at {', '.join(brokers)}: {error!r}") from error
    finally:
        await consumer.stop()
    return found


async def write_registry(
    brokers: Sequence[str], topic: str, records: Sequence[tuple[bytes, bytes | None]]
) -> None:
    """Append, each acknowledged by all replicas before the next."""
    if not records:
        return
    producer = AIOKafkaProducer(bootstrap_servers=list(brokers), acks="all", enable_idempotence=True)
    try:
        await producer.start()
        for key, value in records:
            await producer.send_and_wait(topic, value, key, partition=0)
    except KafkaError as error:
        raise TransientError(f"topic {topic} at {', '.join(brokers)}: {error!r}") from error
    finally:
        await producer.stop()
