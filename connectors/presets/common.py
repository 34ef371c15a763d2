"""The rules of every Debezium connector, whatever its database: without them changes are lost.

Pure. Each enforced value has its reason beside it: the rule prints it when a configuration says
otherwise.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from connectors.violation import Violation

JSON_CONVERTER: Final = "org.apache.kafka.connect.json.JsonConverter"
DEFAULT_PLACEHOLDER: Final = "__debezium_unavailable_value"
DAY_MS: Final = 86_400_000
RETENTION_DAYS: Final = 7
_BEAT_MAX_MS: Final = 60_000
HISTORY: Final = "schema.history.internal.kafka"
_NAME_MAX: Final = 63
"""Postgres cuts longer names silently (NAMEDATALEN - 1); the others take more."""


Enforced: TypeAlias = Mapping[str, tuple[str, str]]
"""By key: the value, and what happens without it."""

EVERYWHERE: Final[Enforced] = {
    "skipped.operations": ("none", "by default a TRUNCATE is dropped, and its rows stay searchable"),
    "tombstones.on.delete": ("true", "readers of an adopted compacted topic need them"),
    "key.converter": (JSON_CONVERTER, "the worker's own converter is unknown here, and ours reads JSON"),
    "value.converter": (JSON_CONVERTER, "the worker's own converter is unknown here, and ours reads JSON"),
    "key.converter.replace.null.with.default": ("false", "a NULL would arrive as the column's default"),
    "value.converter.replace.null.with.default": ("false", "a NULL would arrive as the column's default"),
    "errors.tolerance": ("none", "on a source, `all` drops the record that failed and moves on"),
    "event.processing.failure.handling.mode": ("fail", "`warn` and `skip` drop the event and move on"),
    "snapshot.mode": (
        "initial",
        "`when_needed` hides a lost position: live rows are read again, missed deletes never come",
    ),
}

_KEEPS_ALL: Final[Enforced] = {
    "acks": ("all", "a broker that fails would take acknowledged changes with it"),
    "enable.idempotence": ("true", "a retry could write records twice and out of order"),
}
"""Of the worker's producer, where the connector overrides it. Both are Connect's own defaults."""


def derived_name(prefix: str) -> str:
    """Slot and publication of a prefix: a slot may hold lower case, digits and `_` only."""
    return f"tailrace_{re.sub(r'[^a-z0-9_]', '_', prefix.lower())}"[:_NAME_MAX]


def values_of(enforced: Enforced) -> dict[str, str]:
    """The part of a configuration that the rules ask for."""
    return {key: value for key, (value, _) in enforced.items()}


def common_rules(config: Mapping[str, str]) -> list[Violation]:
    """What loses or garbles changes of any database."""
    return [
        *enforced(config, EVERYWHERE),
        *_schemas(config),
        *_topics(config),
        *_producer(config),
        *_exactly_once(config),
        *interval_rules(config, "on an idle database its log is held back and freshness names no position"),
        *_transforms(config),
        *_partial_snapshot(config),
    ]


def enforced(config: Mapping[str, str], wanted: Enforced) -> list[Violation]:
    """Each key is a rule of its own name."""
    return [
        Violation(key, key, config.get(key), value, why)
        for key, (value, why) in wanted.items()
        if config.get(key) != value
    ]


def explicit(config: Mapping[str, str], key: str, example: str) -> list[Violation]:
    """The rule `tables`: a list of what is captured, without wildcards."""
    listed = config.get(key)
    if not listed:
        why = "without a list a new table is captured by accident, with whatever it holds"
        return [Violation("tables", key, None, f"an explicit list: {example}", why)]
    wild = [item for item in listed.split(",") if re.search(r"(?<!\\)\.[*+]", item)]
    why = "a new table that matches would be captured by accident, with whatever it holds"
    return [Violation("tables", key, ",".join(wild), f"each name: {example}", why)] if wild else []


def history_rules(config: Mapping[str, str]) -> list[Violation]:
    """The rule `history`, of connectors that keep one."""
    why = "without it the worker's validation finds nothing wrong, and the task fails at its start"
    wanted = {
        f"{HISTORY}.bootstrap.servers": "Kafka's addresses as Connect reaches them",
        f"{HISTORY}.topic": "a topic of its own: <prefix>.schema-history",
    }
    return [Violation("history", key, None, want, why) for key, want in wanted.items() if not config.get(key)]


def interval_rules(config: Mapping[str, str], why: str) -> list[Violation]:
    """The rule `heartbeat`: one a minute at the least, for so long freshness may lag on an idle source."""
    key = "heartbeat.interval.ms"
    if 0 < number(config.get(key)) <= _BEAT_MAX_MS:
        return []
    return [Violation("heartbeat", key, config.get(key), f"10000 (at most {_BEAT_MAX_MS})", why)]


def _schemas(config: Mapping[str, str]) -> Iterator[Violation]:
    for key in ("key.converter.schemas.enable", "value.converter.schemas.enable"):
        if config.get(key) not in {"true", "false"}:
            why = "the converter's own default wraps each record in its schema, and a reader must know"
            yield Violation("schemas", key, config.get(key), "false, or true", why)


def _topics(config: Mapping[str, str]) -> Iterator[Violation]:
    default = "topic.creation.default."
    named = {name.strip() for name in config.get("topic.creation.groups", "").split(",")} - {"", "default"}
    for group in ("default", *sorted(named)):
        policy, partitions = f"topic.creation.{group}.cleanup.policy", f"topic.creation.{group}.partitions"
        # A group takes from the default what it does not say.
        if config.get(policy, config.get(f"{default}cleanup.policy")) != "delete":
            why = "a compacted topic refuses a TRUNCATE (it has no key), and keeps placeholders, not text"
            yield Violation("topics", policy, config.get(policy), "delete", why)
        if config.get(partitions, config.get(f"{default}partitions")) != "1":
            why = "a truncate and a changed key are ordered within one partition only"
            yield Violation("topics", partitions, config.get(partitions), "1", why)
    retention = f"{default}retention.ms"
    if number(config.get(retention)) < RETENTION_DAYS * DAY_MS and config.get(retention) != "-1":
        why = "a worker away for longer would lose changes"
        want = f"{RETENTION_DAYS * DAY_MS} or more"
        yield Violation("topics", retention, config.get(retention), want, why)


def _producer(config: Mapping[str, str]) -> Iterator[Violation]:
    for name, (value, why) in _KEEPS_ALL.items():
        key = f"producer.override.{name}"
        if config.get(key, value) not in {value, "-1" if name == "acks" else value}:
            yield Violation("producer", key, config[key], value, why)


def _exactly_once(config: Mapping[str, str]) -> Iterator[Violation]:
    key = "exactly.once.support"
    if config.get(key, "").lower() == "required":
        why = "each transaction ends with a marker that no reader is given: an idle source is never current"
        want = "nothing, and exactly.once.source.support=disabled on Connect's workers"
        yield Violation(key, key, config[key], want, why)


_BREAKING: Final = {
    "org.apache.kafka.connect.transforms.Filter": "it drops changes",
    "io.debezium.transforms.ExtractNewRecordState": "unwrapped events say no operation and no position",
    "io.debezium.connector.mongodb.transforms.ExtractNewDocumentState": (
        "unwrapped events say no operation and no position"
    ),
    "io.debezium.transforms.partitions.PartitionRouting": "a truncate and a changed key lose their order",
}


def _transforms(config: Mapping[str, str]) -> Iterator[Violation]:
    for key, value in config.items():
        if re.fullmatch(r"transforms\.[^.]+\.type", key) and value in _BREAKING:
            yield Violation("transforms", key, value, "nothing: leave events whole", _BREAKING[value])


def _partial_snapshot(config: Mapping[str, str]) -> Iterator[Violation]:
    why = "rows that the first snapshot leaves out are missing until somebody changes them"
    for key in ("snapshot.include.collection.list", "snapshot.select.statement.overrides"):
        if config.get(key):
            yield Violation("partial-snapshot", key, config[key], "nothing: read every row once", why)


def number(text: str | None) -> int:
    """0 for what is no number."""
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]{1,18}", text) else 0
