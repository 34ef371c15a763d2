"""A worker that read its epoch before `tailrace resync` was run, and joins or goes on after it."""

import pytest

from core.errors import ConfigurationError, FencedError
from core.state import Truncate, encode_state
from core.topics import state_topic
from core.version import version
from tailrace.resync import written_epoch
from tests.contract.worker_world import EPOCH, PARTITIONS, RAW, TABLE, World, eventually, in_world

pytestmark = [
    pytest.mark.timeout(120),
    # Faust and mode, not ours: loops and clocks of an older asyncio.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


async def open_next_epoch(world: World) -> None:
    """The truncates, as the command writes them. It sets the committed offset after them."""
    key, value = encode_state(Truncate(version(EPOCH + 1, 0)))
    for partition in range(PARTITIONS):
        await world.producer.send_and_wait(state_topic("shop", TABLE), value, key, partition=partition)


def test_who_joins_after_a_resync_with_the_epoch_of_before_takes_nothing_from_the_next_worker() -> None:
    async def test(world: World) -> None:
        await world.write(*[("c", n, f"text {n}") for n in range(10)])
        await open_next_epoch(world)
        old = world.worker()
        await old.start()
        await eventually(lambda: bool(world.fatal), "it sees that it is late")
        await old.stop()
        assert isinstance(world.fatal.pop(), FencedError)
        assert await world.committed("shop-resolve", RAW) == {0: 0}
        new = world.worker(EPOCH + 1)
        await new.start()
        await eventually(lambda: all(world.text(n) == f"text {n}" for n in range(10)), "every row is back")
        await new.stop()
        assert not world.fatal

    in_world(test)


def test_who_runs_on_over_a_resync_acknowledges_nothing_more() -> None:
    """Cut off for longer than its session: the group had no members."""

    async def test(world: World) -> None:
        old = world.worker()
        await old.start()
        await world.write(("c", 1, "before"))
        await eventually(lambda: world.text(1) == "before", "it works")
        await open_next_epoch(world)
        table = old.table(state_topic("shop", TABLE))
        await eventually(lambda: table.newest == version(EPOCH + 1, 0), "it has read the truncates")
        await world.write(("u", 1, "after"))
        await eventually(lambda: bool(world.fatal), "it sees that it is late")
        await old.stop()
        assert isinstance(world.fatal.pop(), FencedError)
        assert await world.committed("shop-resolve", RAW) in ({0: 0}, {0: 1})

    in_world(test)


def test_the_newest_epoch_of_a_state_topic_is_found_without_the_sources_topic() -> None:
    async def test(world: World) -> None:
        topic = state_topic("shop", TABLE)
        assert await written_epoch(world.brokers, topic) == 0
        await open_next_epoch(world)
        assert await written_epoch(world.brokers, topic) == EPOCH + 1
        await world.producer.send_and_wait(topic, b'{"f":99,"v":1}', b"t", partition=0)
        with pytest.raises(ConfigurationError, match="format 99"):
            await written_epoch(world.brokers, topic)

    in_world(test)
