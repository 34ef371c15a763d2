"""What a worker does for a table that nobody changes: it owns it without any record to read."""

import pytest

from core.clock import SystemClock
from core.keys import RowKey
from core.settings import Ingest
from core.state import decode_state
from core.state_table import StateTable
from core.topics import state_topic
from tests.contract.worker_world import TABLE, World, eventually, in_world, running

pytestmark = [
    pytest.mark.timeout(120),
    # Faust and mode, not ours: loops and clocks of an older asyncio.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

TOPIC = state_topic("shop", TABLE)
KEY = RowKey.of({"id": 1}).canonical


class Later(SystemClock):
    """After the graves' time."""

    def now_ms(self) -> int:
        return super().now_ms() + int(2 * Ingest().grave_hours * 3_600_000)


async def delete_one(world: World) -> None:
    async with running(world):
        await world.write(("c", 1, "secret words"))
        await eventually(lambda: world.text(1) == "secret words", "the row")
        await world.write(("d", 1, None))
        await eventually(lambda: world.text(1) is None, "its end")


async def compacted(world: World) -> StateTable:
    """What a new reader finds once compaction has kept the last record of each key."""
    last = {(one.partition, one.key): one for one in await world.read(TOPIC)}
    table = StateTable()
    for (partition, key), one in last.items():
        table.apply(partition, one.offset, decode_state(key, one.value, dict(one.headers)))
    return table


def test_an_older_row_behind_its_grave_is_repaired_after_a_restart() -> None:
    async def test(world: World) -> None:
        await delete_one(world)
        late = next(one for one in await world.read(TOPIC) if one.key == KEY)
        await world.producer.send_and_wait(TOPIC, late.value, late.key, partition=late.partition)
        live = (await compacted(world)).get(KEY)
        assert live is not None
        assert not live.deleted, "not exercised"
        async with running(world) as worker:
            await eventually(lambda: not worker.table(TOPIC).regressed, "the repair")
        grave = (await compacted(world)).get(KEY)
        assert grave is not None
        assert grave.deleted

    in_world(test)


def test_a_grave_expires_in_a_table_that_nobody_changes() -> None:
    async def test(world: World) -> None:
        await delete_one(world)
        async with running(world, Later()) as worker:
            assert worker.table(TOPIC).get(KEY) is not None
            await eventually(lambda: worker.table(TOPIC).get(KEY) is None, "its end")
        assert (await compacted(world)).get(KEY) is None

    in_world(test)
