"""Ready means that everything of the start can be found; loading says how far."""

import asyncio
from collections.abc import Callable

import pytest

from core.errors import ConfigurationError, TransientError
from core.keys import TableId
from core.state_reader import Loading
from core.topics import alias_name, collection_name, raw_topic
from core.version import version
from embed.index import Collection
from embed.memory_index import MemoryIndex
from retrieve.watermarks import Mark
from serve.ports import Readiness
from tailrace.readiness import ReadinessWatch, judge
from tests.unit.retrieval_world import ARTICLES as SHOP_ARTICLES
from tests.unit.retrieval_world import World, article, run

ARTICLES, ORDERS = TableId("shop", "public.articles"), TableId("shop", "public.orders")


def test_empty_topics_are_ready() -> None:
    assert judge({ARTICLES: (0, 0)}, {}, snapshotting=[]).ready


def test_a_running_snapshot_is_loading_however_far() -> None:
    covered = {ARTICLES: Mark(version(0, 9), 0)}
    found = judge({ARTICLES: (0, 10)}, covered, snapshotting=["shop"])
    assert (found.ready, found.status) == (False, "loading")
    assert "snapshot of shop" in found.message


def test_every_table_must_be_covered_to_its_end() -> None:
    covered = {ARTICLES: Mark(version(1, 9), 0), ORDERS: Mark(version(1, 3), 0)}
    targets = {ARTICLES: (1, 10), ORDERS: (1, 5)}
    found = judge(targets, covered, snapshotting=[])
    assert not found.ready
    assert found.progress["read"] == 14
    assert found.progress["total"] == 15
    covered[ORDERS] = Mark(version(1, 4), 0)
    assert judge(targets, covered, snapshotting=[]).ready


def test_what_an_older_epoch_covered_counts_for_nothing() -> None:
    covered = {ARTICLES: Mark(version(0, 99), 0)}
    found = judge({ARTICLES: (1, 10)}, covered, snapshotting=[])
    assert (found.ready, found.progress["read"]) == (False, 0)


class Snapshot:
    """A connector that says what it is told to, and how often it was asked."""

    def __init__(self, said: str | None) -> None:
        self.said: str | TransientError | None = said
        self.asked = 0

    async def committed(self, source: str) -> str | None:
        self.asked += 1
        if isinstance(self.said, TransientError):
            raise self.said
        return self.said


def watch(world: World, positions: Snapshot | None = None) -> ReadinessWatch:
    return ReadinessWatch(
        topics={table: raw_topic("shop", table.table) for table in world.raw},
        epochs={},
        documents=list(world.settings.documents),
        freshness=world.tracker,
        raw_ends=world,
        positions=positions,
        snapshotted=["shop"],
        answers=world.retriever.check_ready,
    )


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - another is asked
            await asyncio.sleep(0.01)


async def said(watching: ReadinessWatch, what: str) -> Readiness:
    """What is said as soon as it says `what`."""
    async with asyncio.timeout(10):
        while what not in (found := await watching.ready()).message:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
    return found


def test_a_snapshot_that_was_seen_is_waited_for_while_connect_is_away() -> None:
    async def test() -> None:
        world, connector = World(), Snapshot(None)
        world.commit(SHOP_ARTICLES, 1, article("Tents."))
        world.settle()  # all that the snapshot has brought so far can be found
        watching = watch(world, connector)
        await watching.start()
        await said(watching, "snapshot of shop")
        connector.said, asked = TransientError("Connect starts anew"), connector.asked
        await until(lambda: connector.asked > asked + 3)
        assert not (await watching.ready()).ready
        connector.said = "0/500"
        await said(watching, "everything of the start")
        await watching.stop()

    run(test)


def test_a_connect_that_never_answered_is_not_waited_for() -> None:
    async def test() -> None:
        world, connector = World(), Snapshot(None)
        connector.said = TransientError("Connect is away")
        watching = watch(world, connector)
        await watching.start()
        assert (await said(watching, "everything of the start")).ready
        await watching.stop()

    run(test)


@pytest.mark.parametrize("lost", ["alias", "collection"])
def test_empty_topics_are_not_ready_before_their_documents_have_an_index(lost: str) -> None:
    async def test() -> None:
        index = PartlyMade()
        world = World(index=index)
        index.hidden.add(
            alias_name("shop", "products") if lost == "alias" else collection_name("shop", "products", 1)
        )
        watching = watch(world)
        await watching.start()
        assert not (await said(watching, "document products")).ready
        index.hidden.clear()
        assert (await said(watching, "everything of the start")).ready
        await watching.stop()

    run(test)


def test_nothing_is_ready_before_the_rows_are_read() -> None:
    async def test() -> None:
        world = World()
        world.reader.loading = Loading(3, 4)
        watching = watch(world)
        await watching.start()
        assert not (await said(watching, "not read yet")).ready
        world.reader.loading = Loading(4, 4)
        assert (await said(watching, "everything of the start")).ready
        await watching.stop()

    run(test)


class PartlyMade(MemoryIndex):
    """An index some of whose aliases and collections are not there."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: set[str] = set()

    def alias(self, name: str) -> str | None:
        return None if name in self.hidden else super().alias(name)

    def open(self, name: str) -> Collection:
        if name in self.hidden:
            raise ConfigurationError(f"{name} is gone")
        return super().open(name)
