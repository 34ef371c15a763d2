"""When to stop rather than drop on: what the guard of the ordering rule drops is no replay."""

from typing import Final

from ingest.resolve import Resolved


class GuardAlarm:
    """Tells an ordinary replay after a crash from a source whose positions started again.

    A crash replays at most what one flush of the connector's offsets did not cover yet. More
    drops than twice that without one applied change between them, or a single drop of an event
    that committed after everything seen (see Course), mean another line of positions: a restored
    or failed-over database, reset offsets. Dropping on would lose live changes.

    `flush_seconds` is the connector's offset.flush.interval.ms, which preflight bounds by 5 s.
    """

    def __init__(self, topic: str, events_per_second: int, flush_seconds: float = 5.0) -> None:
        self._topic: Final = topic
        self._limit: Final = int(2 * events_per_second * flush_seconds)
        self._dropped = 0

    def observe(self, resolved: Resolved) -> str | None:
        """Count one record; the message of the ConfigurationError to stop with, if it must be."""
        if resolved.outcome == "applied":
            self._dropped = 0
        if resolved.outcome != "superseded" or resolved.kind != "guard":
            return None
        self._dropped += 1
        if resolved.newer:
            why = "an event committed after all others names an older source position"
        elif self._dropped > self._limit:
            why = f"{self._dropped} events in a row name source positions that were passed before"
        else:
            return None
        return (
            f"{self._topic}: {why}: the database was restored or failed over, or the connector's offsets"
            " were reset. Nothing more is applied: have the connector take a new snapshot (`tailrace connect"
            f" offsets reset NAME --stop`, `resume NAME`), then run `tailrace resync {self._topic}`"
        )
