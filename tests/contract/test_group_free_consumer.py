"""Consumers of no group: what they are given when they open, and that none is left behind."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import ConsumerStoppedError, KafkaError

from core.consumer import opening
from core.errors import TransientError
from core.topics import TopicSpec
from ingest.embedded_log import EmbeddedLog

TOPICS = {"shop.a": 1, "shop.b": 3}


def on_a_broker(work: Callable[[list[str]], Coroutine[Any, Any, None]]) -> None:
    log = EmbeddedLog()
    try:
        brokers = log.start([TopicSpec(name, count, "delete", "a test") for name, count in TOPICS.items()])
        asyncio.run(asyncio.wait_for(work(brokers), 30))
    finally:
        log.stop()


def test_it_has_every_partition_and_stays_open_after_the_block() -> None:
    async def run(brokers: list[str]) -> None:
        async with opening(brokers, list(TOPICS)) as consumer:
            pass
        try:
            held = {(one.topic, one.partition) for one in consumer.assignment()}
            assert held == {(name, n) for name, count in TOPICS.items() for n in range(count)}
            assert set((await consumer.end_offsets(consumer.assignment())).values()) == {0}
        finally:
            await consumer.stop()

    on_a_broker(run)


@pytest.mark.parametrize(
    ("raised", "kind", "said"),
    [(KafkaError("lost"), TransientError, r"topic shop\.a at .*lost"), (KeyError("x"), KeyError, "x")],
)
def test_a_block_that_fails_closes_it(raised: Exception, kind: type[Exception], said: str) -> None:
    async def run(brokers: list[str]) -> None:
        opened: list[AIOKafkaConsumer] = []

        async def fail() -> None:
            async with opening(brokers, ["shop.a"]) as consumer:
                opened.append(consumer)
                raise raised

        with pytest.raises(kind, match=said):
            await fail()
        with pytest.raises(ConsumerStoppedError):
            await opened[0].getmany()

    on_a_broker(run)


def test_a_broker_that_is_away_may_come_back() -> None:
    async def run(address: str) -> None:
        with pytest.raises(TransientError, match="see that the broker runs"):
            async with opening([address], ["shop.a"]):
                pytest.fail("it opened")

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, but not listening: refused
        asyncio.run(run(f"127.0.0.1:{free.getsockname()[1]}"))
