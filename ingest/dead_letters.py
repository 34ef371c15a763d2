"""Records that can never be applied, kept with their bytes so that they can be sent again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from core.errors import PermanentError
from core.metrics import DEAD_LETTERS
from core.telemetry import logger
from ingest.record import RawRecord

log = logger(__name__)

PREFIX: Final = "tailrace."
ORIGINAL: Final = PREFIX + "original."
"""Before an original header that could be taken for one of ours: a letter that was sent again has some."""

MOST_HEADERS: Final = 100
MOST_BYTES: Final = 1_000_000
"""Of one record that a topic surely takes: a broker's default limit of a batch is 1,048,588."""

_HEADER_BYTES: Final = 50_000
_KEY_BYTES: Final = 50_000
_MESSAGE_CHARACTERS: Final = 1000

Stage: TypeAlias = Literal["resolve", "index"]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What was set aside, why, and where it stood."""

    record: RawRecord
    stage: Stage
    error: PermanentError
    attempts: int = 1

    def encode(self) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]:
        """Key, value and headers in `<app>.dead-letters`: the original's, and ours before them.

        The topic must take every letter, or one record stops its table for good. So a value past
        `MOST_BYTES` is cut (`value-bytes` says how long it was), a key past its share is left out
        (`key-bytes`), and of many or long headers only the first are kept: such a letter cannot be
        sent again, only looked at; the whole record stands where `topic` and `offset` say.
        """
        record = self.record
        ours = {
            "topic": record.topic,
            "partition": str(record.partition),
            "offset": str(record.offset),
            "timestamp-ms": str(record.timestamp_ms),
            "stage": self.stage,
            "error": type(self.error).__name__,
            "message": str(self.error)[:_MESSAGE_CHARACTERS],
            "attempts": str(self.attempts),
            "no-value": "1" if record.value is None else "0",
        }
        key, value = record.key, record.value
        if key is not None and len(key) > _KEY_BYTES:
            ours["key-bytes"] = str(len(key))
            key = None
        kept = list(_first(record.headers))
        room = MOST_BYTES - _HEADER_BYTES - _size(kept) - len(key or b"")
        if value is not None and len(value) > room:
            ours["value-bytes"] = str(len(value))
            value = value[:room]
        headers = [(PREFIX + name, text.encode("utf-8", "replace")) for name, text in ours.items()]
        return key, value, [*headers, *kept]


def _first(headers: Iterable[tuple[str, bytes]]) -> Iterable[tuple[str, bytes]]:
    size = 0
    for place, (name, value) in enumerate(headers):
        size += len(name.encode("utf-8", "replace")) + len(value)
        if place == MOST_HEADERS or size > _HEADER_BYTES:
            return
        yield (ORIGINAL + name if name.startswith(PREFIX) else name), value


def _size(headers: Iterable[tuple[str, bytes]]) -> int:
    return sum(len(name.encode("utf-8", "replace")) + len(value) for name, value in headers)


def note(letters: Sequence[DeadLetter]) -> None:
    """A person must look, hence ERROR. Never the payload."""
    for letter in letters:
        kind = type(letter.error).__name__
        DEAD_LETTERS.labels(letter.stage, kind).inc()
        log.error(
            "dead letter",
            topic=letter.record.topic,
            partition=letter.record.partition,
            offset=letter.record.offset,
            stage=letter.stage,
            error=kind,
            why=str(letter.error)[:300],
        )
