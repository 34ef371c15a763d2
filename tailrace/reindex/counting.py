"""From the records of a state topic to the estimate: by a sample of it, or by all of it."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from core.settings import Settings
from embed.encoder import Encoder
from embed.estimate import Estimate, Known, Rates, Sample, estimate, record_seconds
from embed.looks import Later, Look
from ingest.agents.batch_sizes import UNDISTURBED_SECONDS, batch_rows
from ingest.generations import Frozen, Generation, Registry, Report
from tailrace.adapters import vector_store_path
from tailrace.reindex.estimate import Looker, Seen, Subject
from tailrace.reindex.full_pass import full_pass
from tailrace.reindex.sampling import RECORDS, Layout, Log, Window, laid_out
from tailrace.reindex.stored import StoredTexts

ROWS: Final = 1500
"""Rows of a sample. Lengths of texts vary by about their mean: so many give a mean to some 5 %."""

CUT_SECONDS: Final = 3.5
"""A sample's cutting ends after so long with what it has: the whole plan is to take ten seconds."""

KEYS_SECONDS: Final = 2.0
"""More windows are read for their keys alone where nobody reports the number of documents."""

LATER_SECONDS: Final = 1.5
"""What follows the windows is read for so long: where that does not do, less is taken to be merged."""

BATCH_LOOKS: Final = 3
"""At how long batches are: longer ones merge more, and what merges makes them longer."""

TOGETHER: Final = 16
"""Windows of one turn, at most."""

LAG: Final = 0.02
"""Share of the topic that a report may lag behind and still be taken for the number of documents."""

Basis: TypeAlias = Literal["every record", "the worker's report", "the sample's density"]
Progress: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Looked:
    """What the estimate rests on."""

    counted: Basis
    """Where the number of documents comes from."""
    rows: int
    windows: int
    of: int
    refused: int
    """Rows looked at that cannot be rendered or cut with the new configuration: they would be parked."""
    refusal: str
    store: bool
    """Whether the vector store could be asked, on this machine."""


@dataclass(frozen=True, slots=True)
class Read:
    """The records that were looked at."""

    sample: Sample
    windows: Sequence[Window]
    """Those of the sample, in its order; none where every record was read."""
    bounds: Mapping[int, tuple[int, int]]
    seen: Seen
    store: bool


@dataclass(frozen=True, slots=True)
class Counted:
    estimate: Estimate
    looked: Looked
    report: Report | None
    batch: int
    """Records that a replay is taken to apply at a time."""


