"""Generations whose records, rows, processes or collections change under them."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from core.topics import generations_topic
from embed.indexes.edge import EdgeIndex
from ingest.generations import Generation, Record, decode_record, dropped
from ingest.registry import read_registry
from tailrace import keeper
from tests.contract.reindex_world import (
    DOCUMENTS,
    World,
    change,
    eventually,
    filled,
    frozen,
    in_world,
    settings,
)

pytestmark = [
    pytest.mark.timeout(60),
    # Faust and mode, not ours: loops and clocks of an older asyncio.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


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
