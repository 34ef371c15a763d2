"""Which Java classes a connector's configuration may name. All others would run in the Connect worker.

Pure. Class names are compared whole.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from connectors.keys import ends_with_a_name
from connectors.presets.common import JSON_CONVERTER
from connectors.presets.mariadb import MARIADB_CLASS, MYSQL_CLASS
from connectors.presets.mongodb import MONGODB_CLASS
from connectors.presets.postgres import POSTGRES_CLASS
from connectors.presets.sqlserver import SQLSERVER_CLASS
from connectors.references import named
from connectors.violation import Violation

CONNECTORS: Final = (POSTGRES_CLASS, MARIADB_CLASS, MYSQL_CLASS, MONGODB_CLASS, SQLSERVER_CLASS)

_HEADER_CONVERTERS: Final = (
    JSON_CONVERTER,
    "org.apache.kafka.connect.storage.StringConverter",
    "org.apache.kafka.connect.storage.SimpleHeaderConverter",
)
_KAFKA: Final = "org.apache.kafka.connect.transforms"
_TRANSFORMS: Final = frozenset(
    (
        *(f"{_KAFKA}.{one}" for one in ("DropHeaders", "Filter", "InsertHeader", "RegexRouter")),
        *(f"{_KAFKA}.{one}" for one in ("TimestampRouter", "ValueToKey")),
        *(
            f"{_KAFKA}.{one}${side}"
            for one in (
                "Cast",
                "ExtractField",
                "Flatten",
                "HeaderFrom",
                "HoistField",
                "InsertField",
                "MaskField",
                "ReplaceField",
                "SetSchemaMetadata",
                "TimestampConverter",
            )
            for side in ("Key", "Value")
        ),
        *(
            f"io.debezium.transforms.{one}"
            for one in (
                "ByLogicalTableRouter",
                "ExcludeTransactionComponents",
                "ExtractChangedRecordState",
                "ExtractNewRecordState",
                "ExtractSchemaToNewRecord",
                "GeometryFormatTransformer",
                "HeaderToValue",
                "SchemaChangeEventFilter",
                "SwapGeometryCoordinates",
                "TimezoneConverter",
                "VectorToJsonConverter",
                "outbox.EventRouter",
                "partitions.ComputePartition",
                "partitions.PartitionRouting",
                "tracing.ActivateTracingSpan",
            )
        ),
        "io.debezium.connector.mongodb.transforms.ExtractNewDocumentState",
        "io.debezium.connector.mongodb.transforms.outbox.MongoEventRouter",
        "io.debezium.connector.mysql.transforms.ReadToInsertEvent",
        "io.debezium.connector.postgresql.transforms.DecodeLogicalDecodingMessageContent",
    )
)
"""Those that look at the record alone. Not here: what runs scripts, and what opens a connection of its own
(TimescaleDb, OpenLineage, embeddings)."""

_PREDICATES: Final = frozenset(
    f"{_KAFKA}.predicates.{one}" for one in ("HasHeaderKey", "RecordIsTombstone", "TopicNameMatches")
)
_CUSTOM_CONVERTERS: Final = frozenset(
    f"io.debezium.connector.{package}.converters.{one}"
    for package in ("binlog", "mariadb", "mysql")
    for one in ("JdbcSinkDataTypesConverter", "TinyIntOneToBooleanConverter")
)
_SCRIPTED: Final = ("io.debezium.transforms.Filter", "io.debezium.transforms.ContentBasedRouter")
_POST_PROCESSORS: Final = ("io.debezium.processors.reselect.ReselectColumnsPostProcessor",)

_FIXED: Final[Mapping[str, tuple[str, ...]]] = {
    "key.converter": (JSON_CONVERTER,),
    "value.converter": (JSON_CONVERTER,),
    "header.converter": _HEADER_CONVERTERS,
    "schema.history.internal": ("io.debezium.storage.kafka.history.KafkaSchemaHistory",),
    "topic.naming.strategy": (
        "io.debezium.schema.SchemaTopicNamingStrategy",
        "io.debezium.schema.DefaultTopicNamingStrategy",
        "io.debezium.schema.DefaultUnicodeTopicNamingStrategy",
        "io.debezium.schema.SchemaUnicodeTopicNamingStrategy",
    ),
    "transaction.metadata.factory": ("io.debezium.pipeline.txmetadata.DefaultTransactionMetadataFactory",),
}
"""Keys that name one class, and the classes that they may name."""

_CLASS_KEY = re.compile(
    r".*(\.|^)(class|classes|factory|reporters|maker|jdbc\.driver|callback\.handler)", re.IGNORECASE
)
"""Other keys under which a class is named, in Kafka, Debezium or a driver: none is needed."""

_ALIAS = re.compile(r"[\w-]+(\.[\w-]+)*", re.ASCII)
_WHY: Final = "it would run inside the Connect worker"


def class_rule(config: Mapping[str, str]) -> Iterator[Violation]:
    """Every class that is named and not known."""
    if config.get("connector.class") not in CONNECTORS:
        why = "only connectors whose events Tailrace knows are deployed"
        found = config.get("connector.class")
        yield Violation("class", "connector.class", found, f"one of {', '.join(CONNECTORS)}", why)
    yield from _lists(config)
    for key, value in config.items():
        if (want := _refused(config, key, value)) is not None:
            yield Violation("class", key, value, want, _WHY)


def _refused(config: Mapping[str, str], key: str, value: str) -> str | None:
    """What to write instead; None if nothing is wrong with it."""
    if key == "connector.class" or ends_with_a_name(key):
        return None
    if key in _FIXED:
        return None if value in _FIXED[key] else " or ".join(_FIXED[key])
    owner, _, last = key.rpartition(".")
    if last == "type":
        return _refused_type(config, owner, value)
    return "nothing: leave it to the worker's own file" if _CLASS_KEY.fullmatch(key) else None


def _refused_type(config: Mapping[str, str], owner: str, value: str) -> str | None:
    for kind, known, want in (
        ("transforms", _TRANSFORMS, "a transform of Kafka or Debezium that looks at the record alone"),
        ("predicates", _PREDICATES, "a predicate of Kafka"),
    ):
        if owner.startswith(f"{kind}.") and owner.removeprefix(f"{kind}.") in named(config, kind):
            if value in _SCRIPTED:
                return "nothing: it runs the script that the configuration holds"
            return None if value in known else want
    if owner in named(config, "converters"):
        return None if value in _CUSTOM_CONVERTERS else "a converter that Debezium brings"
    if owner in named(config, "post.processors"):
        return None if value in _POST_PROCESSORS else _POST_PROCESSORS[0]
    # A name that no list mentions is not used; one that has the form of a class is refused all the same.
    return "nothing: no list names it" if re.search(r"\.[A-Z]", value) else None


def _lists(config: Mapping[str, str]) -> Iterator[Violation]:
    """The lists that say which keys name a class: read here as the worker reads them, or refused."""
    for key in ("transforms", "predicates", "converters", "post.processors"):
        names = named(config, key)
        within = {one for one in names if any(one.startswith(f"{other}.") for other in names)}
        if within or not all(_ALIAS.fullmatch(one) for one in names):
            why = "whose class it is cannot be told"
            yield Violation("class", key, "no list of plain names", "letters, digits, `_` and `-`", why)
