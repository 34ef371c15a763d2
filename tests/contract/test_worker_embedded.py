"""The worker whole, on the embedded log: raw records in, documents out, and what happens between them."""

from threading import Event
from unittest.mock import patch

import pytest

from core.state import Progress, StateRow, Truncate, decode_state
from core.topics import state_topic
from embed.strays import StraySweep
from ingest.agents.resolve_agent import ResolveAgent
from tests.contract.worker_world import (
    DEADLINE_SECONDS,
    PARTITIONS,
    RAW,
    TABLE,
    World,
    eventually,
    in_world,
    running,
)

pytestmark = [
    pytest.mark.timeout(120),
    # Faust and mode, not ours: loops and clocks of an older asyncio.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def test_insert_update_delete_and_truncate_reach_the_index() -> None:
    async def test(world: World) -> None:
        async with running(world):
            await world.write(("c", 1, "first words"), ("c", 2, "second words"))
            await eventually(
                lambda: (world.text(1), world.text(2)) == ("first words", "second words"), "inserts"
            )
            await world.write(("u", 1, "other words"))
            await eventually(lambda: world.text(1) == "other words", "an update")
            await world.write(("d", 1, None))
            await world.raw(b'{"id": 1}', None)
            await eventually(lambda: world.text(1) is None, "a delete")
            await world.write(("c", 3, "before"), ("t", 0, None), ("c", 4, "after"))
            await eventually(lambda: world.text(4) == "after", "what follows a truncate")
            await eventually(lambda: (world.text(2), world.text(3)) == (None, None), "a truncate")
            await eventually(lambda: len(world.collection.covered()) == PARTITIONS, "marks")
        newest = [decode_state(r.key, r.value) for r in await world.read(state_topic("shop", TABLE))]
        assert {type(one) for one in newest} == {StateRow, Truncate, Progress}

    in_world(test)


def test_what_is_covered_is_the_raw_log_to_its_end_in_every_partition() -> None:
    async def test(world: World) -> None:
        async with running(world):
            await world.write(*[("c", n, f"text {n}") for n in range(20)])
            last = (3 << 40) + 19

            def covered() -> bool:
                marks = world.collection.covered()
                return len(marks) == PARTITIONS and all(mark.version == last for mark in marks)

            await eventually(covered, "marks at the last record")
            assert all(world.text(n) == f"text {n}" for n in range(20))
        ends: dict[int, int] = {}
        for record in await world.read(state_topic("shop", TABLE)):
            ends[record.partition] = record.offset + 1
        assert {mark.partition: mark.offset for mark in world.collection.covered()} == ends

    in_world(test)


@pytest.mark.parametrize("batch", [500, 17])
def test_a_restart_over_a_backlog_misses_nothing_and_commits_all(batch: int) -> None:
    backlog = 3000

    async def test(world: World) -> None:
        made = 0
        for _ in range(2):
            await world.write_many(range(made, made + backlog))
            made += backlog
            async with running(world):
                await eventually(
                    lambda made=made: world.collection.counts().documents == made,  # type: ignore[misc]
                    "every document",
                )
            assert await world.committed("shop-resolve", RAW) == {0: made}
        ends: dict[int, int] = {}
        for record in await world.read(state_topic("shop", TABLE)):
            ends[record.partition] = record.offset + 1
        assert await world.committed("shop-index-articles-g1", state_topic("shop", TABLE)) == ends

    in_world(test, batch_records=batch)


def test_a_sweep_that_takes_its_time_holds_up_no_repair() -> None:
    async def test(world: World) -> None:
        async with running(world):
            await world.write(("c", 1, "words"))
            await eventually(lambda: world.text(1) == "words", "the first document")
        hold, began = Event(), Event()
        kept: list[int] = []

        def step(_: StraySweep) -> bool:
            began.set()
            return hold.wait(DEADLINE_SECONDS)

        async def maintain(_: ResolveAgent) -> None:
            kept.append(1)

        with patch.object(StraySweep, "step", step), patch.object(ResolveAgent, "maintain", maintain):
            async with running(world):
                await eventually(began.is_set, "the sweep")
                kept.clear()
                await eventually(lambda: len(kept) >= 2, "repairs beside it")
                hold.set()

    in_world(test)
