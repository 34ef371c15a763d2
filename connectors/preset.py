"""The settings of a Debezium Postgres connector under which no change is lost or made unreadable.

Pure. Each enforced value has its reason beside it: `violations` prints it when a configuration says
otherwise. What is only a matter of taste or speed is a default, and may be overridden.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from connectors.masking import has_url_password, is_reference, is_secret_key
from connectors.violation import Violation

POSTGRES_CLASS: Final = "io.debezium.connector.postgresql.PostgresConnector"
DEFAULT_PLACEHOLDER: Final = "__debezium_unavailable_value"
DAY_MS: Final = 86_400_000
_JSON_CONVERTER: Final = "org.apache.kafka.connect.json.JsonConverter"
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*\.[A-Za-z_][A-Za-z0-9_$]*")
_IDENTIFIER_MAX: Final = 63
"""Postgres cuts longer names silently (NAMEDATALEN - 1)."""


def derived_name(prefix: str) -> str:
    """Slot and publication of a prefix: a slot may hold lower case, digits and `_` only."""
    return f"tailrace_{re.sub(r'[^a-z0-9_]', '_', prefix.lower())}"[:_IDENTIFIER_MAX]


def postgres_config(
    *,
    prefix: str,
    tables: Sequence[str],
    host: str,
    port: int,
    database: str,
    user: str,
    password: str,
    placeholder: str,
    heartbeat_table: str = "public.debezium_heartbeat",
    signal_table: str = "public.debezium_signal",
    sslmode: str = "verify-full",
    replication: int = 1,
    retention_ms: int = 7 * DAY_MS,
    schemas: bool = False,
    poll_interval_ms: int = 50,
    heartbeat_interval_ms: int = 10_000,
    linger_ms: int = 5,
    exclude_columns: Sequence[str] = (),
) -> dict[str, str]:
    """The whole configuration of a connector; it has no violations but those of the values given.

    `tables`, `heartbeat_table` and `signal_table` are `schema.table`; `exclude_columns` are
    `schema.table.column`. `password` is a reference that Connect resolves (`${file:…}`).
    Raises ValueError for a name that is no plain `schema.table`: such lists are regular expressions.
    """
    for name in (*tables, heartbeat_table, signal_table):
        if not _IDENTIFIER.fullmatch(name):
            raise ValueError(f"{name!r} is no plain schema.table")
    own = derived_name(prefix)
    config = {
        "connector.class": POSTGRES_CLASS,
        "tasks.max": "1",
        "database.hostname": host,
        "database.port": str(port),
        "database.dbname": database,
        "database.user": user,
        "database.password": password,
        "database.sslmode": sslmode,
        "topic.prefix": prefix,
        "table.include.list": ",".join(re.escape(name) for name in (*tables, heartbeat_table)),
        "slot.name": own,
        "publication.name": own,
        "unavailable.value.placeholder": placeholder,
        "key.converter": _JSON_CONVERTER,
        "value.converter": _JSON_CONVERTER,
        "key.converter.schemas.enable": _flag(schemas),
        "value.converter.schemas.enable": _flag(schemas),
        "heartbeat.interval.ms": str(heartbeat_interval_ms),
        "heartbeat.action.query": heartbeat_query(heartbeat_table, own),
        "signal.data.collection": signal_table,
        "signal.enabled.channels": "source",
        "incremental.snapshot.watermarking.strategy": "insert_delete",
        "poll.interval.ms": str(poll_interval_ms),
        # Beside max.queue.size, which counts records: a few long texts must not fill the heap.
        "max.queue.size.in.bytes": str(32 * 1024 * 1024),
        "guardrail.collections.max": "200",
        "guardrail.collections.limit.action": "fail",
        "producer.override.linger.ms": str(linger_ms),
        "producer.override.compression.type": "lz4",
        "topic.creation.default.replication.factor": str(replication),
        "topic.creation.default.partitions": "1",
        "topic.creation.default.cleanup.policy": "delete",
        "topic.creation.default.retention.ms": str(retention_ms),
        # Beats are worth nothing after the next one.
        "topic.creation.groups": "beats",
        "topic.creation.beats.include": ",".join(
            (re.escape(f"{prefix}.{heartbeat_table}"), re.escape(f"__debezium-heartbeat.{prefix}"))
        ),
        "topic.creation.beats.replication.factor": str(replication),
        "topic.creation.beats.partitions": "1",
        "topic.creation.beats.cleanup.policy": "delete",
        "topic.creation.beats.retention.ms": "3600000",
        **{key: value for key, (value, _) in _ENFORCED.items()},
    }
    if exclude_columns:
        config["column.exclude.list"] = ",".join(re.escape(name) for name in exclude_columns)
    return config


def heartbeat_query(table: str, name: str) -> str:
    """One row of the heartbeat table, written again at each beat: an idle database's slot moves on."""
    return (
        f"INSERT INTO {table} (name, beat) VALUES ('{name}', now())"  # noqa: S608 - our own names
        " ON CONFLICT (name) DO UPDATE SET beat = EXCLUDED.beat"
    )


