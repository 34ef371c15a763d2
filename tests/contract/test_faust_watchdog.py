"""What the watchdog sees of Faust: a refusal, records that nobody takes, and work that is only slow."""

import asyncio
from typing import Any

import pytest

from core.errors import TransientError
from ingest.agents.drainer import ack, batches
from ingest.agents.watchdog import watch
from tests.contract.faust_world import DEADLINE_SECONDS, app_on, eventually, fill, log_of, values

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def test_a_coordinators_refusal_reaches_the_watchdog() -> None:
    async def test(brokers: list[str]) -> None:
        async def body(app: Any, stream: Any) -> None:
            async for batch in batches(app, stream, 10, 0.001):
                ack(app, batch)

        async with app_on(brokers, body) as app:
            seeing = asyncio.create_task(watch(app, lambda: None, lambda: False, 60.0))
            await eventually(lambda: bool(app.consumer.assignment()), "the assignment")
            app.consumer._thread._consumer._coordinator._pending_exception = RuntimeError("refused")
            with pytest.raises(TransientError, match="refused"):
                await asyncio.wait_for(seeing, DEADLINE_SECONDS)

    with log_of() as brokers:
        asyncio.run(test(brokers))


def test_records_that_nobody_takes_are_seen_by_the_watchdog_unless_it_waits_rightly() -> None:
    async def test(brokers: list[str]) -> None:
        async def body(app: Any, stream: Any) -> None:
            await asyncio.Event().wait()

        rightly = True
        async with app_on(brokers, body) as app:
            await eventually(lambda: bool(app.consumer.assignment()), "the assignment")
            await fill(brokers, values(20_000))
            seeing = asyncio.create_task(watch(app, lambda: None, lambda: rightly, 1.0))
            done, _ = await asyncio.wait({seeing}, timeout=3)
            assert not done
            rightly = False
            with pytest.raises(TransientError, match="records wait"):
                await asyncio.wait_for(seeing, DEADLINE_SECONDS)

    with log_of() as brokers:
        asyncio.run(test(brokers))


def test_an_idle_worker_and_a_busy_one_are_not_stuck() -> None:
    async def test(brokers: list[str]) -> None:
        got = 0

        async def body(app: Any, stream: Any) -> None:
            nonlocal got
            async for batch in batches(app, stream, 500, 0.001):
                await asyncio.sleep(0.1)
                got += len(batch)
                ack(app, batch)

        async with app_on(brokers, body) as app:
            seeing = asyncio.create_task(watch(app, lambda: None, lambda: False, 1.5))
            await fill(brokers, values(10_000))
            await eventually(lambda: got == 10_000 or seeing.done(), "all records")
            done, _ = await asyncio.wait({seeing}, timeout=2)
            assert not done
            seeing.cancel()

    with log_of() as brokers:
        asyncio.run(test(brokers))
