"""What crashes and errors have left in a collection, and when its agent drops it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from core.errors import TransientError
from core.state import Progress, Truncate
from embed.index import Collection
from embed.model import Covered
from ingest.agents.index_batch import read_batch
from ingest.agents.orphans import StateRows
from tests.unit.index_agent_world import ROWS, World, messages, row, rows, table


class Watched:
    """A collection that says when it is read page by page, and waits before the first page."""

    def __init__(self, collection: Collection, said: list[str]) -> None:
        self._collection, self._said = collection, said
        self.asked, self.go = Event(), Event()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("scroll"):
            self._said.append(name)
            self.asked.set()
            assert self.go.wait(30)
        return getattr(self._collection, name)


def test_batches_come_between_the_pages_of_a_sweep() -> None:
    world, said = World(), list[str]()
    for batch in range(10):
        world.apply(rows(ROWS * batch))
    watched: Any = Watched(world.collection, said)
    world.agent.sweeps._indexer = replace(world.agent._indexer, collection=watched)
    world.agent.sweeps.swept = None  # as after a start

    async def test() -> None:
        sweeping = asyncio.create_task(world.agent.sweeps.drop_strays({0: world.offset}))
        assert await asyncio.to_thread(watched.asked.wait, 30)

        def batch() -> None:
            world.apply(rows(0))
            said.append("a batch")

        applied = asyncio.get_running_loop().run_in_executor(world.agent._thread, batch)
        watched.go.set()
        await asyncio.gather(applied, sweeping)

    asyncio.run(asyncio.wait_for(test(), 60))
    assert said == ["scroll", "a batch", "scroll", "scroll_chunks", "scroll_chunks"]


def test_no_sweep_before_what_a_crash_left_half_written_is_written_again() -> None:
    world, said = World(), list[str]()
    world.apply(rows(0))
    watched: Any = Watched(world.collection, said)
    watched.go.set()
    world.agent.sweeps._indexer = replace(world.agent._indexer, collection=watched)
    world.agent.sweeps.swept = None

    async def test() -> None:
        sweeping = asyncio.create_task(world.agent.sweeps.drop_strays({0: world.offset + 1}))
        done, _ = await asyncio.wait([sweeping], timeout=0.2)
        assert not done
        assert said == []
        world.apply(rows(0, count=1))
        await sweeping

    asyncio.run(asyncio.wait_for(test(), 60))
    assert said == ["scroll", "scroll_chunks"]


class Interrupted:
    """A collection that does not answer a call, once, before or after it has done it."""

    def __init__(self, collection: Collection, call: str, *, done: bool = False) -> None:
        self._collection, self._call, self._done = collection, call, done

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._collection, name)
        if name != self._call:
            return call
        self._call = ""

        def fail(*arguments: Any) -> None:
            if self._done:
                call(*arguments)
            raise TransientError("the disk is full")

        return fail


def interrupted(world: World, call: str, *, done: bool = False) -> None:
    away: Any = Interrupted(world.collection, call, done=done)
    world.agent._indexer.pipeline._collection = away


def texts(world: World) -> list[str]:
    return sorted(chunk.text for chunk in world.collection.scroll_chunks(None, 99)[0])


def broken_off(world: World, *records: Any, offset: int) -> Callable[[], object]:
    """A batch that an error ends; what applies it again."""
    read = read_batch(messages(records, offset))
    with pytest.raises(TransientError):
        world.agent._in_turn(lambda: True, read, 0)
    return lambda: world.agent._in_turn(lambda: True, read, 0)


async def waits(world: World) -> "asyncio.Task[None]":
    """That it settles; not yet."""
    settling = asyncio.create_task(world.agent.sweeps.settle())
    done, _ = await asyncio.wait([settling], timeout=0.2)
    assert not done
    return settling


def test_what_an_error_between_a_swap_and_its_drop_has_left_is_dropped() -> None:
    world = World()
    world.take(row(1, 1, "old words"), Progress(1), offset=0)
    interrupted(world, "drop_chunks")
    world.take(row(1, 2, "new words"), Progress(2), offset=2)
    world.take(row(2, 3), row(1, 3, "newer words"), Progress(3), offset=4)
    assert texts(world) == ["newer words", "old words", "some words"], "nothing but the error tells of it"
    asyncio.run(asyncio.wait_for(world.agent.sweeps.settle(), 30))
    assert texts(world) == ["newer words", "some words"]


def test_what_an_error_in_a_truncate_has_left_is_dropped() -> None:
    world = World()
    world.take(row(1, 1), row(2, 2), Progress(2), offset=0)
    interrupted(world, "drop_chunks")
    world.take(Truncate(5), Progress(5), offset=3)
    assert texts(world) == ["some words", "some words"]
    asyncio.run(asyncio.wait_for(world.agent.sweeps.settle(), 30))
    assert texts(world) == []


def test_nothing_is_dropped_while_a_batch_is_to_be_applied_again() -> None:
    """A swap that nobody answered may be made yet."""
    world = World()
    world.take(row(1, 1, "old words"), Progress(1), offset=0)
    interrupted(world, "drop_chunks")
    again = broken_off(world, row(1, 2, "new words"), Progress(2), offset=2)

    async def test() -> None:
        settling = await waits(world)
        again()
        await settling

    asyncio.run(asyncio.wait_for(test(), 30))
    assert texts(world) == ["new words"]


@pytest.mark.parametrize("call", ["write_chunks", "swap_manifests"])
@pytest.mark.parametrize("before", [True, False], ids=["a change", "a first write"])
def test_what_a_batch_wrote_that_another_worker_has_by_now_is_dropped_when_it_is_covered(
    call: str, before: bool
) -> None:
    world = World()
    other = World(collection=world.collection)
    if before:
        world.take(row(1, 1, "old words"), Progress(1), offset=0)
    interrupted(world, call, done=call == "write_chunks")
    broken_off(world, row(1, 2, "vain words"), Progress(2), offset=2)
    world.agent.sweeps.let_go()  # revoked: the next one reads a newer change of the row with it
    assert "vain words" in texts(world)

    async def test() -> None:
        settling = await waits(world)
        await asyncio.to_thread(other.take, row(1, 3, "new words"), Progress(3), offset=2)
        await settling

    asyncio.run(asyncio.wait_for(test(), 30))
    assert texts(world) == ["new words"]


def test_passages_without_a_manifest_go_with_their_row_and_stay_with_a_first_write() -> None:
    world = World()
    world.take(row(1, 1), Progress(1), offset=0)
    for number in (2, 3, 4):
        interrupted(world, "swap_manifests")
        broken_off(world, row(number, 2, f"words of {number}"), Progress(2), offset=1 + number)
    known = table(row(1, 1))
    world.agent.sweeps.let_go()
    read_on: list[bool] = []

    async def caught_up() -> None:
        known.apply(0, 5, row(2, 2, "words of 2"))
        known.apply(0, 6, row(3, 2, "words of 3", deleted=True))
        read_on.append(True)

    world.agent.sweeps._rows = StateRows(known, dict, caught_up)
    world.agent.sweeps.swept = None
    asyncio.run(asyncio.wait_for(world.agent.sweeps.drop_strays({0: 2}), 30))
    assert read_on
    assert texts(world) == ["some words", "words of 2", "words of 3"]


def test_nothing_of_a_version_that_may_still_be_written_is_dropped() -> None:
    """What was covered without being written, say parked, may be taken the next time it is read."""
    world = World()
    other = World(collection=world.collection)
    world.take(row(1, 1, "old words"), Progress(5), offset=0)
    interrupted(world, "swap_manifests")
    broken_off(world, row(1, 2, "new words"), offset=1)
    world.collection.cover([Covered("t", 0, 9, 5, "", 0)])
    world.agent.sweeps.let_go()
    pipeline = other.agent._indexer.pipeline

    def meanwhile(name: str) -> None:
        if name == "after_upsert":
            asyncio.run(asyncio.wait_for(world.agent.sweeps.settle(), 30))

    pipeline._failpoint = meanwhile
    other.take(row(1, 2, "new words"), offset=1)
    found = world.manifest(1)
    assert found is not None
    assert found.version == 2
    assert texts(world) == ["new words"], "what it lists is there"
