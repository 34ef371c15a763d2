"""A raw record as the log gave it: bytes, before anyone has looked at them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record of a raw topic.

    `timestamp_ms` is the log's, ms since 1970. A `value` of None is a Kafka tombstone: not the
    same as empty bytes, nor as the four bytes `null`.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
