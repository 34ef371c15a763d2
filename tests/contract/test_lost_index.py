"""A start that does not find the indexes that are recorded: a wrong address, a volume that is not mounted."""

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from embed.memory_index import MemoryIndex
from ingest.generations import Generation
from ingest.topics_admin import TopicsAdmin
from tests.contract.reindex_world import APP, PARTITIONS, Running, World, eventually, filled, in_world

pytestmark = [
    pytest.mark.timeout(60),
    # Faust and mode, not ours: loops and clocks of an older asyncio.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

STATE = "shop.state.shop.public.articles"


@pytest.fixture(autouse=True)
def _committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded log tells committed offsets only of partitions that are named; Kafka of all of them."""

    def committed(self: TopicsAdmin, group: str) -> dict[tuple[str, int], int]:
        admin = AdminClient({"bootstrap.servers": self._brokers})
        asked = [TopicPartition(STATE, number) for number in range(PARTITIONS)]
        answer = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, asked)])
        found = answer[group].result().topic_partitions
        return {(one.topic, one.partition): one.offset for one in found if one.offset >= 0}

    monkeypatch.setattr(TopicsAdmin, "committed", committed)


def live(run: Running) -> Generation:
    found = run.tail.registry.live("articles")
    assert found is not None
    return found


def encoded(run: Running, one: Generation) -> int:
    return run.worker.following()["articles", one.number].indexer.spent.texts


def test_an_index_that_was_not_there_for_one_start_is_gone_on_with_at_the_next() -> None:
    async def test(world: World) -> None:
        async with world.running() as run:
            one = await filled(world, run, 40)
        right, world.index = world.index, MemoryIndex()
        async with world.running() as run:
            two = live(run)
            assert two.number == 2
            assert "none of the indexes that are recorded is here" in run.said[0]
            assert "the index of generation 1 is gone; generation 2 is built anew" in run.said[1]
            await world.write(("u", 1, "edited elsewhere"), ("d", 2, None), ("c", 900, "new elsewhere"))
            await eventually(lambda: world.holds(two), world.missing(two))
        world.index = right
        async with world.running() as run:
            assert (live(run).number, world.stands(one), world.answers(one)) == (1, True, True)
            assert "generation 1 is found again and answers" in run.said[-1]
            await world.write(("c", 901, "new here"))
            await eventually(lambda: world.holds(one), world.missing(one))
            assert encoded(run, one) <= 3, "what stood there was paid for again"
            assert set(run.worker.following()) == {("articles", 1)}
            fresh = await world.begin(run.tail.registry, "articles", section={"text": "A {{ body }}"})
            assert fresh.number == 3, "a number is never used again"
            await eventually(lambda: len(world.texts(fresh)) == 41, "built")

    in_world(test)


def test_an_index_that_is_lost_for_good_is_built_anew_and_stays_so() -> None:
    async def test(world: World) -> None:
        async with world.running() as run:
            await filled(world, run, 40)
        world.index = MemoryIndex()
        two = None
        for start in range(2):
            async with world.running() as run:
                two = live(run)
                assert two.number == 2
                await eventually(lambda one=two: world.holds(one), world.missing(two))  # type: ignore[misc]
                assert world.index.collections() == [two.collection(APP)]
                assert bool(run.said) is (start == 0)

    in_world(test)
