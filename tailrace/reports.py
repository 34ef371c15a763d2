"""What this process has done for each generation, written down now and then for whoever asks."""

import asyncio
import socket
from dataclasses import replace
from pathlib import Path
from typing import Final
from uuid import uuid4

from core.clock import Clock
from core.errors import ConfigurationError
from core.settings import EdgeIndex, Settings
from ingest.generations import Report, encode_record
from ingest.registry import RegistryTail, RegistryWriter
from ingest.worker import Following, Worker

AT_LEAST_SECONDS: Final = 30.0
"""Between two reports whatever happens, also as a sign of life."""


class Reporter:
    """Reports of one worker process. Its name is new with each start: counters begin at 0 with it."""

    def __init__(self, settings: Settings, tail: RegistryTail, worker: Worker, clock: Clock) -> None:
        self._settings, self._tail, self._worker, self._clock = settings, tail, worker, clock
        self._name = f"{settings.ingest.instance or socket.gethostname()}-{uuid4().hex[:8]}"
        self._reported: dict[tuple[str, int], Report] = {}
        self.refused: dict[tuple[str, int], str] = {}
        """Generations that cannot be followed here, and why."""

    async def write(self, writer: RegistryWriter, *, last: bool = False) -> None:
        """What is due; `last`: whatever has changed. Raises TransientError if index or broker is away."""
        registry, now = self._tail.registry, self._clock.now_ms()
        following = self._worker.following()
        made: list[Report] = []
        for one in registry.running():
            key = (one.document, one.number)
            known = self._reported.get(key)
            age = now - known.at if known is not None else AT_LEAST_SECONDS * 1000
            several = len([other for other in registry.of(one.document) if other.status == "running"]) > 1
            if not last and age < AT_LEAST_SECONDS * 1000 and not several:
                continue
            if (found := following.get(key)) is not None:
                report = await asyncio.to_thread(self._seen, found, now)
            elif key in self.refused:
                report = Report(one.document, one.number, self._name, now, waiting=self.refused[key])
            else:
                continue
            if known != replace(report, at=known.at if known else 0) or age >= AT_LEAST_SECONDS * 1000:
                made.append(report)
        await writer.write([encode_record(report) for report in made])
        self._reported |= {(report.document, report.number): report for report in made}

    def _seen(self, found: Following, now: int) -> Report:
        """Blocking. A collection that was dropped meanwhile counts for nothing."""
        indexer, spent = found.indexer, found.indexer.spent
        report = Report(
            indexer.document,
            indexer.generation,
            self._name,
            now,
            embedded=spent.texts,
            reused=found.done.reused,
            tokens=spent.tokens,
            encoding_ms=int(spent.seconds * 1000),
            rows=found.done.rows,
            waiting=found.waiting,
        )
        try:
            counts, covered = indexer.collection.counts(), indexer.collection.covered()
        except ConfigurationError:
            return report
        offsets = {
            mark.partition: mark.offset
            for mark in covered
            if mark.topic == indexer.topic and mark.partition in found.partitions
        }
        return replace(
            report,
            documents=counts.documents,
            chunks=counts.chunks,
            bytes=self._bytes(indexer.collection.name),
            offsets=offsets,
        )

    def _bytes(self, collection: str) -> int | None:
        if not isinstance(self._settings.index, EdgeIndex):
            return None
        return _allocated(self._settings.index.path / "collections" / collection)


def _allocated(folder: Path) -> int:
    """Bytes on the disk: the index allocates files that it fills later."""
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_blocks * 512
        except OSError:  # it is being rewritten
            continue
    return total
