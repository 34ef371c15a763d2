"""What one batch of state records says, and how far it brings a generation. Pure, but for its marks."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from core.errors import FencedError, PermanentError
from core.state import Progress, Removed, StateRow, Truncate, decode_state
from embed.index import Collection
from embed.model import Covered
from ingest.dead_letters import DeadLetter
from ingest.older_index import Group, gaps, older
from ingest.record import RawRecord

READS, READ_SECONDS = 5, 0.2
"""Looks at an index, before it is believed that it has gone back."""

AGAIN: Final = "Nothing was acknowledged; start the worker again, and it is read again"
ANOTHER: Final = "It knows nothing of that partition by now: build another, `tailrace reindex start`"


@dataclass(slots=True)
class Batch:
    """The decoded records of one batch: newest row of each key, and the rest in order."""

    generation: int
    """Of the group, when they were fetched."""
    rows: dict[bytes, tuple[StateRow, RawRecord]] = field(default_factory=dict)
    truncates: dict[int, Truncate] = field(default_factory=dict)
    """By partition, like the next four."""
    removed: list[tuple[int, Removed]] = field(default_factory=list)
    progress: dict[int, Progress] = field(default_factory=dict)
    first_offset: dict[int, int] = field(default_factory=dict)
    next_offset: dict[int, int] = field(default_factory=dict)
    holes: bool = False
    """Whether an offset is missing among them."""
    letters: list[DeadLetter] = field(default_factory=list)


def read_batch(events: Sequence[Any]) -> Batch:
    """Of the messages of these events, in their order. Raises ConfigurationError for a newer format."""
    read = Batch(events[-1].message.generation_id)
    for event in events:
        message = event.message
        partition = message.partition
        record = RawRecord(message.topic, partition, message.offset, 0, message.key, message.value)
        read.holes |= message.offset > read.next_offset.get(partition, message.offset)
        read.first_offset.setdefault(partition, message.offset)
        read.next_offset[partition] = message.offset + 1
        try:
            found = decode_state(message.key, message.value, dict(message.headers or {}))
        except PermanentError as error:
            read.letters.append(DeadLetter(record, "index", error))
            continue
        match found:
            case StateRow():
                known = read.rows.get(message.key)
                if known is None or found.version >= known[0].version:
                    read.rows[message.key] = (found, record)
            case Truncate():
                truncate = read.truncates.get(partition)
                if truncate is None or found.version >= truncate.version:
                    read.truncates[partition] = found
            case Progress():
                newest = read.progress.get(partition)
                if newest is None or found.version >= newest.version:
                    read.progress[partition] = found
            case Removed():
                read.removed.append((partition, found))
    return read


def passes_over(expected: Mapping[int, int], batch: Batch) -> bool:
    """Whether an offset is missing before or in this batch. `expected`: the next one, by partition.

    Nothing but compaction leaves out offsets, so nothing can have been missed where none is missing: a
    generation that keeps up meets every record, one that was away for longer than records are kept does not.
    """
    begins = batch.first_offset.items()
    return batch.holes or any(first > expected.get(partition, first) for partition, first in begins)


class Coverage:
    """How far one generation has come, by partition of its state topic. For one thread.

    It goes on from what the index says at each generation of the group: another worker may have had the
    partition meanwhile.

    Where the index holds less than it did, it was put back from a copy while workers run: FencedError, for
    the next batch would cover what is missing, and only a start has it read again.
    """

    def __init__(self, topic: str, group: Group | None = None) -> None:
        self._topic, self._group = topic, group
        self._stored: dict[int, Covered] = {}
        self._generation: int | None = None
        self._progress: dict[int, Progress] = {}
        self._next: dict[int, int] = {}
        self.passed_over = False
        """Whether records may have been compacted away before they were read. Whoever cures it resets it."""

    def begin(self, batch: Batch, collection: Collection) -> None:
        """Before a batch is applied, and again where it has to be."""
        if batch.generation != self._generation:
            if self._group is not None:
                group, committed = self._group, self._group.committed()
                _hold(lambda: self._missing(collection, group, committed))
            marks = self._stored_in(collection)
            self._progress = {
                mark.partition: Progress(mark.version, mark.position, mark.committed_at) for mark in marks
            }
            self._next = {mark.partition: mark.offset for mark in marks}
            self._generation = batch.generation
        self.passed_over |= passes_over(self._next, batch)
        self._next |= batch.next_offset

    def cover(self, batch: Batch, collection: Collection) -> None:
        """Once it is applied, and before the index is flushed."""
        _hold(lambda: self._lost(collection))
        marks = self._marks(batch)
        collection.cover(marks)
        self._stored |= {mark.partition: mark for mark in marks}

    def _stored_in(self, collection: Collection) -> list[Covered]:
        return [mark for mark in collection.covered() if mark.topic == self._topic]

    def _missing(self, collection: Collection, group: Group, committed: Mapping[int, int]) -> str | None:
        """What the index lacks of what any worker has acknowledged."""
        missing = gaps(committed, self._stored_in(collection), self._topic)
        if not missing:
            return None
        return (
            f"{older(collection.name, group.name, self._topic, missing)}. Nothing was acknowledged; {AGAIN}"
        )

    def _lost(self, collection: Collection) -> str | None:
        """What the index lacks of what this process has covered."""
        reached = {mark.partition: mark.reach for mark in self._stored_in(collection)}
        for one in self._stored.values():
            if one.partition in reached and reached[one.partition] >= one.reach:
                continue
            cure = AGAIN if one.partition in reached else ANOTHER
            return (
                f"the index {collection.name} no longer holds what this process wrote, as if put back from a"
                f" copy: it had covered {one.topic}/{one.partition} up to {one.offset}. {cure}"
            )
        return None

    def _marks(self, batch: Batch) -> list[Covered]:
        """A lower progress never replaces a higher."""
        for partition, found in batch.progress.items():
            known = self._progress.get(partition)
            if known is None or found.version >= known.version:
                self._progress[partition] = found
        return [
            Covered(
                self._topic, partition, offset, progress.version, progress.position, progress.committed_at
            )
            for partition, offset in batch.next_offset.items()
            if (progress := self._progress.get(partition)) is not None
        ]


def _hold(look: Callable[[], str | None]) -> None:
    """Raises FencedError for what is found wrong again and again: a replica may be behind for a moment."""
    for again in range(READS):
        if again:
            time.sleep(READ_SECONDS)
        what = look()
        if what is None:
            return
    raise FencedError(what)
