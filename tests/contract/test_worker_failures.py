"""What the worker sets aside, what it waits for and what stops it, on the embedded log."""

import asyncio
from collections.abc import Mapping
from unittest.mock import patch

import pytest

from core.errors import ConfigurationError, LimitError
from core.topics import dead_letters_topic, state_topic
from embed.cutter import Cutter
from tests.contract.worker_world import PARTITIONS, RAW, TABLE, World, eventually, in_world, outcomes, running

pytestmark = [
    pytest.mark.timeout(120),
    # Faust and mode, not ours: loops and clocks of an older asyncio.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def test_poison_is_set_aside_with_its_bytes_and_the_stream_goes_on() -> None:
    poison = [b"", b"null", b"42", b"[]", b'{"op":"c","after":{"id":1', b'{"op":"x"}', b"\xff\xfe"]

    async def test(world: World) -> None:
        before = outcomes()
        async with running(world):
            for place, value in enumerate(poison):
                await world.raw(b'{"id": 900}', value)
                await world.write(("c", place, f"text {place}"))
            await eventually(lambda: world.text(len(poison) - 1) is not None, "the last good record")
            assert all(world.text(n) == f"text {n}" for n in range(len(poison)))
        letters = await world.read(dead_letters_topic("shop"))
        assert [letter.value for letter in letters] == poison
        assert {letter.key for letter in letters} == {b'{"id": 900}'}
        headers = [dict(letter.headers) for letter in letters]
        assert [int(one["tailrace.offset"]) for one in headers] == list(range(0, 2 * len(poison), 2))
        assert {one["tailrace.topic"] for one in headers} == {RAW.encode()}
        after = outcomes()
        assert {kind: after[kind] - before[kind] for kind in after} == {
            "applied": len(poison),
            "superseded": 0,
            "ignored": 0,
            "parked": len(poison),
        }
        assert await world.committed("shop-resolve", RAW) == {0: 2 * len(poison)}

    in_world(test)


def test_a_text_that_cannot_be_indexed_is_set_aside_and_its_old_version_stays() -> None:
    async def test(world: World) -> None:
        async with running(world):
            await world.write(("c", 1, "old words"))
            await eventually(lambda: world.text(1) == "old words", "the first version")
            refused = LimitError("too long")
            with patch.object(Cutter, "cut", side_effect=refused):
                await world.write(("u", 1, "new words"))
                await world.write(("d", 2, None))
                await eventually(lambda: world.manifest(2) is not None, "the record behind it")
            assert world.text(1) == "old words"
        (letter,) = await world.read(dead_letters_topic("shop"))
        headers = dict(letter.headers)
        assert (headers["tailrace.stage"], headers["tailrace.error"]) == (b"index", b"LimitError")
        assert headers["tailrace.topic"] == state_topic("shop", TABLE).encode()

    in_world(test)


def test_an_index_that_is_away_makes_no_dead_letters_and_no_commit() -> None:
    async def test(world: World) -> None:
        world.pipeline.failures = 10**6
        async with running(world) as worker:
            await world.write(("c", 1, "words"))
            await eventually(lambda: world.pipeline.tries >= 3, "several tries")
            assert worker.following()["articles", 1].waiting == "the index is away"
            assert await world.committed(
                "shop-index-articles-g1", state_topic("shop", TABLE)
            ) == dict.fromkeys(range(PARTITIONS), 0)
            world.pipeline.failures = 0
            await eventually(lambda: world.text(1) == "words", "the index is back")
            await eventually(lambda: worker.following()["articles", 1].waiting is None, "the status")
        assert await world.read(dead_letters_topic("shop")) == []

    in_world(test)


def test_a_worker_stops_in_time_while_the_index_is_away_and_the_next_one_completes_it() -> None:
    async def test(world: World) -> None:
        world.pipeline.failures = 10**6
        async with running(world):
            await world.write(("c", 1, "words"))
            await eventually(lambda: world.pipeline.tries >= 2, "two tries")
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 9
        world.pipeline.failures = 0
        async with running(world):
            await eventually(lambda: world.text(1) == "words", "the next worker")

    in_world(test)


def test_nearly_everything_unreadable_stops_the_worker_before_it_drains_the_topic() -> None:
    async def test(world: World) -> None:
        worker = world.worker()
        for _ in range(200):
            await world.raw(b'{"id": 1}', b"not what it should be")
        await worker.start()
        try:
            await eventually(lambda: bool(world.fatal), "the guard")
        finally:
            began = asyncio.get_running_loop().time()
            await worker.stop()
        assert asyncio.get_running_loop().time() - began < 9, "what was not acknowledged is released"
        assert isinstance(world.fatal[0], ConfigurationError)
        # What was set aside before there was enough to judge by; nothing of the batch that told.
        parked = len(await world.read(dead_letters_topic("shop")))
        assert parked <= 100
        assert await world.committed("shop-resolve", RAW) == {0: parked}

    in_world(test, poison_share=0.1)


def test_a_row_and_a_letter_past_the_brokers_limit_stop_nothing() -> None:
    """The row is too large for the state topic, the record for the dead letters: one byte under the limit."""
    huge = "x" * 1_030_000

    async def test(world: World) -> None:
        async with running(world):
            await world.write(("c", 1, "small"), ("u", 1, huge), ("c", 2, "behind"))
            await eventually(lambda: world.text(2) == "behind", "the record behind it")
            assert world.text(1) == "small"
        (letter,) = await world.read(dead_letters_topic("shop"))
        headers: Mapping[str, bytes] = dict(letter.headers)
        assert headers["tailrace.error"] == b"LimitError"
        assert len(letter.value) < int(headers["tailrace.value-bytes"])

    in_world(test)