def violations(config: Mapping[str, str], accept: Collection[str] = ()) -> list[Violation]:
    """What in this configuration loses changes, makes them unreadable, or opens a door.

    `accept` names rules that were waived, each with its reason in the connector's file; the rules
    of `NEVER_ACCEPTED` stay. An empty list: deploy it.
    """
    found = [
        *_class(config),
        *_enforced(config),
        *_placeholder(config),
        *_heartbeat(config),
        *_tables(config),
        *_own_names(config),
        *_topics(config),
        *_tls(config),
        *_secrets(config),
        *_client_doors(config),
    ]
    waived = set(accept) - NEVER_ACCEPTED
    return [violation for violation in found if violation.rule not in waived]


NEVER_ACCEPTED: Final = frozenset({"class", "inline-secret", "client-door"})
"""Rules that protect the Connect worker itself and the secrets on it."""

_ENFORCED: Final[Mapping[str, tuple[str, str]]] = {
    "plugin.name": ("pgoutput", "the only decoder that Postgres itself brings"),
    "skipped.operations": ("none", "by default a TRUNCATE is dropped, and its rows stay searchable"),
    "tombstones.on.delete": ("true", "readers of an adopted compacted topic need them"),
    "decimal.handling.mode": ("string", "as bytes a decimal loses its scale, and NaN becomes null"),
    "time.precision.mode": ("isostring", "otherwise the unit of a time depends on its declared precision"),
    "interval.handling.mode": ("string", "as a number an interval is an approximation"),
    "binary.handling.mode": ("hex", "as base64 an unchanged long value arrives as null"),
    "key.converter.replace.null.with.default": ("false", "a NULL would arrive as the column's default"),
    "value.converter.replace.null.with.default": ("false", "a NULL would arrive as the column's default"),
    "errors.tolerance": ("none", "on a source, `all` drops the record that failed and moves on"),
    "event.processing.failure.handling.mode": ("fail", "`warn` and `skip` drop the event and move on"),
    "publication.autocreate.mode": (
        "disabled",
        "make the publication beforehand: creating it needs ownership of the tables or a superuser",
    ),
    "snapshot.mode": (
        "initial",
        "`when_needed` hides a lost slot: live rows are read again, missed deletes never come",
    ),
    "slot.drop.on.stop": ("false", "without its slot a stopped connector misses what is written meanwhile"),
    # A reset to the slot's own position would pass over a loss in silence.
    "offset.mismatch.strategy": ("trust_offset", "a slot that lost changes must be an error, not a jump"),
}

_TRUSTED_PACKAGES: Final = ("io.debezium.", "org.apache.kafka.connect.")
_CLASS_KEYS = re.compile(
    r"(connector\.class|(key|value|header)\.converter|(transforms|predicates)\.[^.]+\.type)"
)
_CLIENT_DOORS = re.compile(
    r"(sasl\.jaas\.config|sasl\.login\.class|sasl\.login\.callback\.handler\.class"
    r"|sasl\.client\.callback\.handler\.class|sasl\.oauthbearer\..*\.url|.*token\.endpoint\.url"
    r"|security\.providers|ssl\.engine\.factory\.class|config\.providers(\..*)?|interceptor\.classes"
    r"|metric\.reporters)"
)


def _class(config: Mapping[str, str]) -> list[Violation]:
    found = []
    if config.get("connector.class") != POSTGRES_CLASS:
        found.append(
            Violation(
                "class",
                "connector.class",
                config.get("connector.class"),
                POSTGRES_CLASS,
                "only connectors whose events Tailrace knows are deployed",
            )
        )
    found += [
        Violation(
            "class", key, value, "a class of Debezium or Kafka", "it would run inside the Connect worker"
        )
        for key, value in config.items()
        if _CLASS_KEYS.fullmatch(key) and key != "connector.class" and not value.startswith(_TRUSTED_PACKAGES)
    ]
    return found


