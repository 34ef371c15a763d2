"""What changes in the middle of a request: documents, chunks on their way, and whole generations."""

from collections.abc import Callable
from typing import Any

import pytest

from core.errors import TransientError
from core.state import Truncate
from core.topics import collection_name
from core.version import version
from embed.memory_index import MemoryIndex
from tests.unit.meddled_world import Ranked, meddled
from tests.unit.retrieval_hands import PARTITIONS
from tests.unit.retrieval_world import ARTICLES, ORDERS, World, article, keys, lags, run


def test_a_document_that_changes_during_the_search_is_searched_again_once() -> None:
    async def test() -> None:
        searches = []

        def search(inner: Callable[..., Ranked], *args: Any) -> Ranked:
            found = inner(*args)
            searches.append(len(found[0]))
            if len(searches) == 1:  # the edit lands between the search and the reading of manifests
                world.commit(ARTICLES, 1, article("Tents are red now."))
                world.resolve_all()
                world.read_all()
                world.apply_all()
            return found

        world = meddled(search=search)
        world.commit(ARTICLES, 1, article("Tents are green."))
        world.settle()
        [hit] = (await world.ask("tents")).hits
        assert (hit.text, hit.stale, len(searches)) == ("Tents are red now.", False, 2)

    run(test)


def test_chunks_on_their_way_cost_no_second_search_and_are_not_cited() -> None:
    async def test() -> None:
        searches = []

        def search(inner: Callable[..., Ranked], *args: Any) -> Ranked:
            searches.append(1)
            return inner(*args)

        world = meddled(search=search)
        world.commit(ARTICLES, 1, article("Tents are green."))
        world.settle()
        pipeline = world.pipelines["articles"]

        def crash(point: str) -> None:
            if point == "after_upsert":
                raise TransientError("the machine went away")

        pipeline._failpoint = crash
        world.commit(ARTICLES, 1, article("Tents are red now."))
        world.resolve_all()
        with pytest.raises(TransientError):
            world.apply_all()
        world.read_all()
        [hit] = (await world.ask("tents")).hits
        assert (hit.text, hit.stale, len(searches)) == ("Tents are green.", True, 1)

    run(test)


def test_one_request_stays_with_one_generation_and_survives_its_drop() -> None:
    async def test() -> None:
        world = World()
        world.commit(ARTICLES, 1, article("Tents are green."))
        world.settle()
        assert keys(await world.ask("tents")) == ["1"]
        old = collection_name("shop", "articles", 1)
        world.pipelines["articles"] = world.generation("articles", world.settings.documents["articles"], 2)
        world.indexed.clear()
        found = await world.ask("tents")
        assert found.hits == ()  # the new one is live and empty: its own coverage is what counts
        await world.look()
        assert (await world.ask("tents")).freshness.as_of["shop"].position is None
        world.apply_all()
        world.index.drop(old)
        world.clock.advance(0.1)
        found = await world.ask("tents")
        assert (keys(found), found.freshness.as_of["shop"].position is not None) == (["1"], True)

    run(test)


def test_a_collection_that_vanishes_in_mid_request_is_resolved_anew_once() -> None:
    async def test() -> None:
        calls = []

        def gone(inner: Callable[..., Ranked], *args: Any) -> Ranked:
            calls.append(1)
            if len(calls) == 1:
                world.index.drop(collection_name("shop", "articles", 1))
                world.index.point("shop-articles", collection_name("shop", "articles", 2))
                world.index.open("gone")  # raises as an adapter does
            return inner(*args)

        world = meddled(search=gone)
        world.commit(ARTICLES, 1, article("Tents are green."))
        world.settle()
        world.pipelines["articles"] = world.generation("articles", world.settings.documents["articles"], 2)
        world.indexed.clear()
        world.apply_all()
        world.index.point("shop-articles", collection_name("shop", "articles", 1))
        assert keys(await world.ask("tents")) == ["1"]
        assert len(calls) == 2

    run(test)


def test_rows_that_a_resync_takes_during_the_search_prove_no_position() -> None:
    """No document of the request is made of their table: the view alone says what was covered of it."""

    async def test() -> None:
        def search(inner: Callable[..., Ranked], *args: Any) -> Ranked:
            if resync:
                for partition in range(PARTITIONS):
                    world.state[ORDERS][partition].append(Truncate(version(world.epoch + 1, 0)))
                world.read_all()
            return inner(*args)

        resync = False
        world = meddled(search=search)
        world.commit(ORDERS, 1, {"customer_id": 7, "status": "new", "total": 3, "tenant_id": "a"})
        world.settle()
        await world.look()
        before = await world.ask("tents", state={"orders": "7"})
        assert len(before.state["orders"]) == 1
        assert before.freshness.as_of["shop"].position is not None
        resync = True
        after = await world.ask("tents", state={"orders": "7"})
        assert not after.state["orders"]
        assert after.freshness.as_of["shop"].position is None
        assert lags(after.freshness)[1] > 0

    run(test)


def test_without_a_live_index_the_answer_is_to_try_later() -> None:
    async def test() -> None:
        world = World(index=MemoryIndex())
        for name in world.index.collections():
            world.index.drop(name)
        with pytest.raises(TransientError, match="no live index yet"):
            await world.ask("tents")

    run(test)
