"""How far the raw topics reach, asked of the broker."""

import asyncio
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
        self._starting = asyncio.Lock()

    async def ends(self, topics: Sequence[str]) -> Mapping[str, int]:
        """The next offset of each topic. TransientError if the broker does not answer for all of them."""
        try:
            consumer = await self._started()
            ends = await consumer.end_offsets([TopicPartition(topic, 0) for topic in topics])
        except KafkaError as error:
            raise TransientError(
                f"the ends of raw topics {', '.join(topics)} at {self._brokers}: {error!r}"
            ) from error
        return {tp.topic: int(end) for tp, end in ends.items()}

    async def _started(self) -> AIOKafkaConsumer:
        async with self._starting:  # two callers at the start must not make two clients
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
            return self._consumer

    async def stop(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()