class Counting:
    """From the records to the estimate."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        live: Generation,
        frozen: Frozen,
        encoder: Encoder,
        log: Log,
    ) -> None:
        self._settings, self._registry, self._live = settings, registry, live
        self._encoder, self._log, self._document = encoder, log, live.document
        self._subject = subject(registry, live, frozen)

    async def read(self, *, exact: bool, rows: int, progress: Progress) -> Read:
        stored = StoredTexts(vector_store_path(self._settings), self._encoder.fingerprint)
        try:
            layout = await laid_out(self._log)
            bounds = await self._log.bounds()
            looker = Looker(self._subject, self._encoder, stored)
            by_keys = self._report(bounds) is None and not exact
            sample, windows = await self._sampled(layout, looker, rows, by_keys=by_keys)
            seen, there = looker.seen, stored.there
            if exact and not sample.whole:
                looks, of_all = await full_pass(
                    self._settings, self._subject, self._encoder, self._log, layout, progress
                )
                sample, windows = Sample(looks, len(layout), len(layout), len(layout)), []
                seen.rows, seen.refused, seen.refusal = of_all.rows, of_all.refused, of_all.refusal
        finally:
            stored.close()
        return Read(sample, [] if sample.whole else windows, bounds, seen, there)

    async def counted(self, read: Read, rates: Rates) -> Counted:
        """By the batches that a worker takes in the background at these rates, where no edits come."""
        report = self._report(read.bounds)
        known = None if report is None else Known(report.documents, report.chunks)
        sample, batch = await self._batched(read, rates)
        counted: Basis = (
            "every record" if sample.whole else "the worker's report" if known else "the sample's density"
        )
        seen = read.seen
        looked = Looked(counted, seen.rows, sample.read, sample.of, seen.refused, seen.refusal, read.store)
        made = await asyncio.to_thread(estimate, sample, known, _of_one(batch, read.bounds))
        return Counted(made, looked, report, batch)

    async def _batched(self, read: Read, rates: Rates) -> tuple[Sample, int]:
        """The sample with what follows its windows, and the records of a batch."""
        usual = self._settings.ingest.index_batch_records
        sample, batch = read.sample, 1
        until = time.monotonic() + LATER_SECONDS
        for _ in range(BATCH_LOOKS):
            before, wide = batch, _of_one(batch, read.bounds)
            batch = usual
            if rates.token is not None or not any(look.needed for look in sample.looks):
                each = await asyncio.to_thread(record_seconds, sample, rates, wide)
                batch = max(batch_rows(1 / max(each, 1e-6), UNDISTURBED_SECONDS, usual), before)
            if batch == before:
                break
            later = await self._later(read, _of_one(batch, read.bounds), until)
            sample = replace(sample, later=[*sample.later, *later])
        return sample, batch

    async def _later(self, read: Read, batch: int, until: float) -> list[Later]:
        """What follows the windows that were cut, as far as a batch reaches that begins in them.

        Of fewer windows past `until` (monotonic).
        """
        wanted: list[Window] = []
        for one in read.windows[: read.sample.cut]:
            end = min(one.end + batch - 1, read.bounds[one.partition][1])
            if end > one.end:
                wanted.append(Window(one.partition, one.end, end))
        found: list[Later] = []
        for at in range(0, len(wanted), TOGETHER):
            if time.monotonic() > until:
                break
            for records in await self._log.read(wanted[at : at + TOGETHER]):
                found += [
                    Later(raw.partition, raw.offset, raw.key)
                    for raw in records
                    if raw.key is not None and raw.value is not None
                ]
        return found

    async def _sampled(
        self, layout: Layout, looker: Looker, rows: int, *, by_keys: bool
    ) -> tuple[Sample, list[Window]]:
        windows = layout.drawn(random.Random(len(layout)))  # noqa: S311 - the same topic, the same answer
        looks: list[Look] = []
        began, cut, at = time.monotonic(), 0, 0
        while at < len(windows):
            cutting = at == cut and looker.seen.rows < rows and time.monotonic() - began < CUT_SECONDS
            if not cutting and (not by_keys or time.monotonic() - began > CUT_SECONDS + KEYS_SECONDS):
                break
            wanted = min(TOGETHER, -(-(rows - looker.seen.rows) // RECORDS)) if cutting else TOGETHER
            some = windows[at : at + wanted]
            for number, records in enumerate(await self._log.read(some), start=at):
                looks += looker.look(records, number, cut=cutting)
            at += len(some)
            cut = at if cutting else cut
        return Sample(looks, at, cut, len(layout)), windows

    def _report(self, bounds: Mapping[int, tuple[int, int]]) -> Report | None:
        """The newest one of the live generation, if it speaks of the whole of it."""
        if self._subject.live is None:
            return None
        reports = [one for one in self._registry.reports_of(self._live) if one.documents]
        if not reports:
            return None
        covered: dict[int, int] = {}
        for one in reports:
            for partition, offset in one.offsets.items():
                covered[partition] = max(offset, covered.get(partition, 0))
        behind = sum(max(0, end - covered.get(n, start)) for n, (start, end) in bounds.items())
        total = sum(end - start for start, end in bounds.values())
        return max(reports, key=lambda one: one.at) if behind <= LAG * total else None


def subject(registry: Registry, live: Generation, new: Frozen) -> Subject:
    """What is compared: the live generation, and all whose vectors the new one may take."""
    table = new.document.table
    donors = tuple(
        one.frozen.document
        for one in registry.of(live.document)
        if one.status == "running"
        and one.frozen.fingerprint == new.fingerprint
        and one.frozen.document.table == table
    )
    before = live.frozen.document if live.frozen.document.table == table else None
    return Subject(live.document, new.document, before, donors)


def _of_one(batch: int, bounds: Mapping[int, tuple[int, int]]) -> int:
    """Of so many records those of one partition: a worker takes them from all in turn."""
    sizes = [end - start for start, end in bounds.values()]
    part = sum(size**2 for size in sizes) / max(sum(sizes) ** 2, 1)
    return max(1, round(batch * part))
