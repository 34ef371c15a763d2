"""What one batch of state records says, and how far it brings a generation. Pure, but for reading marks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.errors import PermanentError
from core.state import Progress, Removed, StateRow, Truncate, decode_state
from embed.index import Collection
from embed.model import Covered
from ingest.dead_letters import DeadLetter
from ingest.record import RawRecord


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
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._generation: int | None = None
        self._progress: dict[int, Progress] = {}
        self._next: dict[int, int] = {}
        self.passed_over = False
        """Whether records may have been compacted away before they were read. Whoever cures it resets it."""

    def begin(self, batch: Batch, collection: Collection) -> None:
        """Before a batch is applied, and again where it has to be."""
        if batch.generation != self._generation:
            marks = [mark for mark in collection.covered() if mark.topic == self._topic]
            self._progress = {
                mark.partition: Progress(mark.version, mark.position, mark.committed_at) for mark in marks
            }
            self._next = {mark.partition: mark.offset for mark in marks}
            self._generation = batch.generation
        self.passed_over |= passes_over(self._next, batch)
        self._next |= batch.next_offset

    def marks(self, batch: Batch) -> list[Covered]:
        """What is covered once the batch is applied. A lower progress never replaces a higher."""
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
