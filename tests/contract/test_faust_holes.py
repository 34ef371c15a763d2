"""What Faust's consumer commits around the holes of a compacted topic: the consumer alone, fed by hand."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from faust.transport.consumer import Consumer
from faust.types import TP

from ingest.app import make_app
from tests.contract.faust_world import SETTINGS, TOPIC

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


class _Record:
    """What Faust uses of a fetched record."""

    timestamp, timestamp_type, headers, key, value, checksum = 0, 0, (), b"k", b"v", None
    serialized_key_size = serialized_value_size = 1
    topic, partition = TOPIC, 0

    def __init__(self, offset: int) -> None:
        self.offset = offset


def lone_consumer() -> tuple[Any, Any, TP]:
    """Not started: records are put into it by hand."""
    app = make_app("holes", ["127.0.0.1:1"], SETTINGS, embedded=True)
    consumer: Any = app.consumer
    consumer._thread.thread_loop.close()
    return app, consumer, TP(TOPIC, 0)


@pytest.mark.parametrize(
    "offsets",
    [
        list(range(50)),
        [0, 5, 6, 7],
        [0, 40],
        [3, 4, 9, 10, 25],
        [0, *range(2, 100, 2)],
        [1, 1000],
        [0, 1, 5, 6, 100],
    ],
)
def test_the_holes_of_a_compacted_topic_hold_up_no_commit(offsets: list[int]) -> None:
    """The consumer alone: the embedded log does not compact."""

    async def test() -> None:
        app, consumer, tp = lone_consumer()
        app.topics._acking_topics.add(TOPIC)
        given: list[Any] = []
        committing: list[int] = []

        async def getmany(timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109 - Faust's own
            for offset in offsets:
                yield tp, consumer._to_message(tp, _Record(offset))
            consumer._stopped.set()

        async def take(message: Any) -> None:
            given.append(message)

        consumer.getmany, consumer.callback = getmany, take
        await consumer._drain_messages(consumer)
        for message in given:
            message.ack(consumer)
            offset = consumer._new_offset(tp)
            if offset is not None:
                committing.append(offset)
                consumer._committed_offset[tp] = offset
        assert [message.offset for message in given] == offsets
        assert committing[-1] == offsets[-1] + 1
        acknowledged = zip(offsets, committing, strict=True)
        assert all(offset + 1 == commit for offset, commit in acknowledged), "one commit behind each"

    asyncio.run(test())


def test_a_record_in_work_behind_a_hole_is_not_committed() -> None:
    """As Faust ships it, a hole takes in the record behind it: committed before it is done."""

    async def test() -> None:
        _, consumer, tp = lone_consumer()
        await consumer._add_gap(tp, 11, 15)
        await Consumer._add_gap(consumer, tp, 21, 25)
        held = sorted((one.begin, one.end) for one in consumer._gap[tp])
        assert held == [(11, 15), (21, 26)], "the second is Faust's own: if it is mended, drop ours"

    asyncio.run(test())
