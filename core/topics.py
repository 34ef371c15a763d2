"""Every topic Tailrace reads or makes, its name and its policy: one place says which."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from core.keys import TableId
from core.settings import Settings

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS

Cleanup: TypeAlias = Literal["delete", "compact"]


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it must be.

    `configs` are the broker's own names; a live value that differs is refused by name.
    `min_lag_ms`: a compacted topic keeps every record at least so long, in ms. `segment_ms`: compaction may
    begin on what is older; a topic that has it longer is only larger than need be.
    """

    name: str
    partitions: int
    cleanup: Cleanup
    why: str
    retention_ms: int | None = None
    min_lag_ms: int | None = None
    segment_ms: int | None = None

    def configs(self) -> Mapping[str, str]:
        """As the broker spells them."""
        made: dict[str, str] = {"cleanup.policy": self.cleanup}
        if self.retention_ms is not None:
            made["retention.ms"] = str(self.retention_ms)
        if self.min_lag_ms is not None:
            made["min.compaction.lag.ms"] = str(self.min_lag_ms)
        if self.segment_ms is not None:
            made["segment.ms"] = str(self.segment_ms)
        return made


def raw_topic(prefix: str, table: str) -> str:
    """Where Debezium writes the changes of a table."""
    return f"{prefix}.{table}"


def state_topic(app: str, table: TableId) -> str:
    """Where the resolve agent writes the rows of a table."""
    return f"{app}.state.{table.source}.{table.table}"


def sources_topic(app: str) -> str:
    """What is known of each raw topic: identity and epoch."""
    return f"{app}.sources"


def generations_topic(app: str) -> str:
    """Which generation of each document exists, and its frozen configuration."""
    return f"{app}.generations"


def dead_letters_topic(app: str) -> str:
    """Records that can never be applied."""
    return f"{app}.dead-letters"


def resolve_group(app: str) -> str:
    """Consumer group of the resolve agents; also the Faust app's id."""
    return f"{app}-resolve"


def index_group(app: str, document: str, generation: int) -> str:
    """Consumer group of the index agent of one generation; also the Faust app's id."""
    return f"{app}-index-{document}-g{generation}"


def collection_name(app: str, document: str, generation: int) -> str:
    """The collection of one generation."""
    return f"{app}-{document}-g{generation}"


def alias_name(app: str, document: str) -> str:
    """What points at the live generation's collection."""
    return f"{app}-{document}"


def required_topics(settings: Settings) -> list[TopicSpec]:
    """Every topic this configuration reads or writes, raw topics first, without repeats."""
    made: list[TopicSpec] = []
    for source in settings.sources.values():
        made += [
            TopicSpec(
                raw_topic(source.prefix, table),
                1,
                "delete",
                "raw change events: one partition settles truncates and key moves; a truncate has no"
                " key, which a compacted topic refuses",
                retention_ms=7 * DAY_MS,
            )
            for table in source.tables
        ]
    made += [
        TopicSpec(
            state_topic(settings.app, table),
            settings.ingest.state_partitions,
            "compact",
            "one row per key; a regressed row must live long enough to be repaired",
            min_lag_ms=HOUR_MS,
        )
        for table in settings.tables()
    ]
    return [
        *made,
        TopicSpec(sources_topic(settings.app), 1, "compact", "identity and epoch of each raw topic"),
        TopicSpec(
            generations_topic(settings.app),
            1,
            "compact",
            "generations and their frozen configuration; workers report to it every two seconds, and every"
            " start reads it whole",
            segment_ms=4 * HOUR_MS,
        ),
        TopicSpec(
            dead_letters_topic(settings.app),
            1,
            "delete",
            "records that can never be applied, with their bytes",
            retention_ms=14 * DAY_MS,
        ),
    ]
