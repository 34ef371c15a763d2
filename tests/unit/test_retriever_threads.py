"""A slow encoder keeps its questions waiting, and nobody else."""

import asyncio
import gc
import threading
import weakref
from time import monotonic
from typing import Final

import pytest

from embed.encoder import HashingEncoder, Kind
from embed.indexes import bm25
from embed.model import Covered, Scope, Vector
from retrieve.live import LiveIndex
from retrieve.search import Search, Searcher
from tests.unit.retrieval_world import ARTICLES, EVERYBODY, ORDERS, World, article, run

SOON: Final = 5.0
"""Seconds: far more than anything here takes that need not wait."""


class SlowEncoder(HashingEncoder):
    """Answers questions when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.asked = threading.Event(), threading.Event()

    def encode(self, texts: list[str], *, kind: Kind) -> Vector:  # type: ignore[override]
        if kind == "query":
            self.asked.set()
            assert self.go.wait(60)
        return super().encode(texts, kind=kind)


def test_freshness_state_and_documents_do_not_wait_for_questions_that_are_encoded() -> None:
    async def test() -> None:
        slow = SlowEncoder()
        world = World(encoder=slow)
        world.commit(ARTICLES, 1, article("Tents."))
        world.commit(ORDERS, 1, {"customer_id": 7, "status": "new", "total": 3, "tenant_id": "a"})
        world.settle()
        questions = [asyncio.create_task(world.ask("tents")) for _ in range(6)]
        scope = Scope("a", EVERYBODY)
        try:
            async with asyncio.timeout(SOON):
                assert await asyncio.to_thread(slow.asked.wait, SOON)
                await world.look()
                assert (await world.tracker.now()).index_lag_ms == 0
                assert len((await world.retriever.state_entry("orders", "7", scope)).rows) == 1
                assert await world.retriever.document("articles", "1", scope) is not None
            assert not any(question.done() for question in questions)
        finally:
            slow.go.set()
        assert [len((await question).hits) for question in questions] == [1] * 6

    run(test)


def test_a_stop_waits_for_an_encoder_beside_the_event_loop() -> None:
    async def test() -> None:
        slow = SlowEncoder()
        world = World(encoder=slow)
        world.commit(ARTICLES, 1, article("Tents."))
        world.settle()
        question = asyncio.create_task(world.ask("tents"))
        assert await asyncio.to_thread(slow.asked.wait, SOON)
        late = threading.Timer(SOON, slow.go.set)
        late.start()
        stopping = asyncio.create_task(world.retriever.stop())
        await asyncio.wait({stopping}, timeout=0.05)
        assert not slow.go.is_set(), "the loop stood still"
        assert not stopping.done()
        late.cancel()
        slow.go.set()
        await asyncio.gather(stopping, question, return_exceptions=True)

    run(test)


def test_a_wait_for_a_position_ends_at_its_deadline_while_the_index_cannot_be_asked() -> None:
    async def test() -> None:
        world = World()
        busy = threading.Event()
        position = world.commit(ARTICLES, 1, article("Tents."))
        minimum = {"shop": world.tracker.minimum("shop", position)}
        blocking = [asyncio.ensure_future(world.retriever._live.call(busy.wait, 60)) for _ in range(4)]
        try:
            begun = monotonic()
            async with asyncio.timeout(SOON):
                await world.tracker.wait(["shop"], ["articles"], minimum, None, world.clock.monotonic() + 0.1)
            assert monotonic() - begun >= 0.1
        finally:
            busy.set()
        await asyncio.gather(*blocking)

    run(test)


def test_what_a_slow_look_found_covered_does_not_replace_what_a_later_one_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or a later answer would be as of an earlier position."""
    world, looks = World(), 0
    index = LiveIndex("shop", world.index, clock=world.clock)
    live = index.resolve("articles")

    def covered() -> list[Covered]:
        nonlocal looks
        looks += 1
        if looks == 1:  # meanwhile another thread asks, and is answered at once
            index.marks(live)
            return [Covered("t", 0, 1, 1, "", 0)]
        return [Covered("t", 0, 2, 2, "", 0)]

    monkeypatch.setattr(live.collection, "covered", covered)
    assert [index.marks(live)["t", 0].offset for _ in range(2)] == [2, 2]
    index.close()


def test_an_encoder_that_is_no_longer_needed_is_let_go() -> None:
    world = World()
    world.commit(ARTICLES, 1, article("Tents."))
    world.settle()
    live, loaded = LiveIndex("shop", world.index), dict[str, HashingEncoder]()
    searcher = Searcher(live, lambda _: loaded["now"], bm25.query, lambda *_: [])
    known: list[weakref.ref[HashingEncoder]] = []
    for _ in range(3):
        loaded["now"] = HashingEncoder()
        known.append(weakref.ref(loaded["now"]))
        search = Search("tents", ["articles"], Scope("a", EVERYBODY), {})
        searcher.prepare(search)
        assert len(searcher.find(search, 10, 10).ranked) == 1
    loaded.clear()
    gc.collect()
    assert [one() for one in known] == [None] * 3
    live.close()
