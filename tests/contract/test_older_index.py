"""A start over an index that was put back from a copy: older than what its groups have acknowledged."""

import asyncio
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient

from core.errors import ConfigurationError, FencedError
from core.topics import index_group
from embed.model import Covered
from ingest.generations import Generation
from ingest.older_index import Gap, gaps
from ingest.topics_admin import TopicsAdmin
from tailrace import rewind
from tests.contract.reindex_world import APP, PARTITIONS, Running, World, eventually, filled, in_world

pytestmark = [
    pytest.mark.timeout(60),
    # Faust and mode, not ours: loops and clocks of an older asyncio.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

STATE = "shop.state.shop.public.articles"


def committed(admin: TopicsAdmin, group: str) -> dict[tuple[str, int], int]:
    """The embedded log tells only of partitions that are named; Kafka of all of them."""
    client = AdminClient({"bootstrap.servers": admin._brokers})
    asked = [Place(STATE, number) for number in range(PARTITIONS)]
    answer = client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, asked)])
    found = answer[group].result().topic_partitions
    return {(one.topic, one.partition): one.offset for one in found if one.offset >= 0}


def reset(admin: TopicsAdmin, group: str, topic: str, offsets: Mapping[int, int]) -> None:
    """The embedded log takes commits of members only."""

    async def commit() -> None:
        consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=admin._brokers,
            group_id=group,
            enable_auto_commit=False,
            session_timeout_ms=4000,  # as the workers': the embedded log keeps who joins waiting as long
            rebalance_timeout_ms=4000,
        )
        await consumer.start()
        try:
            while len(consumer.assignment()) < PARTITIONS:  # noqa: ASYNC110 - it says nothing of its own
                await asyncio.sleep(0.02)
            await consumer.commit({TopicPartition(topic, n): at for n, at in offsets.items()})
        finally:
            await consumer.stop()

    asyncio.run(asyncio.wait_for(commit(), 30))


@pytest.fixture(autouse=True)
def members(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many a group has, to be set; the embedded log does not say."""
    found = [0]
    monkeypatch.setattr(TopicsAdmin, "committed", committed)
    monkeypatch.setattr(TopicsAdmin, "reset", reset)
    monkeypatch.setattr(TopicsAdmin, "members", lambda *_: found[0])
    return found


PARTS = ("_chunks", "_manifests", "_marks")


def copied(world: World, one: Generation) -> dict[str, Any]:
    collection = world.collection(one)
    return {part: deepcopy(getattr(collection, part)) for part in PARTS}


def put_back(world: World, one: Generation, copy: Mapping[str, Any]) -> None:
    for part in PARTS:
        setattr(world.collection(one), part, copy[part])


async def acknowledged(world: World, one: Generation) -> None:
    """Until the group has committed all there is: rows are found before they are covered, and a worker that
    stops may leave the rest to the next."""
    admin, group = TopicsAdmin(world.brokers), index_group(APP, one.document, one.number)

    def all_of_it() -> bool:
        ends = {place: bounds.end for place, bounds in admin.bounds([STATE]).items()}
        return committed(admin, group) == ends

    async with asyncio.timeout(30):
        while not await asyncio.to_thread(all_of_it):  # noqa: ASYNC110 - it says nothing
            await asyncio.sleep(0.05)


async def filled_and_copied(world: World, run: Running) -> tuple[Generation, dict[str, Any]]:
    one = await filled(world, run, 40)
    await acknowledged(world, one)
    return one, copied(world, one)


async def with_an_older_index(world: World) -> Generation:
    """Which lacks rows, edits and deletions that were acknowledged."""
    async with world.running() as run:
        one, copy = await filled_and_copied(world, run)
        await world.write(*[("u", n, f"edited {n}") for n in range(10)])
        await world.write(*[("d", n, None) for n in range(10, 15)], *[("c", n, "new") for n in range(90, 99)])
        await eventually(lambda: world.holds(one), world.missing(one))
        await acknowledged(world, one)
    put_back(world, one, copy)
    return one


def test_what_an_index_that_was_put_back_lacks_is_read_again() -> None:
    async def test(world: World) -> None:
        one = await with_an_older_index(world)
        async with world.running() as run:
            await world.write(("u", 30, "goes on"))
            await eventually(lambda: world.holds(one), world.missing(one))
            assert f"the index {one.collection(APP)} is older than what was read for it" in run.said[-1]
            assert f"{STATE}/0" in run.said[-1]
        async with world.running() as run:
            assert run.said == ()

    in_world(test)


def test_it_is_not_gone_on_with_beside_workers_that_have_read_further(
    members: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewind, "SPARE_SECONDS", -3.5)
    members[0] = 2

    async def test(world: World) -> None:
        one = await with_an_older_index(world)
        with pytest.raises(ConfigurationError, match="2 workers are in the group: stop all workers of shop"):
            async with world.running():
                pass
        members[0] = 0
        async with world.running():
            await eventually(lambda: world.holds(one), world.missing(one))

    in_world(test)


def test_an_index_that_is_put_back_while_workers_run_ends_them_and_is_read_again() -> None:
    async def test(world: World) -> None:
        async with world.running() as run:
            one, copy = await filled_and_copied(world, run)
            await world.write(*[("u", n, f"edited {n}") for n in range(40)])
            await eventually(lambda: world.holds(one), world.missing(one))
            await acknowledged(world, one)
            put_back(world, one, copy)
            await world.write(*[("u", n, f"edited again {n}") for n in range(20)])
            await eventually(lambda: bool(world.fatal), "it ends")
            assert isinstance(world.fatal[0], FencedError)
            assert "no longer holds what this process wrote" in str(world.fatal[0])
            world.fatal.clear()
        async with world.running() as run:
            await eventually(lambda: world.holds(one), world.missing(one))
            assert f"the index {one.collection(APP)} is older than what was read for it" in run.said[-1]

    in_world(test)


def test_a_group_that_has_acknowledged_more_than_is_covered() -> None:
    marks = [Covered("t", 0, 9, 1, "", 0), Covered("t", 1, 5, 1, "", 0), Covered("other", 2, 1, 1, "", 0)]
    assert gaps({0: 9, 1: 6}, marks, "t") == [Gap(1, 5, 6)]
    assert gaps({0: 8}, marks, "t") == []
    assert gaps({2: 3}, marks, "t") == [], "it is being filled, and its progress not read yet"
    assert gaps({}, marks, "t") == []


def test_a_candidate_that_was_put_back_is_read_again_before_it_is_followed() -> None:
    async def test(world: World) -> None:
        async with world.running() as run:
            one = await filled(world, run, 40)
            two = await world.begin(run.tail.registry, "articles")
            await eventually(lambda: world.holds(two), world.missing(two))
            await acknowledged(world, two)
            copy = copied(world, two)
            await world.write(*[("u", n, f"edited {n}") for n in range(10)], ("d", 12, None))
            await eventually(lambda: world.holds(two), world.missing(two))
            await acknowledged(world, two)
        put_back(world, two, copy)
        async with world.running():
            await world.write(("u", 30, "goes on"))
            await eventually(lambda: world.holds(one) and world.holds(two), world.missing(one, two))

    in_world(test)
