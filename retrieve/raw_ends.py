"""How far the raw topics reach, asked of the broker."""

from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from core.errors import TransientError


class KafkaRawEnds:
    """The end offset of each raw topic's one partition. Implements retrieve.freshness.RawEnds.

    Reads nothing, belongs to no group. Starts its client when first asked; safe to stop twice.
    """

    def __init__(self, brokers: Sequence[str]) -> None:
        self._brokers = list(brokers)
        self._consumer: AIOKafkaConsumer | None = None

    async def ends(self, topics: Sequence[str]) -> Mapping[str, int]:
        """The next offset of each topic. TransientError if the broker does not answer for all of them."""
        try:
            if self._consumer is None:
                consumer = AIOKafkaConsumer(
                    bootstrap_servers=self._brokers, group_id=None, enable_auto_commit=False
                )
                try:
                    await consumer.start()
                except BaseException:
                    await consumer.stop()
                    raise
                self._consumer = consumer
            ends = await self._consumer.end_offsets([TopicPartition(topic, 0) for topic in topics])
        except KafkaError as error:
            raise TransientError(
                f"the ends of raw topics {', '.join(topics)} at {self._brokers}: {error!r}"
            ) from error
        return {tp.topic: int(end) for tp, end in ends.items()}

    async def stop(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()
