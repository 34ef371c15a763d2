"""Which Java classes a connector's configuration may name. All others would run in the Connect worker.

Pure. Class names are compared whole or by package and form, never by a bare prefix.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from connectors.presets.common import JSON_CONVERTER
from connectors.presets.mariadb import MARIADB_CLASS, MYSQL_CLASS
from connectors.presets.mongodb import MONGODB_CLASS
from connectors.presets.postgres import POSTGRES_CLASS
from connectors.presets.sqlserver import SQLSERVER_CLASS
from connectors.violation import Violation

CONNECTORS: Final = (POSTGRES_CLASS, MARIADB_CLASS, MYSQL_CLASS, MONGODB_CLASS, SQLSERVER_CLASS)

_HEADER_CONVERTERS: Final = (
    JSON_CONVERTER,
    "org.apache.kafka.connect.storage.StringConverter",
    "org.apache.kafka.connect.storage.SimpleHeaderConverter",
)
_NAME: Final = r"[A-Z][A-Za-z0-9]*(\$[A-Z][A-Za-z0-9]*)?"
_TRANSFORM = re.compile(
    rf"org\.apache\.kafka\.connect\.transforms\.{_NAME}"
    rf"|io\.debezium\.(connector\.[a-z]+\.)?transforms\.([a-z]+\.)*{_NAME}"
)
_PREDICATE = re.compile(rf"org\.apache\.kafka\.connect\.transforms\.predicates\.{_NAME}")
_SCRIPTED: Final = ("io.debezium.transforms.Filter", "io.debezium.transforms.ContentBasedRouter")
_CUSTOM_CONVERTER = re.compile(rf"io\.debezium\.connector\.[a-z]+\.converters\.{_NAME}")
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

_WHY: Final = "it would run inside the Connect worker"


def class_rule(config: Mapping[str, str]) -> Iterator[Violation]:
    """Every class that is named and not known."""
    if config.get("connector.class") not in CONNECTORS:
        why = "only connectors whose events Tailrace knows are deployed"
        found = config.get("connector.class")
        yield Violation("class", "connector.class", found, f"one of {', '.join(CONNECTORS)}", why)
    for key, value in config.items():
        if (want := _refused(config, key, value)) is not None:
            yield Violation("class", key, value, want, _WHY)


def _refused(config: Mapping[str, str], key: str, value: str) -> str | None:
    """What to write instead; None if nothing is wrong with it."""
    if key == "connector.class":
        return None
    if key in _FIXED:
        return None if value in _FIXED[key] else " or ".join(_FIXED[key])
    owner, _, last = key.rpartition(".")
    if last == "type":
        return _refused_type(config, key, owner, value)
    return "nothing: leave it to the worker's own file" if _CLASS_KEY.fullmatch(key) else None


def _refused_type(config: Mapping[str, str], key: str, owner: str, value: str) -> str | None:
    if key.startswith("transforms."):
        if value in _SCRIPTED:
            return "nothing: it runs the script that the configuration holds"
        return None if _TRANSFORM.fullmatch(value) else "a transform of Kafka or Debezium"
    if key.startswith("predicates."):
        return None if _PREDICATE.fullmatch(value) else "a predicate of Kafka"
    if owner in _listed(config, "converters"):
        return None if _CUSTOM_CONVERTER.fullmatch(value) else "a converter that Debezium brings"
    if owner in _listed(config, "post.processors"):
        return None if value in _POST_PROCESSORS else _POST_PROCESSORS[0]
    # A name that no list mentions is not used; one that has the form of a class is refused all the same.
    return "nothing: no list names it" if re.search(r"\.[A-Z]", value) else None


def _listed(config: Mapping[str, str], key: str) -> set[str]:
    return {name.strip() for name in config.get(key, "").split(",")}
