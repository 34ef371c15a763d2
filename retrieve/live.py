"""The live collection of each document, and the threads in which the blocking index is asked."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, ParamSpec, TypeAlias, TypeVar

from core.clock import Clock, SystemClock
from core.errors import TransientError
from core.topics import alias_name
from embed.index import Collection, Index
from embed.model import Covered

P = ParamSpec("P")
R = TypeVar("R")

THREADS: Final = 2
"""Queries at a time, and as many questions that are encoded. More would only wait: the embedded index
and the encoder use a core each."""

MARKS_AGE: Final = 0.075
"""Seconds for which what an index has covered is taken as read: old marks only say too little."""

Marks: TypeAlias = Mapping[tuple[str, int], Covered]
"""What one collection has covered, by state topic and partition."""


@dataclass(frozen=True, slots=True)
class Live:
    """What a document's alias pointed at when it was resolved."""

    document: str
    collection: Collection

    @property
    def name(self) -> str:
        return self.collection.name


class LiveIndex:
    """Resolves aliases, keeps open collections, and calls them off the event loop.

    `resolve` and `marks` block: run them, and everything on a collection, through `call`; what waits
    for an encoder through `encode`, so that only questions wait for one that takes half a minute.
    """

    def __init__(self, app: str, index: Index, *, threads: int = THREADS, clock: Clock | None = None) -> None:
        self._app, self._index = app, index
        self._clock = clock or SystemClock()
        self._opened: dict[str, Collection] = {}
        self._marks: dict[str, tuple[float, Marks]] = {}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="query")
        self._encoding = ThreadPoolExecutor(threads, thread_name_prefix="encode")

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run in one of the query threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: function(*args, **kwargs))

    async def encode(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run in one of the threads that may wait for an encoder."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._encoding, lambda: function(*args, **kwargs))

    def resolve(self, document: str) -> Live:
        """The live collection now. TransientError while there is none; ConfigurationError if it is gone."""
        name = self._index.alias(alias_name(self._app, document))
        if name is None:
            raise TransientError(
                f"document {document} has no live index yet: a worker makes it when it starts;"
                " start `tailrace worker` if none runs"
            )
        collection = self._opened.get(name)
        if collection is None:
            collection = self._opened[name] = self._index.open(name)
        return Live(document, collection)

    def forget(self, live: Live) -> None:
        """It vanished: open it anew if its name ever comes back."""
        self._opened.pop(live.name, None)
        self._marks.pop(live.name, None)

    def marks(self, live: Live) -> Marks:
        """What this collection has covered, now or up to MARKS_AGE ago."""
        now = self._clock.monotonic()
        known = self._marks.get(live.name)
        if known is None or now - known[0] > MARKS_AGE:
            found = {(mark.topic, mark.partition): mark for mark in live.collection.covered()}
            known = self._marks.get(live.name)
            if known is None or known[0] <= now:  # else another thread's look began later
                self._marks[live.name] = known = (now, found)
        return known[1]

    def close(self) -> None:
        """Wait for running calls, take no more. The index itself stays open: it has another owner."""
        for pool in (self._encoding, self._pool):
            pool.shutdown(wait=True, cancel_futures=True)
