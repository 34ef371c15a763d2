"""Batches straight off a Faust agent's queue, with manual acks in order.

Faust's own `take()` acknowledges in a `finally` and so loses a batch on any error; its stream
iterator costs a turn of the event loop an event. This leans on attributes that faust-streaming
0.15.3 does not publish; tests/contract/test_faust_rules.py holds each of them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any


def batches(app: Any, stream: Any, most: int, within: float) -> AsyncIterator[list[Any]]:
    """Up to `most` events; what is queued goes at once, a first event waits `within` seconds for more.

    Acknowledges nothing. Events fetched before a rebalance are dropped: their new owner reads them.
    """
    return sized_batches(app, stream, lambda: (most, within))


async def sized_batches(
    app: Any, stream: Any, sizes: Callable[[], tuple[int, float]]
) -> AsyncIterator[list[Any]]:
    """The same; `sizes` is asked for both as each batch begins."""
    drainer = _Drainer(app, stream.channel.queue)
    while not stream.should_stop:
        try:
            batch = await drainer.batch(sizes)
        except StopAsyncIteration:  # how Faust cancels an actor
            return
        if batch:
            yield batch


class _Drainer:
    """One agent's queue."""

    def __init__(self, app: Any, queue: Any) -> None:
        self._app, self._queue = app, queue

    async def batch(self, sizes: Callable[[], tuple[int, float]]) -> list[Any]:
        loop = asyncio.get_running_loop()
        batch = [event] if self._take(event := await self._queue.get()) else []
        most, within = sizes()
        deadline = loop.time() + within
        while len(batch) < most:
            left = deadline - loop.time()
            if not self._queue.empty():
                event = self._queue.get_nowait()
            elif batch and left > 0:
                try:
                    event = await asyncio.wait_for(self._queue.get(), left)
                except TimeoutError:
                    break
            else:
                break
            if self._take(event):
                batch.append(event)
        return batch

    def _take(self, event: Any) -> bool:
        """Whether the event is of the generation that we own; it is tracked from then on."""
        app, message = self._app, event.message
        if not app.flow_control.is_active() or message.generation_id != app.consumer_generation_id:
            return False
        if not message.tracked:
            message.tracked = True
            app.consumer.track_message(message)  # so that shutdown and rebalance wait for it
        return True


def ack(app: Any, batch: list[Any]) -> None:
    """Acknowledge a batch, in order. Only after all its effects are durable."""
    for event in batch:
        event.message.ack(app.consumer)


def release(app: Any, batch: list[Any]) -> None:
    """Drop a batch for its next owner. Without this a revocation waits for it, and the worker hangs."""
    for event in batch:
        app.consumer._unacked_messages.discard(event.message)  # noqa: SLF001 - no public way in 0.15.3


def still_owner(app: Any, generation: int) -> bool:
    """No rebalance has happened since the batch of this generation was fetched."""
    return bool(app.consumer_generation_id == generation and app.flow_control.is_active())


def assigned_generation(app: Any, topic: str) -> int | None:
    """The group's generation in which partition 0 of this topic is this worker's; None if it is not.

    A partition may be assigned for days without any record.
    """
    if not app.flow_control.is_active() or (topic, 0) not in app.consumer.assignment():
        return None
    return int(app.consumer_generation_id)
