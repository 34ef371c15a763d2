"""Generations on the embedded log: begun by a record, filled by replay, promoted, rolled back, dropped."""

import asyncio
import random

import pytest

from ingest.generations import Generation, Pace
from tests.contract.reindex_world import (
    DOCUMENTS,
    ROWS,
    World,
    eventually,
    filled,
    in_world,
    manifest_of,
)

pytestmark = [
    pytest.mark.timeout(60),
    # Faust and mode, not ours: loops and clocks of an older asyncio.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


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
