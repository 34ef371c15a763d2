"""Sees a worker that is alive and idle for ever, and ends it for its supervisor to restart.

aiokafka pushes a coordinator error to a poll that Faust never makes; a crashed app lives on inside
a process that embeds it; a rebalance may never end.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from core.errors import TailraceError, TransientError

STEP_SECONDS: Final = 0.5


async def watch(app: Any, busy_since: Callable[[], float | None], stuck_seconds: float) -> None:
    """Runs beside the app. Raises what is wrong; never returns.

    `busy_since`: when the batch in work began (monotonic), None without one or while waiting for
    something that is away.
    """
    rebalancing_since: float | None = None
    while True:
        await asyncio.sleep(STEP_SECONDS)
        now = time.monotonic()
        if app.crashed:
            raise TransientError(f"{app.conf.id}: the Faust app has crashed")
        await _check_coordinator(app)
        rebalancing_since = (rebalancing_since or now) if app.rebalancing else None
        for since, what in ((rebalancing_since, "a rebalance"), (busy_since(), "a batch")):
            if since is not None and now - since > stuck_seconds:
                raise TransientError(f"{app.conf.id}: {what} has not ended for {now - since:.0f} s")


async def _check_coordinator(app: Any) -> None:
    thread = getattr(app.consumer, "_thread", None)
    consumer = getattr(thread, "_consumer", None)
    if thread is None or consumer is None:
        return

    async def check() -> None:
        consumer._coordinator.check_errors()  # noqa: SLF001 - no public way in 0.15.3

    try:
        await thread.call_thread(check)
    except (asyncio.CancelledError, TailraceError):
        raise
    except Exception as error:
        raise TransientError(
            f"{app.conf.id}: the group coordinator refused this worker: {error!r}"
        ) from error
