"""One batch of state records: what is set aside, stops, is covered; and the sweep between batches."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace

import pytest

from core.errors import ConfigurationError, LimitError, PermanentError, TransientError
from core.keys import RowKey
from core.metrics import COMMIT_TO_SEARCHABLE
from core.state import Progress, StateRow
from embed.encoder import HashingEncoder, Kind
from embed.model import Vector
from embed.pace import Turns
from ingest.agents import index_agent
from tests.unit.index_agent_world import ROWS, World, member, messages, row, rows


class Picky(HashingEncoder):
    """Refuses what it is told to, and counts."""

    def __init__(self, refuses: Callable[[str], bool], error: Exception | None = None) -> None:
        super().__init__(16)
        self.refuses, self.error = refuses, error or PermanentError("HTTP 422: the endpoint refuses")

    def encode(self, texts: Sequence[str], *, kind: Kind) -> Vector:
        if any(self.refuses(text) for text in texts):
            raise self.error
        return super().encode(texts, kind=kind)


def test_a_column_renamed_at_the_source_stops_before_anything_is_set_aside() -> None:
    world = World()
    assert world.apply(rows(0)) == 0
    before = world.collection.covered()
    world = World()
    with pytest.raises(ConfigurationError, match=r"d: 128 of the last 128 .*template.*'content'|'body'"):
        world.apply(rows(0, "content"))
    assert world.collection.covered() == []
    assert before != []


def test_it_is_seen_amid_a_run_as_soon_as_most_of_the_window_is_refused() -> None:
    world = World()
    for batch in range(10):
        world.apply(rows(ROWS * batch))
    assert [world.apply(rows(ROWS * batch, "content")) for batch in range(10, 13)] == [ROWS] * 3
    with pytest.raises(ConfigurationError, match="512 of the last 1000"):
        world.apply(rows(ROWS * 13, "content"))


def test_a_bad_row_among_good_ones_is_set_aside() -> None:
    world = World()
    assert world.apply([*rows(0), {"id": 999, "content": ""}]) == 1
    assert world.collection.counts().documents == ROWS


class Barred(HashingEncoder):
    """Its key is revoked."""

    def __init__(self) -> None:
        super().__init__(16)
        self.asked = 0

    def encode(self, texts: Sequence[str], *, kind: Kind) -> Vector:
        self.asked += 1
        raise ConfigurationError("HTTP 401: check encoder.api_key")


def in_the_background(encoder: HashingEncoder | None = None) -> tuple[World, list[bool]]:
    """And whether it is dropped, to be set."""
    world, dropped = World(encoder, turns=Turns(background=lambda: True)), [False]
    world.agent._indexer = replace(world.agent._indexer, dropped=lambda: dropped[0])
    return world, dropped


@pytest.mark.parametrize(
    "encoder, column, says",
    [
        (None, "content", "bad set-up"),
        (Barred(), "body", "401"),
        (Picky(lambda _: True), "body", "plain word"),
    ],
)
def test_a_bad_set_up_in_the_background_is_waited_for_and_stops_nobody(
    encoder: HashingEncoder | None, column: str, says: str
) -> None:
    world, dropped = in_the_background(encoder)

    async def test() -> None:
        records = [StateRow(RowKey.of({"id": r["id"]}), 1, r) for r in rows(0, column)]
        taking = asyncio.create_task(world.agent._handle(member(1), messages([*records, Progress(9)], 0)))
        async with asyncio.timeout(20):
            while world.agent.last_error is None:  # noqa: ASYNC110 - the agent says nothing of its own
                await asyncio.sleep(0.01)
        assert says in world.agent.last_error
        assert world.agent.stands
        assert world.collection.covered() == []
        dropped[0] = True
        assert await taking is False

    asyncio.run(asyncio.wait_for(test(), 30))
    assert world.agent.gone


def test_a_bad_set_up_of_what_answers_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_agent, "DROPPED_SECONDS", 0.0)
    world = World(Barred())
    with pytest.raises(ConfigurationError, match="401"):
        world.take(row(1, 1), offset=0)


def test_a_sweep_in_the_background_waits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    world, dropped = in_the_background()
    world.apply(rows(0))

    def refused(*_: object) -> None:
        raise ConfigurationError("index.api_key: refused")

    monkeypatch.setattr(world.agent.sweeps, "_look", refused)
    monkeypatch.setattr(world.agent.sweeps, "_rows", SimpleNamespace(ends=dict, table=None))

    async def test() -> None:
        sweeping = asyncio.create_task(world.agent.sweeps.orphans())
        async with asyncio.timeout(20):
            while world.agent.sweeps.last_error is None:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        assert world.agent.sweeps.last_error == "index.api_key: refused"
        dropped[0] = True
        await sweeping

    asyncio.run(asyncio.wait_for(test(), 30))


@pytest.mark.parametrize("count", [1, 7])
def test_an_encoder_that_refuses_everything_is_no_fault_of_the_texts(count: int) -> None:
    world = World(Picky(lambda _: True))
    with pytest.raises(ConfigurationError, match="422"):
        world.apply(rows(0, count=count))
    assert world.collection.covered() == []


def test_an_encoder_that_goes_away_while_it_is_asked_is_waited_for() -> None:
    refusals = iter([LimitError("too long"), TransientError("overloaded")])

    class Leaving(HashingEncoder):
        def encode(self, texts: Sequence[str], *, kind: Kind) -> Vector:
            raise next(refusals)

    with pytest.raises(TransientError, match="overloaded"):
        World(Leaving(16)).apply(rows(0, count=1))


def test_a_text_that_an_encoder_refuses_is_set_aside_alone_or_among_others() -> None:
    world = World(Picky(lambda text: "bad" in text))
    assert world.apply([{"id": 1, "body": "a bad text"}]) == 1
    assert world.apply([{"id": 2, "body": "another bad text"}, *rows(10)]) == 1
    assert world.collection.counts().documents == ROWS


def test_after_a_stop_no_batch_is_begun() -> None:
    """The one before may have been broken off: what covers a later one would cover it too."""
    world = World()
    world.agent.stop()
    world.take(row(1, 1), offset=0)
    assert world.manifest(1) is None


@pytest.mark.parametrize(("background", "measured"), [(False, 60.0), (True, 0.0)])
def test_only_what_answers_tells_how_soon_a_commit_is_searchable(
    *, background: bool, measured: float
) -> None:
    """A build replays changes of long ago: nobody waited for them."""
    world = World(turns=Turns(background=lambda: background))
    spent = COMMIT_TO_SEARCHABLE.labels("d")._sum
    before = spent.get()
    committed = world.agent._clock.now_ms() - 60_000
    change = StateRow(
        RowKey.of({"id": 1}), 1, {"id": 1, "body": "A tent."}, streamed=(1, 1), committed_at=committed
    )
    world.take(change, offset=0)
    assert spent.get() - before == pytest.approx(measured)
