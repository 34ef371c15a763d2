"""Records that can never be applied, kept with their bytes so that they can be sent again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from core.errors import PermanentError
from core.metrics import DEAD_LETTERS
from core.telemetry import logger
from ingest.record import RawRecord

log = logger(__name__)

PREFIX: Final = "tailrace."
MOST_HEADERS: Final = 100
"""Original headers that are kept: the topic must take every letter."""

Stage: TypeAlias = Literal["resolve", "index"]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What was set aside, why, and where it stood."""

    record: RawRecord
    stage: Stage
    error: PermanentError
    attempts: int = 1

    def encode(self) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]:
        """Key, value and headers in `<app>.dead-letters`: the original's, and ours before them."""
        ours = {
            "topic": self.record.topic,
            "partition": str(self.record.partition),
            "offset": str(self.record.offset),
            "timestamp-ms": str(self.record.timestamp_ms),
            "stage": self.stage,
            "error": type(self.error).__name__,
            "message": str(self.error)[:1000],
            "attempts": str(self.attempts),
            "no-value": "1" if self.record.value is None else "0",
        }
        headers = [(PREFIX + name, value.encode()) for name, value in ours.items()]
        return self.record.key, self.record.value, [*headers, *self.record.headers[:MOST_HEADERS]]


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
