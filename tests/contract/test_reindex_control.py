"""Wishes and reports through a real log (embedded): what a command writes, waits for, and takes back."""

import asyncio
import threading
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from core.errors import ConfigurationError, TransientError
from ingest.generations import (
    Aliased,
    Frozen,
    Pace,
    Pointer,
    Report,
    dropped,
    encode_record,
)
from ingest.registry import RegistryWriter
from tailrace.reindex import decide
from tailrace.reindex.control import Control, configured
from tailrace.reindex.decide import PaceWish
from tests.contract.control_world import FIRST, Late, fill, in_log, obey, outcome, record, seen, settings

pytestmark = pytest.mark.timeout(120)


def test_a_start_is_recorded_for_the_workers_and_again_it_only_changes_the_pace() -> None:
    async def test(brokers: list[str]) -> None:
        wished = configured(settings(brokers, "NEXT {{ body }}", 32), "articles")
        async with Control(settings(brokers)) as control:
            made = await control.start("articles", wished, pace=PaceWish(), force=False, displace=False)
            assert (made.generation.number, made.generation.pace) == (2, Pace())
            assert (wished.dimensions, wished.fingerprint) == (32, "hashing-32")
            await seen(control, lambda: len(control.registry.running()) == 2)
            again = await control.start("articles", wished, pace=PaceWish(5, 0), force=False, displace=False)
            await seen(control, lambda: control.registry.running()[1].pace == Pace(5.0, None))
            assert again.generation.number == 2
        async with Control(settings(brokers)) as control:  # another command reads what the first has written
            assert control.registry.running() == [FIRST, again.generation]
            with pytest.raises(ConfigurationError, match="nothing changed"):
                await control.start("articles", FIRST.frozen, pace=PaceWish(), force=False, displace=False)

    in_log(test)


def test_a_writer_that_is_cancelled_while_it_connects_writes_when_it_is_asked_again() -> None:
    """A worker that is stopped in its first moments writes a last report; it waited for ever."""

    async def test(brokers: list[str]) -> None:
        writer = RegistryWriter(brokers, "shop.generations")
        second = replace(FIRST, number=2)
        first = asyncio.create_task(writer.write([encode_record(second)]))
        await asyncio.sleep(0)  # it has begun, and the broker has not answered
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        async with asyncio.timeout(20):
            twice = [writer.write([encode_record(one)]) for one in (FIRST, second)]
            one, other = await asyncio.gather(*twice)
            assert one != other
        await writer.stop()

    in_log(test)


def test_progress_is_read_from_offsets_and_reports() -> None:
    async def test(brokers: list[str]) -> None:
        await fill(brokers, 300)
        await record(brokers, Report("articles", 1, "w", 5, offsets={0: 150, 1: 140}))
        second = replace(FIRST, number=2)
        await record(brokers, second, Report("articles", 2, "w", 5, embedded=7, offsets={0: 20}))
        async with Control(settings(brokers)) as control:
            one, two = await control.look([FIRST, second])
            assert (one.lag, one.caught_up, one.answers) == (10, True, True)
            assert (two.total, two.covered, two.embedded, two.answers) == (300, 20, 7, False)
            with pytest.raises(TransientError, match="280 records behind after 0 s: nothing was changed"):
                await control.drained(second, 0.1)
            waiting = asyncio.create_task(control.drained(second, 20.0))
            await record(brokers, Report("articles", 2, "w", 6, offsets={0: 150, 1: 140}))
            assert (await waiting).lag == 10

    in_log(test)


def test_a_promotion_waits_for_the_alias_and_a_rollback_goes_back() -> None:
    async def test(brokers: list[str]) -> None:
        await record(brokers, replace(FIRST, number=2))
        worker = asyncio.create_task(obey(brokers, times=2, delay=0.1))
        async with Control(settings(brokers)) as control:
            moved = await control.move(decide.promotion(control.registry, "articles", control.now()), 20.0)
            assert (moved.pointer.live, moved.pointer.previous) == (2, 1)
            assert 100 <= moved.milliseconds < 20_000
            with pytest.raises(ConfigurationError, match="generation 2 answers"):
                await control.drop("articles", 2)
            moved = await control.move(decide.rollback(control.registry, "articles", control.now()), 20.0)
            assert moved.pointer.live == 1
            assert await control.drop("articles", 2)
            await seen(control, lambda: len(control.registry.running()) == 1)
            assert not await control.drop("articles", 2)
        await worker

    in_log(test)


def test_a_wish_that_no_worker_fulfils_is_taken_back() -> None:
    async def test(brokers: list[str]) -> None:
        await record(brokers, replace(FIRST, number=2))
        async with Control(settings(brokers)) as control:
            with pytest.raises(TransientError, match="the wish was taken back, generation 1 goes on"):
                await control.move(decide.promotion(control.registry, "articles", 1), 0.5)
            await seen(control, lambda: control.registry.pointers["articles"] == Pointer("articles", 1))

    in_log(test)


def test_of_two_starts_at_once_one_stands_and_the_other_is_told() -> None:
    async def test(brokers: list[str]) -> None:
        texts = ["A {{ body }}", "B {{ body }}"]
        wished = [configured(settings(brokers, text), "articles") for text in texts]
        async with Control(settings(brokers)) as one, Control(settings(brokers)) as other:
            said = await asyncio.gather(
                *(
                    outcome(control.start("articles", frozen, pace=PaceWish(), force=False, displace=False))
                    for control, frozen in zip((one, other), wished, strict=True)
                )
            )
        assert sorted(answer.startswith("done") for answer in said) == [False, True]
        assert "somebody else has just changed" in said[said[0].startswith("done")]
        async with Control(settings(brokers)) as control:
            found = control.registry.find("articles", 2)
            assert found is not None
            assert found.frozen == wished[not said[0].startswith("done")]

    in_log(test)


