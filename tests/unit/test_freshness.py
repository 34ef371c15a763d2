"""Positions, lags and waits, as the sources, the worker and the index move one by one."""

import asyncio
import random
from collections.abc import Callable

import pytest

from core.positions import parse_position
from retrieve.looking import LONGEST_REQUEST_SECONDS
from tests.unit.retrieval_hands import ShiftedClock
from tests.unit.retrieval_world import ARTICLES, ORDERS, World, article, lags, run


def test_the_position_advances_only_with_view_and_index() -> None:
    async def test() -> None:
        world = World()
        position = world.commit(ARTICLES, 1, article("Tents."))
        wanted = parse_position(position)

        async def reached_now() -> bool:
            world.clock.advance(1)
            await world.look()
            said = (await world.ask("tents")).freshness
            at = said.as_of["shop"].position
            there = at is not None and parse_position(at) >= wanted
            assert there == (said.index_lag_ms == 0 and said.state_lag_ms == 0 and world.delivered > 0)
            return there

        await world.look()
        assert (await world.ask("tents")).freshness.as_of["shop"].position is None
        world.deliver()
        world.acknowledge()
        assert not await reached_now()  # both are behind
        world.resolve_all()
        world.apply_all()
        assert not await reached_now()  # the view is behind
        world.read_all()
        assert await reached_now()
        world.commit(ARTICLES, 2, article("Boots."))
        wanted = world.lsn
        world.resolve_all()
        world.read_all()
        assert not await reached_now()  # the index is behind
        world.apply_all()
        assert await reached_now()

    run(test)


