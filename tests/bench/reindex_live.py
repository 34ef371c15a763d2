"""What a reindex costs those who wait for an edit, on the whole stack.

Edits of single articles are searched for, in turns with nothing else going on and while a generation
with another cut is embedded. And the time from the wish to the alias.
"""

import asyncio
import random
import statistics
import time
from dataclasses import replace
from typing import Final, Self

import httpx2
import psycopg

from core.clock import SystemClock
from core.keys import TableId
from core.settings import Cut
from core.topics import generations_topic, index_group, state_topic
from infra.stack import Stack
from ingest.generations import Generation, Pointer, dropped, encode_record
from ingest.registry import RegistryTail, RegistryWriter
from ingest.topics_admin import TopicsAdmin
from tests.bench.edits import document
from tests.bench.freshness import WARM_UP, Shop, percentile
from tests.bench.path import prose

TURN: Final = 30
"""Edits of one side before those of the other."""

FIRST_FILLER: Final = 7_000_000
MOVES: Final = 6
"""Promotions, there and back."""

LOOK_SECONDS: Final = 0.01
DEADLINE_SECONDS: Final = 120.0


class Reindexes:
    """Begins, promotes and drops generations of the stack's articles by records, as the commands do."""

    def __init__(self, stack: Stack) -> None:
        self._app, self._brokers = stack.settings.app, [stack.brokers]

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner()
        self._tail = RegistryTail(self._app, self._brokers)
        self._writer = RegistryWriter(self._brokers, generations_topic(self._app))
        self._runner.run(self._tail.start())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._writer.stop())
        self._runner.run(self._tail.stop())
        self._runner.close()

    def begin(self, most_tokens: int) -> Generation:
        """Another cut. On return its worker embeds."""
        return self._runner.run(self._begin(most_tokens))

    def busy(self, one: Generation) -> bool:
        """Whether it has yet to embed."""
        return self._runner.run(self._lag(one)) > 0

    def drop(self, one: Generation) -> None:
        self._runner.run(self._drop(one))

    def level(self, one: Generation) -> None:
        """On return it has embedded all that there is."""
        self._runner.run(self._level(one))

    def move(self, to: Generation, previous: Generation) -> float:
        """Seconds from the wish to the word that the alias has moved."""
        return self._runner.run(self._move(to, previous))

    def live(self) -> Generation:
        found = self._tail.registry.live("articles")
        assert found is not None
        return found

    async def _begin(self, most_tokens: int) -> Generation:
        live = self.live()
        number = max(one.number for one in self._tail.registry.of("articles")) + 1
        cut = Cut(min_tokens=most_tokens // 3, max_tokens=most_tokens)
        section = live.frozen.document.model_copy(update={"cut": cut})
        one = replace(live, number=number, frozen=replace(live.frozen, document=section))
        await self._writer.write([encode_record(one)])
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not any(r.embedded for r in self._tail.registry.reports_of(one)):
                await self._tail.changed(1.0)
        return one

    async def _lag(self, one: Generation) -> int:
        topic = state_topic(self._app, TableId.parse(one.frozen.document.table))
        admin = TopicsAdmin(self._brokers)
        bounds, done = await asyncio.to_thread(
            lambda: (
                admin.bounds([topic]),
                admin.committed(index_group(self._app, one.document, one.number)),
            )
        )
        return sum(bound.end - done.get(place, 0) for place, bound in bounds.items())

    async def _level(self, one: Generation) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while await self._lag(one) > 0:  # noqa: ASYNC110 - it is the broker that is asked
                await asyncio.sleep(0.2)

    async def _drop(self, one: Generation) -> None:
        await self._writer.write([encode_record(dropped(one))])
        async with asyncio.timeout(DEADLINE_SECONDS):
            # Its reports go last, when its collection and its group are gone.
            while (
                left := self._tail.registry.find(one.document, one.number)
            ) and self._tail.registry.reports_of(left):
                await self._tail.changed(1.0)

    async def _move(self, to: Generation, previous: Generation) -> float:
        start = time.perf_counter()
        pointer = Pointer(to.document, to.number, previous.number, SystemClock().now_ms())
        await self._writer.write([encode_record(pointer)])
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (said := self._tail.registry.aliased.get(to.document)) is None or said.number != to.number:
                await self._tail.changed(1.0)
        return time.perf_counter() - start


def paused_edit(shop: Shop) -> float:
    shop.pause()
    return shop.edit()


def _fillers(database: "psycopg.Connection[tuple[object, ...]]", count: int) -> None:
    chance = random.Random(43)  # noqa: S311 - the same articles every time
    for number in range(count):
        body = prose(chance, document(chance, 30))
        database.execute(
            "INSERT INTO articles VALUES (%s, %s, %s, 'filler', 'en', true, now())"
            " ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            [FIRST_FILLER + number, f"Filler {number}", body],
        )


def live_edits(stack: Stack, edits: int, fillers: int) -> dict[str, object]:
    """Both sides have the same articles in the index; only one of them has something to build."""
    idle: list[float] = []
    loaded: list[float] = []
    unloaded = 0
    with (
        psycopg.connect(stack.dsn(), autocommit=True) as database,
        httpx2.Client(base_url=stack.http_url, timeout=60.0, trust_env=False) as client,
    ):
        shop = Shop(database, client)
        try:
            _fillers(database, fillers)
            last = f"/v1/documents/articles/{FIRST_FILLER + fillers - 1}"
            deadline = time.monotonic() + DEADLINE_SECONDS
            while client.get(last).status_code != httpx2.codes.OK and time.monotonic() < deadline:
                time.sleep(LOOK_SECONDS)
            with Reindexes(stack) as reindexes:
                reindexes.level(reindexes.live())
                for _ in range(WARM_UP):
                    shop.edit()
                for turn in range(-(-edits // TURN)):
                    idle += [paused_edit(shop) for _ in range(TURN)]
                    one = reindexes.begin(60 + 7 * (turn % 15))
                    for number in range(TURN):
                        loaded.append(paused_edit(shop))
                        if number % 10 == 9 and not reindexes.busy(one):
                            unloaded += 1
                    reindexes.drop(one)
                one, live = reindexes.begin(150), reindexes.live()
                reindexes.level(one)
                moves = []
                for turn in range(MOVES):
                    shop.edit()
                    to, previous = (live, one) if turn % 2 else (one, live)
                    moves.append(reindexes.move(to, previous))
                reindexes.drop(one)
        finally:
            shop.restore()
            database.execute("DELETE FROM articles WHERE id >= %s", [FIRST_FILLER])
    medians = {"idle": statistics.median(idle), "loaded": statistics.median(loaded)}
    return {
        "edits a side": len(idle),
        "live p50, idle, ms": 1000 * medians["idle"],
        "live p99, idle, ms": 1000 * percentile(idle, 0.99),
        "live p50, reindexing, ms": 1000 * medians["loaded"],
        "live p99, reindexing, ms": 1000 * percentile(loaded, 0.99),
        "live p99, times idle": percentile(loaded, 0.99) / percentile(idle, 0.99),
        "looks that found the reindex at its end": unloaded,
        "promote, longest, ms": 1000 * max(moves),
        "promote, median, ms": 1000 * statistics.median(moves),
    }
