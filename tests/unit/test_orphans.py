"""What a generation that was behind still holds of rows that are gone, and how it loses it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from core.keys import RowKey
from core.state import Progress, Removed, StateRow, Truncate
from core.state_table import StateTable
from embed.model import Covered, Manifest
from ingest.agents.index_batch import passes_over, read_batch
from ingest.agents.orphans import OrphanSweep, StateRows, orphans
from tests.unit.index_agent_world import World, messages, row, table

KEYS = [RowKey.of({"id": number}) for number in range(10)]


def behind(rows: Sequence[StateRow], known: StateTable) -> World:
    """A generation that holds these rows, and the state topic as it stands by now."""
    world = World(rows=StateRows(known, lambda: {0: len(rows) + 1}, _nothing))
    world.take(*rows, Progress(rows[-1].version), offset=0)
    return world


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - the index says nothing of its own
            await asyncio.sleep(0.01)


async def _nothing() -> None:
    """It is read to its end."""


@pytest.mark.parametrize("version", [8, 5], ids=["its grave was compacted away", "so was its truncate"])
def test_a_tombstone_alone_takes_the_document_and_its_passages(version: int) -> None:
    """Of a row that a truncate killed, it names the row's own version."""
    world = World()
    world.take(row(1, 5), Progress(5), offset=0)
    world.take(Removed(KEYS[1], version), Progress(20), offset=9)
    assert world.manifest(1) is None
    assert (world.collection.counts().documents, world.collection.counts().chunks) == (0, 0)


def test_a_tombstone_leaves_what_is_newer() -> None:
    world = World()
    world.take(row(1, 9), Removed(KEYS[1], 8), Progress(9), offset=0)
    world.take(row(2, 10, deleted=True), Removed(KEYS[2], 8), Progress(10), offset=3)
    assert [(one.version, one.deleted) for n in (1, 2) if (one := world.manifest(n))] == [
        (9, False),
        (10, True),
    ]


def test_a_tombstone_of_a_truncated_row_takes_the_truncate_s_fence_with_it() -> None:
    world = World()
    world.take(row(1, 5), row(2, 6), Progress(6), offset=0)
    world.take(Truncate(10), row(3, 11), Progress(11), offset=3)
    world.take(Removed(KEYS[1], 5), Progress(12), offset=6)  # as it is buried: the row's own version
    assert (world.manifest(1), world.manifest(2) is not None, world.manifest(3) is not None) == (
        None,
        True,
        True,
    )


def test_a_row_of_the_truncate_s_own_version_lives_whatever_comes_again() -> None:
    """The first row of a snapshot that begins anew."""
    world = World()
    world.take(row(1, 5, "old words"), Progress(5), offset=0)
    world.take(Truncate(10), row(1, 10, "new words"), Progress(10), offset=2)
    world.take(row(1, 5, "old words"), Truncate(10), Progress(10), offset=1)
    assert [chunk.text for chunk in world.collection.scroll_chunks(None, 9)[0]] == ["new words"]
    found = world.manifest(1)
    assert found is not None
    assert (found.version, found.deleted) == (10, False)


@pytest.mark.parametrize("seen", [True, False], ids=["in this life", "in the one before"])
def test_a_row_below_a_truncate_stays_dead_whoever_read_the_truncate(seen: bool) -> None:
    known = table(Truncate(10), row(1, 12))
    world = World(rows=StateRows(known, dict, _nothing))
    if seen:
        world.take(Truncate(10), offset=0)
    world.take(row(2, 7), Progress(12), offset=1)  # a worker frozen past its session wrote it late
    found = world.manifest(2)
    assert found is not None
    assert (found.deleted, found.version) == (True, 10)
    world.take(Removed(KEYS[2], 7), offset=3)
    assert world.manifest(2) is None