def test_a_lag_grows_while_something_is_missing_and_is_never_zero() -> None:
    async def test() -> None:
        world = World()
        world.commit(ARTICLES, 1, article("Tents."))
        world.settle()
        await world.look()
        assert (await world.tracker.now()).index_lag_ms == 0
        world.commit(ARTICLES, 2, article("Boots."))
        world.deliver()
        await world.look()
        seen = []
        for _ in range(3):
            world.clock.advance(10)
            seen.append(lags(await world.tracker.now()))
        assert [index // 10_000 for index, _ in seen] == [state // 10_000 for _, state in seen] == [1, 2, 3]
        world.resolve_all()
        world.read_all()
        index, state = lags(await world.tracker.now())
        assert (state, index >= 30_000) == (0, True)

    run(test)


def test_nobody_says_that_nothing_is_missing_before_a_look() -> None:
    async def test() -> None:
        world = World()
        world.commit(ARTICLES, 1, article("Tents."))
        world.settle()
        for said in ((await world.ask("tents")).freshness, await world.tracker.now()):
            assert (said.index_lag_ms, said.state_lag_ms) == (None, None)
        world.broker_down = True
        await world.look()
        assert (await world.tracker.now()).index_lag_ms is None
        world.broker_down = False
        await world.look()
        said = await world.tracker.now()
        assert (said.index_lag_ms, said.state_lag_ms) == (0, 0)

    run(test)


def test_an_index_that_was_left_behind_before_this_process_started_is_as_old_as_its_commit() -> None:
    async def test() -> None:
        world = World()
        world.commit(ARTICLES, 1, article("Tents."))
        world.resolve_all()
        world.clock.advance(3600)
        world.read_all()
        await world.look()
        assert 3_590_000 < lags(await world.tracker.now())[0] < 3_610_000

    run(test)


def test_connect_away_turns_the_status_and_not_the_answers() -> None:
    async def test() -> None:
        world = World()
        world.commit(ARTICLES, 1, article("Tents."))
        world.settle()
        await world.look()
        before = (await world.ask("tents")).freshness
        world.connect_down = True
        world.commit(ARTICLES, 1, article("Tents are red."))
        world.settle()
        await world.look()
        after = await world.ask("tents")
        assert after.freshness.source_status == {"shop": "unreachable"}
        assert after.hits[0].text == "Tents are red."
        assert after.freshness.as_of["shop"].position == before.as_of["shop"].position
        assert after.freshness.as_of["shop"].committed_at is not None
        world.broker_down = True
        await world.look()
        assert (await world.tracker.now()).source_status == {"shop": "unreachable"}
        world.connect_down = world.broker_down = False
        await world.look()
        said = await world.tracker.now()
        assert said.source_status == {"shop": "ok"}
        assert said.as_of["shop"].position != before.as_of["shop"].position

    run(test)


def test_read_your_writes_waits_and_says_whether_it_got_there() -> None:
    async def test() -> None:
        world = World()
        world.commit(ARTICLES, 1, article("Tents are green."))
        world.settle()
        position = world.commit(ARTICLES, 1, article("Tents are red."))
        found = await world.ask("tents", min_position={"shop": position}, wait_seconds=0.1)
        assert found.freshness.reached_min_position is False
        assert found.hits[0].text == "Tents are green."
        asking = asyncio.create_task(world.ask("tents", min_position={"shop": position}, wait_seconds=20.0))
        for step in (world.deliver, world.acknowledge, world.resolve_all, world.read_all, world.apply_all):
            assert not asking.done()
            await asyncio.sleep(0.03)
            step()
        found = await asking
        assert found.freshness.reached_min_position is True
        assert (found.hits[0].text, found.hits[0].stale) == ("Tents are red.", False)
        assert (await world.ask("tents")).freshness.reached_min_position is None

    run(test)


def test_a_look_that_a_deadline_broke_off_is_made_again() -> None:
    async def test() -> None:
        world = World()
        world.commit(ARTICLES, 1, article("Tents are green."))
        world.settle()
        world.connect_silent = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await world.tracker._look("shop", 3600)
        world.connect_silent = False
        assert (await world.ask("tents")).freshness.as_of["shop"].position is None
        await world.tracker._look("shop", 3600)  # not looked at within an hour
        assert (await world.ask("tents")).freshness.as_of["shop"].position is not None
        world.connect_silent = True
        async with asyncio.timeout(5):
            await world.tracker._look("shop", 3600)  # it was, so nobody is asked

    run(test)


def test_a_staleness_bound_waits_for_what_stood_in_the_log_then() -> None:
    async def test() -> None:
        world = World()
        world.commit(ARTICLES, 1, article("Tents are green."))
        world.settle()
        await world.look()
        found = await world.ask("tents", max_staleness_ms=60_000)
        assert found.freshness.reached_max_staleness is True
        world.commit(ARTICLES, 1, article("Tents are red."))
        world.deliver()
        found = await world.ask("tents", max_staleness_ms=60_000)  # a minute ago it was not there
        assert found.freshness.reached_max_staleness is True
        found = await world.ask("tents", max_staleness_ms=0, wait_seconds=0.1)
        assert found.freshness.reached_max_staleness is False
        world.clock.advance(120)
        found = await world.ask("tents", max_staleness_ms=60_000, wait_seconds=0.1)
        assert found.freshness.reached_max_staleness is False
        world.settle()
        found = await world.ask("tents", max_staleness_ms=0, wait_seconds=5.0)
        assert (found.freshness.reached_max_staleness, found.hits[0].text) == (True, "Tents are red.")

    run(test)


def test_what_is_stated_was_true_before_the_search_began() -> None:
    async def test() -> None:
        world = World()
        world.commit(ARTICLES, 1, article("Tents are green."))
        world.settle()
        await world.look()
        world.commit(ARTICLES, 2, article("Tents are red."))
        world.resolve_all()
        world.read_all()
        await world.look()
        live = world.retriever._live
        inner = live.call

        async def late(function: Callable[..., object], *args: object) -> object:
            found = await inner(function, *args)
            world.apply_all()  # the index moves on after it was searched
            world.clock.advance(1)
            await world.look()
            return found

        live.call = late  # type: ignore[method-assign, assignment]  # to act in the middle
        found = await world.ask("tents")
        assert [hit.key for hit in found.hits] == ["1"]
        at = found.freshness.as_of["shop"].position
        assert at is not None
        assert parse_position(at) < world.lsn
        live.call = inner  # type: ignore[method-assign]  # as it was
        assert len((await world.ask("tents")).hits) == 2

    run(test)


def test_the_look_of_each_second_runs_and_stops() -> None:
    async def test() -> None:
        world = World()
        world.commit(ORDERS, 1, {"customer_id": 1, "tenant_id": "a", "status": "x", "total": 1})
        world.settle()
        await world.retriever.start()
        async with asyncio.timeout(5):
            while (await world.tracker.now()).as_of["shop"].position is None:  # noqa: ASYNC110 - any change
                await asyncio.sleep(0.01)
        await world.retriever.stop()
        await world.retriever.stop()
        assert world.failures == []

    run(test)


class Oracle:
    """What the source said at each position, by its own account."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int, str | None]] = []
        """Position, key and text of each commit; no text: deleted."""

    def judge(self, order: int, hits: dict[int, str]) -> None:
        then = {key: body for at, key, body in self.told if at <= order}
        since = {key for at, key, _ in self.told if at > order}
        for key, text in hits.items():
            written = next(at for at, _, body in self.told if body == text)
            assert written > order or then.get(key) == text  # what stood then, or something newer
        lost = {key for key, body in then.items() if body is not None} - since - hits.keys()
        assert not lost


@pytest.mark.parametrize("seed", range(6))
def test_no_answer_cites_what_was_deleted_at_or_before_its_position(seed: int) -> None:
    """Every stage moves at random; each answer is compared with the source as of its own position."""

    async def test() -> None:
        chance = random.Random(seed)  # noqa: S311 - the seed is the point
        world, oracle, judged = World(), Oracle(), 0
        world.retriever._join_wait = 0.01
        numbers = iter(range(1000))

        def commit() -> None:
            key = chance.randrange(6)
            body = None if chance.random() < 0.35 else f"Tents in colour {next(numbers)}."
            world.commit(ARTICLES, key, None if body is None else article(body))
            oracle.told.append((world.lsn, key, body))

        def apply() -> None:
            world.apply("articles", chance.randrange(2), chance.randint(1, 5))
            world.clock.advance(0.1)

        moves: list[tuple[int, Callable[[], object]]] = [
            (18, commit),
            (17, lambda: world.deliver(chance.randint(1, 4))),
            (12, lambda: world.acknowledge() if world.committed_events else None),
            (15, lambda: world.resolve(ARTICLES, chance.randint(1, 4))),
            (12, lambda: world.read(ARTICLES, chance.randrange(2), chance.randint(1, 5))),
            (12, apply),
            (3, world.read_all),
        ]
        weights = [weight for weight, _ in moves]
        for _ in range(300):
            [(_, move)] = chance.choices(moves, weights)
            move()
            if chance.random() < 0.1:
                await world.look()
            if chance.random() < 0.1:
                found = await world.ask("tents colour", top_k=20)
                at = found.freshness.as_of["shop"].position
                if at is not None:
                    oracle.judge(parse_position(at), {int(hit.key): hit.text for hit in found.hits})
                    judged += 1
        assert judged > 5

    run(test)


def test_an_answer_keeps_its_position_however_long_its_search_takes_beside_writes() -> None:
    async def test() -> None:
        world = World()
        position = world.commit(ARTICLES, 1, article("Tents dry best in the shade."))
        world.settle()
        await world.look()
        begun = await world.tracker.capture(["shop"], ["articles"])
        for number in range(LONGEST_REQUEST_SECONDS):
            world.clock.advance(0.9)
            world.commit(ARTICLES, number, article("Boots want wax."))
            world.settle()
            await world.look()
            await world.tracker._report()
        stated = world.tracker.freshness(["shop"], begun, minimum={"shop": parse_position(position)})
        assert stated.as_of["shop"].position is not None
        assert stated.reached_min_position
        kept = len(world.tracker._lines["shop"].watermarks)
        world.clock.advance(LONGEST_REQUEST_SECONDS)
        await world.tracker._report()
        assert len(world.tracker._lines["shop"].watermarks) < kept / 2

    run(test)


class SetBackClock(ShiftedClock):
    """Its wall clock may be set; the other never goes back."""

    back_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() - self.back_ms


def test_a_clock_that_was_set_back_makes_no_look_recent() -> None:
    async def test() -> None:
        clock = SetBackClock()
        world = World(clock=clock)
        world.commit(ARTICLES, 1, article("Tents."))
        world.settle()
        await world.look()
        world.broker_down = True
        clock.back_ms = 3_600_000
        clock.advance(60)
        found = await world.ask("tents", max_staleness_ms=1000)
        assert found.freshness.reached_max_staleness is False
        world.broker_down = False
        await world.look()
        found = await world.ask("tents", max_staleness_ms=1000)
        assert found.freshness.reached_max_staleness is True

    run(test)


def test_a_machine_that_slept_makes_no_look_recent() -> None:
    """The clock that never goes back stands still meanwhile."""

    async def test() -> None:
        clock = SetBackClock()
        world = World(clock=clock)
        world.commit(ARTICLES, 1, article("Tents."))
        world.settle()
        await world.look()
        world.broker_down = True
        clock.back_ms = -3_600_000
        found = await world.ask("tents", max_staleness_ms=1000)
        assert found.freshness.reached_max_staleness is False

    run(test)
