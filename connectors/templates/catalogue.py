"""The templates by name: which values each takes, and the configuration that it makes of them."""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from connectors.presets.mariadb import MYSQL_CLASS, mariadb_config
from connectors.presets.mongodb import mongodb_config
from connectors.presets.postgres import postgres_config
from connectors.presets.sqlserver import sqlserver_config
from connectors.templates.values import (
    MariaDbValues,
    MongoDbValues,
    MySqlValues,
    OutboxValues,
    PostgresValues,
    SqlServerValues,
    Values,
)
from core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Template:
    """`build` takes the fields of `values` by name."""

    values: type[Values]
    build: Callable[..., dict[str, str]]


def expand(name: str, values: Mapping[str, Any]) -> dict[str, str]:
    """The whole configuration that the template makes.

    Raises ConfigurationError that names the template or the value that is unknown, missing or wrong.
    """
    template = TEMPLATES.get(name)
    if template is None:
        raise ConfigurationError(f"template: there is no {name!r}{_meant(name, TEMPLATES)}")
    try:
        made = template.values.model_validate(dict(values))
    except ValidationError as error:
        # Not pydantic's own text: it quotes values, and one of them may be a secret.
        lines = [_said(template, e["type"], e["loc"], e["msg"]) for e in error.errors(include_input=False)]
        raise ConfigurationError("; ".join(lines)) from None
    try:
        return template.build(**made.model_dump())
    except ValueError as error:
        raise ConfigurationError(f"values: {error}") from error


def _said(template: Template, kind: str, place: tuple[int | str, ...], message: str) -> str:
    name = str(place[0])
    where = f"values.{'.'.join(map(str, place))}"
    if kind == "missing":
        return f"{where} is missing: {template.values.model_fields[name].description}"
    if kind == "extra_forbidden":
        return f"{where}: nothing takes it{_meant(name, template.values.model_fields)}"
    return f"{where}: {message}"


def _meant(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f": did you mean {close[0]}?" if close else f": write one of {', '.join(sorted(known))}"


def _outbox(*, topics: str, **values: Any) -> dict[str, str]:
    config = postgres_config(**values)
    (table,) = values["tables"]
    return {
        **config,
        "transforms": "outbox",
        "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
        "transforms.outbox.route.topic.replacement": topics + ".${routedByValue}",
        # Otherwise the event is a JSON text within a JSON text.
        "transforms.outbox.table.expand.json.payload": "true",
        # Rows of an outbox are only ever added: an update would be dropped with no more than a warning.
        "transforms.outbox.table.op.invalid.behavior": "fatal",
        # Heartbeats and signals come by tables too, and are no outbox.
        "transforms.outbox.predicate": "outbox",
        "predicates": "outbox",
        "predicates.outbox.type": "org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
        "predicates.outbox.pattern": re.escape(f"{values['prefix']}.{table}"),
    }


def _mysql(**values: Any) -> dict[str, str]:
    return {**mariadb_config(**values), "connector.class": MYSQL_CLASS}


TEMPLATES: Final[Mapping[str, Template]] = {
    "postgres": Template(PostgresValues, postgres_config),
    "outbox": Template(OutboxValues, _outbox),
    "mariadb": Template(MariaDbValues, mariadb_config),
    "mysql": Template(MySqlValues, _mysql),
    "mongodb": Template(MongoDbValues, mongodb_config),
    "sqlserver": Template(SqlServerValues, sqlserver_config),
}
