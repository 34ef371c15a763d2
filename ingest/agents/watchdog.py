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


async def watch(
    app: Any,
    busy_since: Callable[[], float | None],
    waits: Callable[[], bool],
    stuck_seconds: float,
) -> None:
    """Runs beside the app. Raises what is wrong; never returns.

    `busy_since`: when the batch in work began (monotonic), None without one. `waits`: whether the
    agent waits for something that is away, and rightly stands still.
    """
    rebalancing_since: float | None = None
    standing: tuple[object, ...] = ()
    standing_since = time.monotonic()
    while True:
        await asyncio.sleep(STEP_SECONDS)
        now = time.monotonic()
        if app.crashed:
            raise TransientError(f"{app.conf.id}: the Faust app has crashed")
        await _check_coordinator(app)
        rebalancing_since = (rebalancing_since or now) if app.rebalancing else None
        place = _behind(app)
        if not place or waits() or place != standing:
            standing, standing_since = place, now
        for since, what in (
            (rebalancing_since, "a rebalance has not ended"),
            (busy_since(), "a batch has not ended"),
            (standing_since if place else None, "records wait, and none was taken or finished"),
        ):
            if since is not None and now - since > stuck_seconds:
                raise TransientError(f"{app.conf.id}: {what} for {now - since:.0f} s")


def _behind(app: Any) -> tuple[object, ...]:
    """Where the app stands in the partitions that have more to read; nothing if all are read.

    By what was read and what was acknowledged: a full queue stops the one, a long batch the other.
    """
    consumer = getattr(getattr(app.consumer, "_thread", None), "_consumer", None)
    subscription = consumer and consumer._subscription.subscription  # noqa: SLF001 - no public way in 0.14
    assignment = subscription and subscription.assignment
    if not assignment:
        return ()
    places: list[object] = []
    for tp in assignment.tps:
        state = assignment.state_value(tp)
        position = state._position  # noqa: SLF001 - the public one asserts, and another thread may reset it
        if position is not None and state.highwater is not None and position < state.highwater:
            places.append((tp, position))
    return (*places, app.consumer._n_acked) if places else ()  # noqa: SLF001 - no public way in 0.15.3


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