def test_of_three_starts_at_once_the_one_that_is_told_so_stands() -> None:
    """The third must not put back what the second wrote, for the second takes it back too."""

    async def test(brokers: list[str]) -> None:
        for number in range(2, 6):
            texts = [f"{name} {number} {{{{ body }}}}" for name in "ABC"]
            wished = [configured(settings(brokers, text), "articles") for text in texts]
            async with AsyncExitStack() as stack:
                controls = [await stack.enter_async_context(Control(settings(brokers))) for _ in wished]
                said = await asyncio.gather(
                    *(
                        outcome(control.start("articles", one, pace=PaceWish(), force=False, displace=False))
                        for control, one in zip(controls, wished, strict=True)
                    )
                )
            stands = [answer.startswith("done") for answer in said]
            assert sorted(stands) == [False, False, True]
            async with Control(settings(brokers)) as control:
                found = control.registry.find("articles", number)
                assert found is not None
                assert found.status == "running"
                assert found.frozen == wished[stands.index(True)]
                assert await control.drop("articles", number)

    in_log(test)


def test_what_an_older_release_wrote_stands_too() -> None:
    """Its records do not say what they were decided on."""

    async def test(brokers: list[str]) -> None:
        other = replace(FIRST, number=2, frozen=configured(settings(brokers, "OLD {{ body }}"), "articles"))
        wished = configured(settings(brokers, "NEW {{ body }}"), "articles")
        async with Control(settings(brokers)) as control:
            control._writer = Late(control._writer, brokers, other)  # type: ignore[assignment]
            starting = control.start("articles", wished, pace=PaceWish(), force=False, displace=False)
            assert "was taken back" in await outcome(starting)
            assert control.registry.find("articles", 2) == other

    in_log(test)


def test_a_pace_never_brings_back_what_was_dropped_meanwhile() -> None:
    async def test(brokers: list[str]) -> None:
        other = configured(settings(brokers, "NEXT {{ body }}"), "articles")
        second = replace(FIRST, number=2, frozen=other)
        await record(brokers, second)
        async with Control(settings(brokers)) as control:
            starting = control.start("articles", other, pace=PaceWish(5.0), force=False, displace=False)
            control._writer = Late(control._writer, brokers, dropped(second))  # type: ignore[assignment]
            assert "was taken back" in await outcome(starting)
            found = control.registry.find("articles", 2)
            assert found is not None
            assert found.status == "dropped"
        await record(brokers, second)  # an older release that knows no better
        async with Control(settings(brokers)) as control:
            assert control.registry.running() == [FIRST]

    in_log(test)


def test_a_drop_is_decided_on_what_stands_there_when_it_is_confirmed() -> None:
    """While somebody thinks about the question, nothing is read: what answered before may answer again."""

    async def test(brokers: list[str]) -> None:
        second = replace(FIRST, number=2)
        await record(brokers, second, Pointer("articles", 2, 1), Aliased("articles", 2))
        async with Control(settings(brokers)) as control:
            other = threading.Thread(
                target=asyncio.run, args=(record(brokers, Pointer("articles", 1, 2), Aliased("articles", 1)),)
            )
            other.start()
            other.join(20)
            assert control.registry.pointers["articles"].live == 2, "the loop stood still"
            with pytest.raises(ConfigurationError, match="generation 1 answers for articles"):
                await control.drop("articles", 1)

    in_log(test)


def test_a_promotion_of_what_is_dropped_meanwhile_is_taken_back() -> None:
    async def test(brokers: list[str]) -> None:
        second = replace(FIRST, number=2)
        await record(brokers, second)
        async with Control(settings(brokers)) as control:
            control._writer = Late(control._writer, brokers, dropped(second))  # type: ignore[assignment]
            with pytest.raises(TransientError, match="wish was taken back"):
                await control.move(Pointer("articles", 2, 1, 5), 20.0)
            await seen(control, lambda: control.registry.pointers["articles"].live == 1)
            assert control.registry.live("articles") == FIRST

    in_log(test)


def test_a_drop_of_what_is_wished_for_meanwhile_says_what_answers() -> None:
    async def test(brokers: list[str]) -> None:
        second = replace(FIRST, number=2)
        await record(brokers, second)
        async with Control(settings(brokers)) as control:
            control._writer = Late(control._writer, brokers, Pointer("articles", 2, 1, 5))  # type: ignore[assignment]
            with pytest.raises(TransientError, match="it is dropped: generation 1 answers"):
                await control.drop("articles", 2)

    in_log(test)


def test_a_superseded_promotion_leaves_the_other_wish_alone() -> None:
    async def test(brokers: list[str]) -> None:
        await record(brokers, replace(FIRST, number=2), replace(FIRST, number=3))
        async with Control(settings(brokers)) as control:
            moving = asyncio.create_task(outcome(control.move(Pointer("articles", 2, 1, 5), 20.0)))
            await seen(control, lambda: control.registry.pointers["articles"].live == 2)
            await record(brokers, Pointer("articles", 3, 2, 6))
            assert "superseded by generation 3" in await moving
            assert control.registry.pointers["articles"].live == 3

    in_log(test)


def test_an_embedded_log_is_refused_with_what_to_do() -> None:
    made = settings(["none:1"]).model_copy(update={"log": {"kind": "embedded"}})
    with pytest.raises(ConfigurationError, match="run `tailrace demo`"):
        Control(made)


def test_an_unknown_document_is_named() -> None:
    with pytest.raises(
        ConfigurationError, match="no document 'pages' in the configuration: write one of art"
    ):
        configured(settings(["none:1"]), "pages")
    assert isinstance(FIRST.frozen, Frozen)