def test_what_has_no_row_goes_and_what_has_one_stays() -> None:
    rows = [row(1, 1), row(2, 2), row(3, 3, deleted=True), row(4, 4), row(5, 5, deleted=True)]
    known = table(row(2, 2), row(4, 9), row(5, 5, deleted=True))
    world = behind(rows, known)
    sweep = OrphanSweep(world.agent._indexer.pipeline, world.collection, known)
    assert sweep.look()
    assert sweep.remove()
    left = {number for number in range(10) if world.manifest(number) is not None}
    assert (left, sweep.found) == ({2, 4, 5}, 1)
    assert (world.collection.counts().documents, world.collection.counts().chunks) == (2, 2)
    assert not sweep.look()


def test_a_row_that_comes_back_between_look_and_removal_stays() -> None:
    known = table(row(2, 2))
    world = behind([row(1, 1), row(2, 2), row(3, 3)], known)
    sweep = OrphanSweep(world.agent._indexer.pipeline, world.collection, known)
    assert sweep.look()
    known.apply(0, 9, row(1, 9))  # read by the time that it is asked again
    world.take(row(3, 10), Progress(10), offset=4)  # indexed, and read by nobody else yet
    assert sweep.remove()
    assert [one.version for n in (1, 2, 3) if (one := world.manifest(n))] == [1, 2, 10]


def test_at_a_start_they_are_dropped_once_everything_is_covered() -> None:
    known = table(row(2, 2))
    world = behind([row(1, 1), row(2, 2)], known)
    world.agent.sweeps._rows = replace(world.agent.sweeps._rows, ends=lambda: {0: 8})  # type: ignore[type-var]

    async def test() -> None:
        sweeping = asyncio.create_task(world.agent.sweeps.orphans())
        done, _ = await asyncio.wait([sweeping], timeout=0.2)
        assert not done
        assert world.manifest(1) is not None
        await asyncio.to_thread(world.collection.cover, [Covered("t", 0, 8, 2, "", 0)])
        await eventually(lambda: world.manifest(1) is None)
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)

    asyncio.run(test())
    assert world.manifest(2) is not None


def test_they_are_looked_for_again_only_where_records_may_have_been_missed() -> None:
    known = table(row(2, 2), row(3, 3))
    world = behind([row(2, 2)], known)

    async def test() -> None:
        sweeping = asyncio.create_task(world.agent.sweeps.orphans())
        looked: list[int] = []
        look = world.agent.sweeps._look

        def noted(*arguments: Any) -> bool | None:
            looked.append(len(looked))
            return look(*arguments)

        world.agent.sweeps._look = noted  # type: ignore[assignment, method-assign]
        await eventually(lambda: len(looked) == 1)
        await asyncio.to_thread(world.take, row(3, 3), Progress(3), offset=2)
        assert not world.agent._coverage.passed_over
        await asyncio.to_thread(world.take, row(4, 4), Progress(4), offset=90)  # of which nobody knows
        await eventually(lambda: world.manifest(4) is None)
        assert len(looked) == 2
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)

    asyncio.run(test())
    assert {n for n in range(10) if world.manifest(n)} == {2, 3}


@pytest.mark.parametrize(
    ("offsets", "expected", "missed"),
    [
        ([5, 6, 7], {0: 5}, False),
        ([5, 6, 7], {}, False),
        ([5, 6, 7], {0: 6}, False),
        ([5, 6, 7], {0: 4}, True),
        ([5, 7], {0: 5}, True),
        ([5], {1: 0}, False),
    ],
    ids=["goes on", "nothing known", "read again", "a hole before", "a hole within", "another partition's"],
)
def test_a_missing_offset_is_what_may_have_been_missed(
    offsets: list[int], expected: dict[int, int], missed: bool
) -> None:
    events = [event for offset in offsets for event in messages([Progress(offset)], offset)]
    assert passes_over(expected, read_batch(events)) is missed


def test_only_what_the_table_knows_nothing_of_is_an_orphan() -> None:
    world = World()
    world.take(row(1, 1), row(2, 2), row(3, 3), offset=0)
    manifests: list[Manifest] = [one for n in (1, 2, 3) if (one := world.manifest(n))]
    known = table(row(1, 1), row(2, 9, deleted=True))
    assert [one.key for one in orphans(manifests, known)] == ["3"]
