"""The databases behind connectors: which one a connector reads, whether it can, and its signal table."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from connectors.checks import Check
from connectors.diff import Desired, Plan, Step
from connectors.inspect import inspect, wanted_of_mariadb, wanted_of_postgres
from connectors.mariadb import read_mariadb_facts
from connectors.mariadb_connection import is_mariadb_dsn
from connectors.mariadb_facts import MariaDbFacts
from connectors.mariadb_writes import send_mariadb_signal
from connectors.postgres import read_facts
from connectors.postgres_facts import Facts
from connectors.postgres_writes import send_signal
from connectors.preset import MARIADB_CLASS, POSTGRES_CLASS
from connectors.snapshots import Signal
from connectors.spec import ConnectorSpec, LoadedSpec
from core.errors import ConfigurationError
from core.secret import Secret
from core.settings import Settings, Source
from embed.render import Renderer
from tailrace.connect import Workplace

LETS_GO_SECONDS: Final = 2.0
"""A connector that was told a moment ago to read another slot may still hold the one before."""


def source_of(settings: Settings | None, config: Mapping[str, str]) -> tuple[str, Source] | None:
    """The source that this connector feeds: the one of its topic.prefix."""
    prefix = config.get("topic.prefix")
    sources = settings.sources.items() if settings else ()
    return next(((name, source) for name, source in sources if source.prefix == prefix), None)


def dsn_of(place: Workplace, config: Mapping[str, str], given: str | None = None) -> str | None:
    """The connection string of a connector's database: `given` as a reference, else its source's.

    Raises ConfigurationError for one that is no reference: a secret is never written on a command line.
    """
    if given is not None:
        return reference(given).reveal()
    found = source_of(place.settings, config)
    return None if found is None or found[1].database is None else Secret(found[1].database).reveal()


def need_dsn(place: Workplace, config: Mapping[str, str], given: str | None) -> str:
    """The same; ConfigurationError where none is known."""
    dsn = dsn_of(place, config, given)
    if dsn is None:
        raise ConfigurationError(
            "no source of this topic.prefix names its database: set sources.<name>.database in tailrace.yaml,"
            " or give --database '${env:NAME}'"
        )
    return dsn


def signal(config: Mapping[str, str], dsn: str, what: Signal) -> str:
    """Write it into the connector's signal table; the position by which the connector has heard it."""
    table = config.get("signal.data.collection")
    if not table:
        raise ConfigurationError("the connector has no signal.data.collection: signals are not heard")
    return (send_mariadb_signal if is_mariadb_dsn(dsn) else send_signal)(dsn, table, what)


def reference(text: str) -> Secret:
    if not text.startswith(("${env:", "${file:")):
        raise ConfigurationError(
            "--database takes a reference, ${env:NAME} or ${file:PATH}: never the secret"
        )
    return Secret(text)


def to_look_at(planned: Plan) -> list[Step]:
    """The steps that a database has a say in: one that only holds a connector still asks nothing of it."""
    return [
        step for step in planned.changes if step.changes or step.state is None or step.state[1] == "running"
    ]


def takes_a_slot(step: Step) -> bool:
    """Whether the connector comes to a slot that it does not read by now, nor one that goes first."""
    return "slot.name" not in step.inherited and (
        step.action == "create" or any(change.key == "slot.name" for change in step.changes)
    )


def preflights(
    place: Workplace, loaded: Sequence[LoadedSpec], desired: Sequence[Desired], fresh: set[str]
) -> Iterator[tuple[str, list[Check]]]:
    """The database behind each connector, judged before anything is sent.

    `fresh`: the names of those of which `takes_a_slot` says so.
    """
    for one, made in zip(loaded, desired, strict=True):
        dsn = dsn_of(place, made.config)
        if dsn is None:
            what = "not looked at: no source of this topic.prefix names its database"
            fix = "set sources.<name>.database in tailrace.yaml, or run with --skip-preflight"
            yield made.name, [Check("database", "warn", what, fix)]
            continue
        checks = preflight_for(one.spec, place.settings, dsn, config=made.config)
        if made.name in fresh and (taken := _taken_slot(made.config, dsn)) is not None:
            checks.append(taken)
        yield made.name, checks


def preflight_for(
    spec: ConnectorSpec, settings: Settings | None, dsn: str, *, config: Mapping[str, str] | None = None
) -> list[Check]:
    """Whether this connector can capture without loss what the configuration's documents use of it."""
    flat = spec.full_config() if config is None else config
    found = source_of(settings, flat)
    indexed: dict[str, frozenset[str]] = {}
    if settings is not None and found is not None:
        name, source = found
        indexed = {table: columns_used(settings, f"{name}.{table}") for table in source.tables}
    full = found is not None and found[1].replica_identity_full
    return inspect(dsn, flat, indexed=indexed, replica_identity_full=full)


def columns_used(settings: Settings, table: str) -> frozenset[str]:
    """Columns that documents and views of this table use."""
    used: set[str] = set()
    for name, document in settings.documents.items():
        if document.table == table:
            used |= Renderer(name, document).columns()
    for view in settings.state.values():
        if view.table == table:
            used |= {*view.by, *(view.columns or [])}
    return frozenset(used)


def facts_of(config: Mapping[str, str], dsn: str, tables: Sequence[str]) -> Facts | MariaDbFacts:
    """What the connector's database says of these tables and of the signal table.

    ConfigurationError for a database whose signal table is not written to, and for another database's
    `dsn` than the connector's.
    """
    kind, is_mariadb = config.get("connector.class"), is_mariadb_dsn(dsn)
    if kind not in {POSTGRES_CLASS, MARIADB_CLASS}:
        raise ConfigurationError(
            "only the signal tables of Postgres' and MariaDB's connectors are written to: for another write"
            " the row by hand"
        )
    if is_mariadb is not (kind == MARIADB_CLASS):
        raise ConfigurationError(
            "the connection string is of another database than the connector's: correct it"
        )
    if not is_mariadb:
        return _postgres_facts(config, dsn, tables)
    facts = read_mariadb_facts(dsn, wanted_of_mariadb(config, tuple(tables), {}))
    if not facts.is_mariadb:
        raise ConfigurationError("the server is MySQL's: its signal table is written to by hand")
    return facts


def _postgres_facts(config: Mapping[str, str], dsn: str, tables: Sequence[str]) -> Facts:
    return read_facts(dsn, wanted_of_postgres(config, tuple(tables), {}))


def _taken_slot(config: Mapping[str, str], dsn: str) -> Check | None:
    """A slot that somebody reads before its connector comes: that one would wait for it in silence."""
    if config.get("connector.class") != POSTGRES_CLASS or is_mariadb_dsn(dsn):
        return None
    until = time.monotonic() + LETS_GO_SECONDS
    while (slot := _postgres_facts(config, dsn, ()).slot) is not None and slot.active:
        if time.monotonic() >= until:
            what = f"{slot.name} is read by somebody already: this connector would say RUNNING and wait"
            return Check("slot", "fail", what, "set a slot.name of its own")
        time.sleep(0.2)
    return None
