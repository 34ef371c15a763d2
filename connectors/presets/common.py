"""The rules of every Debezium connector, whatever its database: without them changes are lost.

Pure. Each enforced value has its reason beside it: the rule prints it when a configuration says
otherwise.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from connectors.listed import listed_names, literal
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

Harmless: TypeAlias = Mapping[str, tuple[tuple[str, ...], str]]
"""By key: the values that it may have where it is set, in lower case, and what another one does."""

HARMLESS: Final[Harmless] = {
    "exactly.once.support": (
        ("requested", ""),
        (
            "each transaction ends with a marker that no reader is given: an idle source is never current;"
            " exactly.once.source.support of Connect's workers has to be disabled too"
        ),
    ),
    "message.key.columns": (
        ("",),
        "rows that are equal in these columns overwrite each other; a change of them leaves the old row",
    ),
    "topic.delimiter": ((".",), "topics are looked for by their prefix and a dot"),
    "snapshot.isolation.mode": (
        ("serializable", "repeatable_read", "read_committed", "snapshot", "exclusive"),
        "rows that are rolled back afterwards would be read, and nothing takes them back",
    ),
}

RULES: Final = frozenset(
    {
        *EVERYWHERE,
        *HARMLESS,
        "heartbeat",
        "history",
        "partial-snapshot",
        "producer",
        "schemas",
        "tables",
        "topics",
        "transforms",
    }
)
"""The names of the rules of every connector, those of the modules beside this one included."""

_KEEPS_ALL: Final[Harmless] = {
    "acks": (("all", "-1"), "a broker that fails would take acknowledged changes with it"),
    "enable.idempotence": (("true",), "a retry could write records twice, and out of order"),
}
"""Of the worker's producer, where the connector overrides it. Connect's own are acks=all, and one request
at a time without idempotence; the worker's file may say otherwise."""

_IN_FLIGHT: Final = "producer.override.max.in.flight.requests.per.connection"


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
        *not_harmless(config, HARMLESS),
        *_producer(config),
        *interval_rules(config, "on an idle database its log is held back and freshness names no position"),
        *_partial_snapshot(config),
    ]


def enforced(config: Mapping[str, str], wanted: Enforced) -> list[Violation]:
    """Each key is a rule of its own name."""
    return [
        Violation(key, key, config.get(key), value, why)
        for key, (value, why) in wanted.items()
        if config.get(key) != value
    ]


def not_harmless(config: Mapping[str, str], known: Harmless) -> list[Violation]:
    """Each key is a rule of its own name; a reference is no value that could be judged."""
    return [
        Violation(key, key, config[key], "nothing: the default is right", why)
        for key, (values, why) in known.items()
        if key in config and config[key].strip().lower() not in values
    ]


def explicit(config: Mapping[str, str], key: str, example: str, *, within: str) -> list[Violation]:
    """The rule `tables`: a list of what is captured, without patterns.

    `within`: what the first part of a name is, `schema` or `database`; lists of those must not take away
    what this list names.
    """
    listed = listed_names(config.get(key, ""))
    if not listed:
        why = "without a list a new table is captured by accident, with whatever it holds"
        return [Violation("tables", key, None, f"an explicit list: {example}", why)]
    wild = [entry for entry in listed if literal(entry) is None]
    why = "a new table that matches would be captured by accident, with whatever it holds"
    found = [Violation("tables", key, ",".join(wild), f"each name: {example}", why)] if wild else []
    return [*found, *left_out(config, key, within)]


def left_out(config: Mapping[str, str], key: str, within: str) -> Iterator[Violation]:
    """Lists of schemas or databases that take away what the list under `key` names."""
    named = {
        name.partition(".")[0].lower() for entry in listed_names(config[key]) if (name := literal(entry))
    }
    for kind in ("include", "exclude"):
        other = f"{within}.{kind}.list"
        if not config.get(other):
            continue
        entries = [literal(entry) for entry in listed_names(config[other])]
        these = {entry.lower() for entry in entries if entry is not None}
        lost = named - these if kind == "include" else named & these
        if lost or None in entries:
            why = f"it takes away what {key} names of {', '.join(sorted(lost))}: nothing of it comes"
            if None in entries:
                why = f"a pattern in it may take away what {key} names: nothing of that would come"
            yield Violation("tables", other, config[other], f"nothing: {key} is enough", why)


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


def _producer(config: Mapping[str, str]) -> Iterator[Violation]:
    for name, (values, why) in _KEEPS_ALL.items():
        key = f"producer.override.{name}"
        if config.get(key, values[0]).strip().lower() not in values:
            yield Violation("producer", key, config[key], values[0], why)
    several = config.get(_IN_FLIGHT, "1").strip() != "1"
    if several and config.get("producer.override.enable.idempotence", "false").strip().lower() != "true":
        why = "Connect's producer is not idempotent by default: a retry writes records out of order"
        want = "nothing, or producer.override.enable.idempotence=true beside it"
        yield Violation("producer", _IN_FLIGHT, config[_IN_FLIGHT], want, why)


def _partial_snapshot(config: Mapping[str, str]) -> Iterator[Violation]:
    why = "rows that the first snapshot leaves out are missing until somebody changes them"
    for key in (
        "snapshot.include.collection.list",
        "snapshot.select.statement.overrides",
        "snapshot.collection.filter.overrides",
    ):
        if config.get(key):
            yield Violation("partial-snapshot", key, config[key], "nothing: read every row once", why)


def number(text: str | None) -> int:
    """0 for what is no number."""
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]{1,18}", text) else 0
