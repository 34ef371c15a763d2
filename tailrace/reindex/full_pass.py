"""Every record of a state topic, looked at by as many processes as there are cores."""

import asyncio
import os
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Final, TypeAlias

from core.errors import TransientError
from core.settings import EncoderSettings, Settings
from embed.encoder import Encoder
from embed.looks import Look
from tailrace.adapters import load_encoders, vector_store_path
from tailrace.reindex.estimate import Looker, Seen, Subject
from tailrace.reindex.sampling import Layout, Log, Raw, Window
from tailrace.reindex.stored import StoredTexts

TASK: Final = 8
"""Windows of one task: some milliseconds of sending for some hundred of work."""

WAITING: Final = 4
"""Tasks for each process that wait: what is read ahead is kept in memory."""

ALONE: Final = 4000
"""Records up to which one process is done sooner than others have started."""


Records: TypeAlias = list[tuple[int, list[Raw]]]
"""By number of their window, whole windows only."""

Told: TypeAlias = tuple[list[Look], Seen]


async def full_pass(
    settings: Settings,
    subject: Subject,
    encoder: Encoder,
    log: Log,
    layout: Layout,
    progress: Callable[[int, int], None],
) -> Told:
    """Looks at everything that stood in the topic when the windows were laid out."""
    windows = layout.all()
    every = sum(one.end - one.start for one in windows)
    store = vector_store_path(settings)
    looks: list[Look] = []
    if every <= ALONE:
        looker = Looker(subject, encoder, StoredTexts(store, encoder.fingerprint))
        async for task in _tasks(log, windows):
            looks += _looked(looker, task)
        return looks, looker.seen
    seen, done, processes = Seen(), 0, _cores()
    pending: deque[tuple[int, Future[Told]]] = deque()
    pool = ProcessPoolExecutor(
        processes,
        mp_context=get_context("spawn"),  # threads of the clients do not survive a fork
        initializer=_begin,
        initargs=(settings.encoder, subject, store),
    )
    try:
        async for task in _tasks(log, windows):
            size = sum(windows[number].end - windows[number].start for number, _ in task)
            pending.append((size, pool.submit(_look, task)))
            while len(pending) >= WAITING * processes:
                done += await _taken(pending, looks, seen)
                progress(done, every)
        while pending:
            done += await _taken(pending, looks, seen)
            progress(done, every)
    except BrokenProcessPool as error:
        raise TransientError(
            "a process of the pass over every record was ended from outside, as where memory runs out:"
            " ask again, or without --exact"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
    progress(every, every)
    return looks, seen


async def _taken(pending: deque[tuple[int, Future[Told]]], looks: list[Look], seen: Seen) -> int:
    """Wait for the oldest task; how many offsets it was about."""
    size, future = pending.popleft()
    made, of_it = await asyncio.wrap_future(future)
    looks += made
    seen.add(of_it)
    return size


async def _tasks(log: Log, windows: Sequence[Window]) -> AsyncIterator[Records]:
    """The log in pieces of some windows. `windows` are all of it, in order."""
    first: dict[int, int] = {}
    starts: dict[int, list[int]] = {}
    ends: dict[int, int] = {}
    for number, one in enumerate(windows):
        first.setdefault(one.partition, number)
        starts.setdefault(one.partition, []).append(one.start)
        ends[one.partition] = one.end
    whole = [Window(partition, starts[partition][0], end) for partition, end in ends.items()]
    begun: dict[int, tuple[int, list[Raw]]] = {}
    ready: Records = []
    async for records in log.follow(whole):
        for record in records:
            partition = record.partition
            number = first[partition] + bisect_right(starts[partition], record.offset) - 1
            held = begun.get(partition)
            if held is None or held[0] != number:
                if held is not None:
                    ready.append(held)
                held = begun[partition] = (number, [])
            held[1].append(record)
        while len(ready) >= TASK:
            yield ready[:TASK]
            del ready[:TASK]
    ready += begun.values()
    for at in range(0, len(ready), TASK):
        yield ready[at : at + TASK]


_looker: Looker | None = None
"""Of this process."""


def _begin(encoder: EncoderSettings, subject: Subject, store: Path | None) -> None:
    global _looker  # noqa: PLW0603 - what an initializer of a pool is for
    made = load_encoders(encoder).document
    _looker = Looker(subject, made, StoredTexts(store, made.fingerprint))


def _look(task: Records) -> Told:
    if _looker is None:
        raise RuntimeError("the process was not made ready")
    _looker.seen = Seen()
    return _looked(_looker, task), _looker.seen.told()


def _looked(looker: Looker, task: Records) -> list[Look]:
    return [look for number, records in task for look in looker.look(records, number, cut=True)]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
