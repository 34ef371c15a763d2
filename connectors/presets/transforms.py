"""The rule `transforms`: what may stand between a connector and its topics.

Pure. Whatever reads or writes an event's place, operation, key or topic may lose it; only a few transforms
cannot.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from connectors.listed import listed_names, literal
from connectors.violation import Violation

_KAFKA: Final = "org.apache.kafka.connect.transforms"
_ROUTER: Final = "io.debezium.transforms.outbox.EventRouter"
_HEADERS: Final = {f"{_KAFKA}.InsertHeader": "header", f"{_KAFKA}.DropHeaders": "headers"}
"""Transforms of headers alone, and the option that names them."""

_OWN_HEADERS: Final = "__debezium."
"""A changed key is told by headers that begin so."""

_UNWRAPS: Final = "unwrapped events say no operation and no position"
_REROUTES: Final = "records leave the topic of their table: their order, or whoever reads them, is lost"
_WHY: Final[Mapping[str, str]] = {
    f"{_KAFKA}.Filter": "it drops changes",
    f"{_KAFKA}.RegexRouter": _REROUTES,
    f"{_KAFKA}.TimestampRouter": _REROUTES,
    "io.debezium.transforms.ByLogicalTableRouter": _REROUTES,
    "io.debezium.transforms.ExtractNewRecordState": _UNWRAPS,
    "io.debezium.connector.mongodb.transforms.ExtractNewDocumentState": _UNWRAPS,
    "io.debezium.transforms.partitions.PartitionRouting": "a truncate and a changed key lose their order",
    _ROUTER: "without a predicate on the outbox's own topic it takes the events of every table apart",
}
_OTHERS: Final = "it changes events on their way, and nobody knows what is lost by it"
_OF_HEADERS: Final = "a changed key is told by Debezium's own headers"


def transform_rule(config: Mapping[str, str]) -> Iterator[Violation]:
    """Every transform in use that is not known to be harmless."""
    key = "transforms"
    if "${" in config.get(key, ""):
        why = "what the reference holds cannot be judged"
        yield Violation(key, key, config[key], "the names themselves", why)
        return
    for name in listed_names(config.get(key, "")):
        own = f"transforms.{name}.type"
        type_ = config.get(own)
        # Without a type the worker refuses it.
        if type_ is None or _harmless(config, f"transforms.{name}.", type_):
            continue
        why = _OF_HEADERS if type_ in _HEADERS else _WHY.get(type_, _OTHERS)
        yield Violation(key, own, type_, "nothing: leave events whole", why)


def _harmless(config: Mapping[str, str], own: str, type_: str) -> bool:
    if type_ in _HEADERS:
        headers = listed_names(config.get(own + _HEADERS[type_], ""))
        return not any(header.startswith((_OWN_HEADERS, "${")) for header in headers)
    return type_ == _ROUTER and _on_one_topic(config, own)


def _on_one_topic(config: Mapping[str, str], own: str) -> bool:
    """Whether a predicate keeps the transform to a topic that it names."""
    name = config.get(f"{own}predicate", "").strip()
    return (
        name in listed_names(config.get("predicates", ""))
        and config.get(f"{own}negate", "false").strip().lower() == "false"
        and config.get(f"predicates.{name}.type") == f"{_KAFKA}.predicates.TopicNameMatches"
        and literal(config.get(f"predicates.{name}.pattern", "")) is not None
    )
