"""From the records of a state topic to the estimate: by a sample of it, or by all of it."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from core.settings import Settings
from embed.encoder import Encoder
from embed.estimate import Estimate, Known, Look, Sample, estimate
from ingest.generations import Frozen, Generation, Registry, Report
from tailrace.adapters import vector_store_path
from tailrace.reindex.estimate import Looker, Seen, Subject
from tailrace.reindex.full_pass import full_pass
from tailrace.reindex.sampling import RECORDS, Layout, Log, laid_out
from tailrace.reindex.stored import StoredTexts

ROWS: Final = 1500
"""Rows of a sample. Lengths of texts vary by about their mean: so many give a mean to some 5 %."""

CUT_SECONDS: Final = 3.5
"""A sample's cutting ends after so long with what it has: the whole plan is to take ten seconds."""

KEYS_SECONDS: Final = 2.0
"""More windows are read for their keys alone where nobody reports the number of documents."""

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
class Counted:
    estimate: Estimate
    looked: Looked
    seen: Seen
    report: Report | None


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

    async def counted(self, *, exact: bool, rows: int, progress: Progress) -> Counted:
        stored = StoredTexts(vector_store_path(self._settings), self._encoder.fingerprint)
        try:
            layout = await laid_out(self._log)
            report = self._report(await self._log.bounds())
            looker = Looker(self._subject, self._encoder, stored)
            sample = await self._sampled(layout, looker, rows, by_keys=report is None and not exact)
            seen, there = looker.seen, stored.there
            if exact and not sample.whole:
                looks, of_all = await full_pass(
                    self._settings, self._subject, self._encoder, self._log, layout, progress
                )
                sample = Sample(looks, len(layout), len(layout), len(layout))
                seen.rows, seen.refused, seen.refusal = of_all.rows, of_all.refused, of_all.refusal
        finally:
            stored.close()
        known = None if report is None else Known(report.documents, report.chunks)
        counted: Basis = (
            "every record" if sample.whole else "the worker's report" if known else "the sample's density"
        )
        looked = Looked(counted, seen.rows, sample.read, sample.of, seen.refused, seen.refusal, there)
        return Counted(estimate(sample, known), looked, seen, report)

    async def _sampled(self, layout: Layout, looker: Looker, rows: int, *, by_keys: bool) -> Sample:
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
        return Sample(looks, at, cut, len(layout))

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
