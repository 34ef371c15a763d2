"""Generations on the embedded log: begun by a record, filled by replay, promoted, rolled back, dropped."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from core.topics import generations_topic, required_topics
from embed.index import Index
from embed.indexes.edge import EdgeIndex
from embed.memory_index import MemoryIndex
from ingest.embedded_log import EmbeddedLog
from ingest.generations import Generation, Pace, Record, decode_record, dropped
from ingest.registry import read_registry
from tailrace import keeper
from tests.contract.reindex_world import (
    DOCUMENTS,
    Running,
    World,
    change,
    eventually,
    frozen,
    manifest_of,
    settings,
)

pytestmark = [
    pytest.mark.timeout(60),
    # Faust and mode, not ours: loops and clocks of an older asyncio.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

ROWS = 120


def in_world(
    test: Callable[[World], Awaitable[None]],
    documents: Mapping[str, Mapping[str, Any]] | None = None,
    index: Index | None = None,
) -> None:
    made = settings(documents or {"articles": DOCUMENTS["articles"]})

    async def play(brokers: list[str]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=brokers, linger_ms=2)
        await producer.start()
        try:
            await test(World(brokers, made, producer, index or MemoryIndex()))
        finally:
            await producer.stop()

    log = EmbeddedLog()
    try:
        asyncio.run(play(log.start(required_topics(made))))
    finally:
        log.stop()


async def filled(world: World, run: Running, rows: int = ROWS, document: str = "articles") -> Generation:
    """The first generation, with so many rows."""
    one = run.tail.registry.live(document)
    assert one is not None
    await world.write(*[("c", n, f"text {n} of {document}") for n in range(rows)], table=document)
    await eventually(lambda: world.holds(one), world.missing(one))
    return one


def test_a_generation_whose_record_changes_under_it_is_not_followed() -> None:
    async def test(world: World) -> None:
        async with world.running() as run:
            await filled(world, run, 40)
            two = await world.begin(run.tail.registry, "articles", section={"text": "A {{ body }}"})
            expected = {n: f"A {text}" for n, text in world.rows["articles"].items()}
            await eventually(lambda: world.texts(two) == expected, world.missing(two))
            other = frozen(settings({"articles": {**DOCUMENTS["articles"], "text": "B {{ body }}"}}))
            await world.record(replace(two, frozen=other["articles"]))
            await eventually(lambda: ("articles", 2) not in run.worker.following(), "it is followed")
            await world.record(two)  # taken back: what was built goes on
            await world.write(("u", 1, "new"))
            await eventually(lambda: world.texts(two)[1] == "A new", "followed again")

    in_world(test)


def test_a_generation_that_is_dropped_as_it_begins_to_answer_gives_way() -> None:
    async def test(world: World) -> None:
        async with world.running() as run:
            one = await filled(world, run, 40)
            two = await world.begin(run.tail.registry, "articles", section={"text": "A {{ body }}"})
            await eventually(lambda: len(world.texts(two)) == 40, "built")
            await world.promote(two, 1)
            await eventually(lambda: world.answers(two), "answers")
            await world.drop(two)  # decided by somebody who had not seen the pointer
            await eventually(lambda: world.answers(one) and not world.stands(two), "the one before answers")
            await world.write(("c", 900, "fresh"), ("d", 3, None))
            await eventually(lambda: world.holds(one), world.missing(one))
        async with world.running() as run:
            assert (run.said, world.answers(one)) == ((), True)

    in_world(test)


def test_a_wish_for_one_that_cannot_apply_the_rows_ends_nothing() -> None:
    """A column is renamed at the source, and its command is killed before it can take the wish back."""

    async def renamed(world: World, numbers: range) -> None:
        for number in numbers:
            world.lsn += 10
            key, value = change("c", number, f"text {number}", lsn=world.lsn)
            await world.producer.send(
                "shop.public.articles", value.replace(b'"body"', b'"content"'), key, partition=0
            )
        await world.producer.flush()

    async def test(world: World) -> None:
        async with world.running() as run:
            one = await filled(world, run, 40)
            two = await world.begin(run.tail.registry, "articles", section={"text": "{{ title }}"})
            await eventually(lambda: len(world.texts(two)) == 40, "built")
            await world.promote(two, 1)
            await eventually(lambda: world.answers(two), "answers")
            await renamed(world, range(1000, 1700))
            await eventually(lambda: len(world.texts(two)) == 740, "what answers takes them")
            await eventually(
                lambda: run.worker.following()["articles", 1].waiting is not None, "the other waits"
            )
            await world.promote(one, 2)
            await eventually(lambda: run.tail.registry.live("articles") == one, "the wish is known")
            await renamed(world, range(2000, 2010))
            await eventually(lambda: len(world.texts(two)) == 750, "what answers goes on")
            assert not run.worker.following()["articles", 2].indexer.turns.background()
        async with world.running() as run:
            await renamed(world, range(3000, 3010))
            await eventually(lambda: len(world.texts(two)) == 760, "so it does in the next process")
            await world.promote(two, 1)
            await eventually(lambda: run.tail.registry.live("articles") == two, "taken back")
            assert world.answers(two)

    in_world(test)


def test_a_drop_that_somebody_has_written_over_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LOOK_SECONDS", 0.2)

    async def last(world: World, key: bytes) -> Record:
        found = await read_registry(world.brokers, generations_topic("shop"))
        return decode_record(key, found[key])

    async def test(world: World) -> None:
        async with world.running() as run:
            await filled(world, run, 20)
            two = await world.begin(run.tail.registry, "articles", dimensions=32)
            await eventually(lambda: world.stands(two), "begun")
            await world.drop(two)
            await eventually(lambda: not world.stands(two), "dropped")
            await world.record(two)  # a command that was killed before it could take it back
            assert await last(world, b"articles/2") == two
            async with asyncio.timeout(30):
                while await last(world, b"articles/2") != dropped(two):
                    await run.tail.changed(0.1)
            assert not world.stands(two)

    in_world(test)


def test_a_generation_is_begun_filled_promoted_rolled_back_and_dropped() -> None:
    async def test(world: World) -> None:
        async with world.running() as run:
            one = await filled(world, run)
            two = await world.begin(
                run.tail.registry, "articles", section={"text": "{{ title }}: {{ body }}"}
            )
            expected = {n: f"Row {n}: {text}" for n, text in world.rows["articles"].items()}
            await eventually(lambda: world.texts(two) == expected, world.missing(two))
            assert world.answers(one), "nothing is promoted by itself"

            await world.promote(two, one.number)
            await eventually(lambda: world.answers(two), "a promotion")
            await world.write(("u", 1, "other words"))
            await eventually(lambda: world.texts(two)[1] == "Row 1: other words", "an edit in the new one")
            await eventually(lambda: world.texts(one)[1] == "other words", "and in the one before it")

            await world.promote(one, two.number)
            await eventually(lambda: world.answers(one), "a rollback")
            await eventually(
                lambda: (
                    (said := run.tail.registry.aliased.get("articles")) is not None
                    and said.number == one.number
                ),
                "the record of it",
            )
            await eventually(
                lambda: {r.number for r in run.tail.registry.reports} == {1, 2}, "reports of both"
            )
            await world.drop(two)
            await eventually(lambda: not world.stands(two), "a drop")
            assert ("articles", two.number) not in run.worker.following()
            await world.write(("u", 2, "later words"))
            await eventually(lambda: world.holds(one), world.missing(one))
            three = await world.begin(run.tail.registry, "articles")
            assert three.number == 3, "a number is never used again"

    in_world(test)


def test_a_rebuilt_generation_is_the_live_one_byte_for_byte() -> None:
    async def test(world: World) -> None:
        chance = random.Random(3)  # noqa: S311 - the same edits every time
        async with world.running() as run:
            one = await filled(world, run)
            words = [
                "alpha",
                "beta",
                "gamma",
                "delta",
                "epsilon",
                "zeta",
                "eta",
                "theta",
                "iota",
                "kappa",
                "lambda",
                "mu",
            ]
            long = "\n\n".join(" ".join(chance.choices(words, k=90)) + "." for _ in range(6))
            await world.write(("u", 3, long), ("u", 4, ""), ("d", 5, None), ("u", 3, f"{long} and more"))
            two = await world.begin(run.tail.registry, "articles")
            while not world.stands(two):
                await world.write(("u", chance.randrange(10, ROWS), f"words {chance.random()}"))
                await asyncio.sleep(0)
            await eventually(lambda: world.facts(one) == world.facts(two), world.missing(one, two))
            assert len(world.texts(two)) == ROWS - 1
            found = run.worker.following()["articles", two.number]
            assert found.indexer.spent.texts == 0, "every vector was there"
            assert found.done.reused > 0

    in_world(test)


def test_vectors_are_taken_from_the_other_generation_where_the_store_has_forgotten_them() -> None:
    async def test(world: World) -> None:
        async with world.running() as run:
            one = await filled(world, run)
        async with world.running() as run:  # its store is another one, in memory and empty
            two = await world.begin(run.tail.registry, "articles")
            await eventually(lambda: world.holds(two), world.missing(two))
            assert world.facts(one) == world.facts(two)
            assert run.worker.following()["articles", two.number].indexer.spent.texts == 0

    in_world(test)


def test_a_model_of_another_dimension_is_built_while_writes_go_on() -> None:
    async def test(world: World) -> None:
        async with world.running() as run:
            one = await filled(world, run)
            two = await world.begin(run.tail.registry, "articles", dimensions=32)

            async def edit() -> None:
                for turn in range(200):
                    await world.write(("u", turn % ROWS, f"turn {turn}"), ("c", 1000 + turn, f"new {turn}"))

            editing = asyncio.create_task(edit())
            await eventually(lambda: world.stands(two), "the collection")
            await editing
            await eventually(lambda: world.holds(one) and world.holds(two), world.missing(one, two))
            assert world.collection(two).dimensions == 32
            await world.promote(two, one.number)
            await eventually(lambda: world.answers(two), "the promotion")
            assert run.worker.following()["articles", two.number].indexer.spent.texts > 0

    in_world(test)


def test_what_vanishes_while_a_generation_is_filled_is_not_in_it() -> None:
    async def test(world: World) -> None:
        async with world.running() as run:
            one = await filled(world, run, rows=400)
            await world.write(*[("d", n, None) for n in range(60)])
            two = await world.begin(run.tail.registry, "articles", section={"metadata": []})
            await world.write(
                *[("u", n, f"edited {n}") for n in range(100, 160)],
                *[("d", n, None) for n in range(200, 260)],
                *[("c", n, f"appeared {n}") for n in range(1000, 1060)],
                *[("d", n, None) for n in range(1000, 1030)],
                *[("c", n, f"came back {n}") for n in range(20)],
            )
            await eventually(lambda: world.holds(one) and world.holds(two), world.missing(one, two))
            for gone in (30, 210, 1010):
                grave = manifest_of(world, two, gone)
                assert grave is None or grave.deleted
            await world.write(("t", 0, None), *[("c", n, f"after {n}") for n in range(5)])
            await eventually(lambda: world.holds(one) and world.holds(two), world.missing(one, two))
            three = await world.begin(run.tail.registry, "articles")
            await eventually(lambda: world.holds(three), world.missing(three))
            assert sorted(world.texts(three)) == [0, 1, 2, 3, 4]

    in_world(test)


def test_two_documents_are_rebuilt_at_once_and_one_stays_as_it_is() -> None:
    async def test(world: World) -> None:
        async with world.running() as run:
            articles = await filled(world, run)
            notes = await filled(world, run, document="notes")
            twins = [
                await world.begin(run.tail.registry, "articles", dimensions=32),
                await world.begin(run.tail.registry, "notes", section={"text": "{{ body }}"}),
            ]
            await world.write(("u", 7, "edited"), table="notes")
            await eventually(lambda: all(map(world.holds, twins)), world.missing(*twins))
            await world.promote(twins[1], notes.number)
            await eventually(lambda: world.answers(twins[1]), "the one of them")
            assert world.answers(articles)

    in_world(test, DOCUMENTS)


def test_a_process_that_ends_at_any_moment_goes_on_where_it_was() -> None:
    async def test(world: World) -> None:
        async with world.running() as run:
            one = await filled(world, run)
            two = await world.begin(run.tail.registry, "articles", dimensions=32)
        async with world.running() as run:
            await eventually(lambda: world.holds(two), world.missing(two))
            await world.promote(two, one.number)
        # The wish was recorded and nobody was there to see it; the file has changed meanwhile.
        edited = {"articles": {**DOCUMENTS["articles"], "text": "{{ title }}"}}
        world.settings = settings(edited, dimensions=16)
        async with world.running() as run:
            assert "waits for a reindex" in run.said[0]
            await eventually(lambda: world.answers(two), "the promotion")
            await world.write(("u", 1, "still as recorded"))
            await eventually(lambda: world.holds(one) and world.holds(two), world.missing(one, two))
            await world.drop(one)
        async with world.running() as run:
            await eventually(lambda: not world.stands(one), "the drop")
            assert {*run.worker.following()} == {("articles", two.number)}

    in_world(test)


def test_a_candidate_that_cannot_be_built_here_stops_nothing_and_is_named() -> None:
    async def test(world: World) -> None:
        async with world.running() as run:
            one = await filled(world, run)
            two = await world.begin(run.tail.registry, "articles", dimensions=32)
            other = replace(two.frozen, fingerprint="of another processor")
            wrong = Generation("articles", 3, "running", other, 1)
            await world.record(wrong)
            await eventually(
                lambda: any(r.number == 3 and r.waiting for r in run.tail.registry.reports), "its report"
            )
            await eventually(lambda: world.holds(two), world.missing(two))
            await world.write(("u", 1, "goes on"))
            await eventually(lambda: world.holds(one), world.missing(one))
            await world.drop(wrong)
            await eventually(lambda: not world.stands(wrong), "the drop")

    in_world(test)


def test_a_collection_that_another_worker_has_dropped_kills_nobody(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        async with world.running() as run:
            one = await filled(world, run)
            two = await world.begin(run.tail.registry, "articles", dimensions=32)
            await eventually(lambda: world.holds(two), world.missing(two))
            world.index.drop(two.collection("shop"))
            await world.write(*[("u", n, f"edited {n}") for n in range(50)])
            await eventually(lambda: world.holds(one), world.missing(one))
            await world.drop(two)  # the word of it comes later
            await eventually(
                lambda: ("articles", two.number) not in run.worker.following(), "the worker lets it go"
            )
            await world.write(("u", 1, "goes on"))
            await eventually(lambda: world.holds(one), world.missing(one))

    index = EdgeIndex(tmp_path)
    try:
        in_world(test, index=index)
    finally:
        index.close()


def test_a_paced_generation_is_slow_and_can_be_given_up_at_once() -> None:
    async def test(world: World) -> None:
        async with world.running() as run:
            await filled(world, run)
            two = await world.begin(run.tail.registry, "articles", dimensions=32)
            slow = Generation("articles", two.number, "running", two.frozen, 1, Pace(rate=0.5))
            await world.record(slow)
            await eventually(lambda: ("articles", two.number) in run.worker.following(), "it is followed")
            began = asyncio.get_running_loop().time()
            await world.drop(slow)
            await eventually(lambda: not world.stands(two), "it is given up")
            assert asyncio.get_running_loop().time() - began < 8

    in_world(test)
