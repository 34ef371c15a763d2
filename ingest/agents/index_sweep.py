"""What crashes, errors and compaction have left in a collection, dropped beside its agent's batches.

In the agent's own thread, so never beside a batch, and page by page with as long a rest after each.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from core.errors import ConfigurationError, TransientError
from core.retry import Backoff
from core.telemetry import logger
from embed.index import Collection
from embed.strays import StraySweep, UnownedSweep
from ingest.agents.index_batch import Coverage
from ingest.agents.orphans import OrphanSweep, StateRows

if TYPE_CHECKING:
    from ingest.agents.index_agent import Indexer

log = logger(__name__)

EARLY_SECONDS: Final = 1.0
"""Between two looks at whether it is time to sweep."""

FIRST_WAIT, LONGEST_WAIT = 0.2, 10.0

R = TypeVar("R")


class Sweeps:
    """Of one agent. `to_wait_for` gives what may pass, None where the generation is gone, and raises else."""

    def __init__(
        self,
        indexer: "Indexer",
        thread: Executor,
        coverage: Coverage,
        rows: StateRows | None,
        to_wait_for: Callable[[TransientError | ConfigurationError], Awaitable[TransientError | None]],
        stops: Callable[[], bool],
    ) -> None:
        self._indexer, self._thread, self._coverage = indexer, thread, coverage
        self._rows, self._to_wait_for, self._stops = rows, to_wait_for, stops
        self._gone = False
        self._waits: dict[Callable[[], Awaitable[bool | None]], str] = {}
        self._unfinished = False
        self._begun: dict[int, int] = {}
        self.swept: bool | None = None
        """Whether a sweep has found all that was left before it began; None: nobody has looked."""

    @property
    def last_error(self) -> str | None:
        """What a sweep waits for."""
        return next(iter(self._waits.values()), None)

    def see_first(self, collection: Collection) -> None:
        """Before a batch: in an empty collection nothing can have been left. Blocking."""
        if self.swept is None:
            self.swept = not collection.counts().chunks

    @contextmanager
    def batch(self, ends: Mapping[int, int]) -> Iterator[None]:
        """Around each try of a batch, which is to cover up to `ends`: if it breaks off, another has to."""
        for partition, end in ends.items():
            self._begun[partition] = max(end, self._begun.get(partition, 0))
        self._unfinished = True
        yield
        self._unfinished = False

    def let_go(self) -> None:
        """The batch is over: done, or left to whoever has the partition by now."""
        self._unfinished = False

    async def strays(self, ends: Mapping[int, int]) -> None:
        """For as long as the agent runs: drop what was written and is not listed.

        At a start all of it, and later what errors have left behind: nothing else would find that.
        """
        await self.drop_strays(ends)
        while not self._gone:
            await self.settle()
            await asyncio.sleep(EARLY_SECONDS)

    async def drop_strays(self, ends: Mapping[int, int]) -> None:
        """Where any can have been left, when everything below `ends` is covered; returns when it is done.

        Not earlier: what was half written is written again first, and then the manifest knows it.
        """
        strays = StraySweep(self._indexer.collection)
        await self._paged(lambda: self._do(self._drop_strays, strays, ends))
        found = strays.found
        if strays.unowned and self._rows is not None and not self._gone:
            found += await self._drop_unowned(strays, self._rows)
        if found:
            log.info("dropped passages that a crash had left", document=self._indexer.document, chunks=found)

    async def settle(self) -> None:
        """Drop what errors have left, if any, once whoever has the partitions by now has come by."""
        await self._paged(lambda: self._do(self._settle))

    async def _drop_unowned(self, strays: StraySweep, rows: StateRows) -> int:
        sweep: UnownedSweep | None = None

        async def page() -> bool | None:
            nonlocal sweep
            if sweep is None:
                await rows.caught_up()  # with the row of a first write that is under way
                indexer = self._indexer
                sweep = UnownedSweep(indexer.document, indexer.collection, rows.table.keys(), strays.unowned)
            return await self._do(self._in_turn, sweep.step)

        await self._paged(page)
        return sweep.found if sweep is not None else 0

    async def orphans(self) -> None:
        """For as long as the agent runs: drop documents whose row is gone, where no record told of it.

        At a start, which does not know what the one before it passed over, and whenever records may have
        been compacted away unread; each time once everything is covered that stood there by then.
        """
        rows, due = self._rows, True
        while rows is not None and not self._gone:
            if due or self._coverage.passed_over:
                await self._drop_orphans(rows)
                due = False
            await asyncio.sleep(EARLY_SECONDS)

    async def _drop_orphans(self, rows: StateRows) -> None:
        indexer, ends = self._indexer, dict(rows.ends())
        sweep = OrphanSweep(indexer.pipeline, indexer.collection, rows.table)

        async def page() -> bool | None:
            found = await self._do(self._look, sweep, ends)
            if found is None:
                return None
            if found:  # the manifest may be of a record that is not read yet
                await rows.caught_up()
            return await self._do(sweep.remove)

        await self._paged(page)
        if sweep.found:
            log.warning(
                "dropped documents whose rows were deleted while it was behind",
                document=indexer.document,
                generation=indexer.generation,
                documents=sweep.found,
            )

    async def _paged(self, page: Callable[[], Awaitable[bool | None]]) -> None:
        """Page by page to the last (True); None: too early. Batches come in between: it rests as long."""
        backoff = Backoff(first=FIRST_WAIT, most=LONGEST_WAIT)
        while not self._gone:
            began = time.monotonic()
            try:
                last = await page()
            except (TransientError, ConfigurationError) as error:
                passing = await self._to_wait_for(error)
                if passing is None:
                    self._gone = True
                    return
                self._waits[page] = str(passing)
                log.warning("waiting to sweep", document=self._indexer.document, why=str(passing))
                await backoff.wait(passing.retry_after)
            else:
                self._waits.pop(page, None)
                if last:
                    return
                backoff.reset()
                await asyncio.sleep(EARLY_SECONDS if last is None else time.monotonic() - began)

    def _drop_strays(self, strays: StraySweep, ends: Mapping[int, int]) -> bool | None:
        """One page. Blocking, in the agent's thread: never beside a batch."""
        if not strays.begun:
            if self.swept:
                return True
            if self._unfinished or not self._reached(ends):
                return None
        self.swept = self._in_turn(strays.step)
        return self.swept

    def _settle(self) -> bool | None:
        """As `_drop_strays`."""
        unsettled = self._indexer.pipeline.unsettled
        if not unsettled:
            return True
        if self._unfinished or not self._reached(self._begun):
            return None
        return self._in_turn(unsettled.settle)

    def _in_turn(self, step: Callable[[], R]) -> R:
        with self._indexer.turns.batch(lambda: not self._stops()):
            done = step()
            self._indexer.turns.give_way()
        return done

    def _look(self, sweep: OrphanSweep, ends: Mapping[int, int]) -> bool | None:
        """As `_drop_strays`; whether there are any to look at in the page."""
        if not sweep.begun:
            counts = self._indexer.collection.counts()
            if (counts.documents or counts.chunks) and not self._reached(ends):
                return None
            self._coverage.passed_over = False
        return self._in_turn(sweep.look)

    def _reached(self, ends: Mapping[int, int]) -> bool:
        marks = {mark.partition: mark.offset for mark in self._indexer.collection.covered()}
        return all(marks.get(partition, 0) >= end for partition, end in ends.items())

    async def _do(self, work: Callable[..., R], *arguments: Any) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