def _enforced(config: Mapping[str, str]) -> list[Violation]:
    return [
        Violation(key, key, config.get(key), value, why)
        for key, (value, why) in _ENFORCED.items()
        if config.get(key) != value
    ]


def _placeholder(config: Mapping[str, str]) -> list[Violation]:
    key = "unavailable.value.placeholder"
    value = config.get(key)
    if value and value != DEFAULT_PLACEHOLDER and len(value) >= len("__uv_1234567"):
        return []
    why = "a user may type the default, and a row would keep text that is not there any more"
    return [Violation("placeholder", key, value, "a random token, such as __uv_7f3a91c2d0__", why)]


def _heartbeat(config: Mapping[str, str]) -> list[Violation]:
    why = "on an idle database the slot holds all WAL and freshness names no position"
    interval = _number(config.get("heartbeat.interval.ms"))
    found = []
    if not 0 < interval <= 60_000:  # noqa: PLR2004 - a minute: the longest that freshness may lag on an idle source
        found.append(
            Violation(
                "heartbeat",
                "heartbeat.interval.ms",
                config.get("heartbeat.interval.ms"),
                "10000 (at most 60000)",
                why,
            )
        )
    if not config.get("heartbeat.action.query"):
        want = heartbeat_query("public.debezium_heartbeat", "tailrace")
        found.append(Violation("heartbeat", "heartbeat.action.query", None, want, why))
    return found


def _tables(config: Mapping[str, str]) -> list[Violation]:
    if config.get("table.include.list"):
        return []
    why = "without a list a new table is captured by accident, with whatever it holds"
    return [Violation("tables", "table.include.list", None, r"an explicit list: public\.articles,…", why)]


def _own_names(config: Mapping[str, str]) -> list[Violation]:
    want = derived_name(config.get("topic.prefix", "app"))
    why = "a slot or publication shared with another connector steals its changes"
    return [
        Violation("own-names", key, config.get(key), want, why)
        for key, default in (("slot.name", "debezium"), ("publication.name", "dbz_publication"))
        if config.get(key, default) == default
    ]


def _topics(config: Mapping[str, str]) -> list[Violation]:
    found = []
    policy, partitions = "topic.creation.default.cleanup.policy", "topic.creation.default.partitions"
    if config.get(policy) != "delete":
        why = "a compacted topic refuses a TRUNCATE (it has no key), and keeps placeholders instead of text"
        found.append(Violation("topics", policy, config.get(policy), "delete", why))
    if config.get(partitions) != "1":
        why = "a truncate and a changed key are ordered within one partition only"
        found.append(Violation("topics", partitions, config.get(partitions), "1", why))
    retention = "topic.creation.default.retention.ms"
    if _number(config.get(retention)) < 7 * DAY_MS and config.get(retention) != "-1":
        why = "a worker away for longer would lose changes"
        found.append(Violation("topics", retention, config.get(retention), f"{7 * DAY_MS} or more", why))
    return found


def _tls(config: Mapping[str, str]) -> list[Violation]:
    if config.get("database.sslmode") == "verify-full":
        return []
    why = "rows and the password would travel unprotected, or to somebody else"
    return [Violation("no-tls", "database.sslmode", config.get("database.sslmode"), "verify-full", why)]


def _secrets(config: Mapping[str, str]) -> list[Violation]:
    why = "Connect keeps its configuration in a topic and shows it over REST"
    want = "a reference: ${file:/path/secrets.properties:name}"
    return [
        # The value itself is the secret: it is not in the message.
        Violation("inline-secret", key, "a literal", want, why)
        for key, value in config.items()
        if (is_secret_key(key) and not is_reference(value)) or has_url_password(value)
    ]


def _client_doors(config: Mapping[str, str]) -> list[Violation]:
    why = "it makes the Connect worker load a class or call an address of the configuration's choice"
    found = []
    for key, value in config.items():
        bare = re.sub(
            r"^(producer|consumer|admin)\.override\.|^(driver|signal\.(consumer|producer))\.", "", key
        )
        if _CLIENT_DOORS.fullmatch(bare):
            shown = "a literal" if is_secret_key(key) else value
            found.append(
                Violation("client-door", key, shown, "nothing: leave it to the worker's own file", why)
            )
    return found


def _flag(value: bool) -> str:  # noqa: FBT001 - a spelling, not a switch
    return "true" if value else "false"


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.lstrip("-").isdecimal() else 0
