"""What is known of each raw topic, and whether it is still the one we know.

A topic made anew, a log trimmed below our offset, a state topic that vanished: each would lose
rows without any error. The worker compares what `<app>.sources` remembers with what it finds,
and stops, naming the command, rather than index a part of the truth.
"""

from dataclasses import dataclass, replace
from typing import Final

import msgspec

from core.errors import ConfigurationError

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """Identity of one raw topic. `server` and `timeline` are the database's, "" and 0 where unknown."""

    topic: str
    topic_id: str
    partitions: int
    epoch: int
    server: str = ""
    timeline: int = 0
    resyncing: bool = False
    """A new epoch was begun and is not complete: no worker may read the topic."""


@dataclass(frozen=True, slots=True)
class Observed:
    """The raw topic and what was made of it, as found at start."""

    topic: str
    topic_id: str
    partitions: int
    start: int
    end: int
    committed: int | None
    state_empty: bool
    server: str = ""
    timeline: int = 0


def doubt(known: SourceRecord | None, found: Observed) -> str | None:
    """What cannot be told from here and need not stop a worker; None if there is nothing of the kind.

    A failover that keeps the slot goes on in the same line of positions, with a higher timeline. After a
    restore the slot is gone, and the connector stops; if its positions go back all the same, the replay
    guard stops the worker.
    """
    if known is None or not 0 < known.timeline < found.timeline:
        return None
    return f"the database was failed over or restored (timeline {known.timeline}, now {found.timeline})"


def settle(known: SourceRecord | None, found: Observed) -> SourceRecord:
    """The record to go on with: the known one, with what is known of its database by now, or a first one.

    Raises ConfigurationError that names `tailrace resync` where going on would lose rows.
    """
    wrong = "a resync was interrupted" if known is not None and known.resyncing else _wrong(known, found)
    if wrong is not None:
        raise ConfigurationError(
            f"{found.topic}: {wrong}. Rows would be missing or come back from the dead."
            f" Run `tailrace resync {found.topic}`: it opens a new epoch and reads the topic again"
        )
    if known is not None:
        newest = max(known.timeline, found.timeline)
        return replace(known, server=known.server or found.server, timeline=newest)
    return SourceRecord(found.topic, found.topic_id, found.partitions, 0, found.server, found.timeline)


def resynced(known: SourceRecord | None, found: Observed, written: int) -> SourceRecord:
    """The record of a new epoch, whatever was found. `written`: the newest of which the state topic tells.

    Where the sources topic was lost only that is known: an epoch that was there before outranks nothing.
    """
    epoch = max(known.epoch if known is not None else 0, written) + 1
    return SourceRecord(found.topic, found.topic_id, found.partitions, epoch, found.server, found.timeline)


def _wrong(known: SourceRecord | None, found: Observed) -> str | None:
    if found.partitions != 1:
        raise ConfigurationError(
            f"{found.topic} has {found.partitions} partitions: truncates and key changes need the order of"
            " one. Set the connector's topic.creation.default.partitions=1 and make the topic again"
        )
    return _wrong_stranger(found) if known is None else _another(known, found) or _wrong_offset(found)


def _wrong_stranger(found: Observed) -> str | None:
    if found.committed is not None:
        return f"offset {found.committed} is committed, and {found.topic} is not in the sources topic"
    if not found.state_empty:
        return "its state topic holds rows, and nothing is known of the raw topic they came from"
    if found.start > 0:
        return f"the log begins at offset {found.start}: what came before has been deleted"
    return None


def _another(known: SourceRecord, found: Observed) -> str | None:
    if known.topic_id != found.topic_id:
        return f"the topic was made anew (id {known.topic_id}, now {found.topic_id})"
    if known.server and found.server and known.server != found.server:
        return f"the database is another one (server {known.server}, now {found.server})"
    if found.timeline and found.timeline < known.timeline:
        return f"the database was put back (timeline {known.timeline}, now {found.timeline})"
    return None


def _wrong_offset(found: Observed) -> str | None:
    at = found.committed or 0
    if at < found.start:
        return f"the next record to read is {at}, and the log begins at {found.start}: retention was shorter"
    if at > found.end:
        return f"offset {at} is committed, and the log ends at {found.end}"
    if at > 0 and found.state_empty:
        return f"offset {at} is committed, and the state topic is empty"
    return None


class _Wire(msgspec.Struct, omit_defaults=True):
    f: int
    topic: str
    topic_id: str
    partitions: int
    epoch: int
    server: str = ""
    timeline: int = 0
    resyncing: bool = False


def encode_source(record: SourceRecord) -> tuple[bytes, bytes]:
    """Key and value in `<app>.sources`."""
    made = _Wire(
        FORMAT,
        record.topic,
        record.topic_id,
        record.partitions,
        record.epoch,
        record.server,
        record.timeline,
        record.resyncing,
    )
    return record.topic.encode(), msgspec.json.encode(made)


def decode_source(value: bytes) -> SourceRecord:
    """Raises ConfigurationError for a newer format or bytes that are no source record."""
    try:
        wire = msgspec.json.decode(value, type=_Wire)
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"the sources topic holds a record that cannot be read: {error}") from error
    if wire.f > FORMAT:
        raise ConfigurationError(
            f"source record format {wire.f} is newer than {FORMAT}, the newest this release reads:"
            " run the release that wrote it, or a later one"
        )
    return SourceRecord(
        wire.topic, wire.topic_id, wire.partitions, wire.epoch, wire.server, wire.timeline, wire.resyncing
    )
