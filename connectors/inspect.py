"""One question for every database: can what this connector is to capture be captured without loss?"""

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_address
from typing import Final

from connectors.checks import Check
from connectors.heartbeat import beat_of
from connectors.listed import listed_names, literal
from connectors.mariadb import read_mariadb_facts
from connectors.mariadb_connection import SCHEMES, host_of, is_mariadb_dsn
from connectors.mariadb_facts import MariaDbWanted
from connectors.masking import is_reference
from connectors.postgres import read_facts
from connectors.postgres_facts import Wanted
from connectors.preflight import preflight
from connectors.preflight_mariadb import preflight_mariadb
from connectors.presets.mariadb import MARIADB_CLASS, MYSQL_CLASS
from core.errors import ConfigurationError, TransientError

_POSTGRES: Final = "io.debezium.connector.postgresql."


def inspect(
    dsn: str,
    spec_config: Mapping[str, str],
    *,
    indexed: Mapping[str, Collection[str]],
    replica_identity_full: bool = False,
) -> list[Check]:
    """Look at the database behind `dsn` and judge it for a connector of this configuration.

    `dsn`: as libpq takes it for Postgres, `mysql://user:password@host:port/database` for MariaDB;
    best with the connector's own login, whose rights are judged. `spec_config` is Connect's flat
    configuration; without `connector.class` the DSN tells the database. `indexed` maps a table, as
    the topic names it, to the columns that documents and views use: such a table must be captured.

    What comes of asking, a refused login and an unreachable server included, is a Check. Raises
    ConfigurationError for a DSN of another database than the connector's. Nothing shown holds the DSN.
    """
    kind = spec_config.get("connector.class", "")
    is_mariadb = is_mariadb_dsn(dsn)
    if is_mariadb and kind.startswith(_POSTGRES):
        raise ConfigurationError("the connector is Postgres' and `database` is a mysql:// URL: correct one")
    if kind in {MARIADB_CLASS, MYSQL_CLASS} and not is_mariadb:
        raise ConfigurationError(
            f"the connector is MariaDB's: write `database` as a URL that begins with {' or '.join(SCHEMES)}"
        )
    if kind and not (is_mariadb or kind.startswith(_POSTGRES)):
        return [Check("database", "warn", f"nothing is known of the database of {kind}", "look by yourself")]
    captured = captured_tables(spec_config)
    tables = tuple(dict.fromkeys((*captured, *indexed)))
    columns = {table: frozenset(names) for table, names in indexed.items()}
    missed = [
        Check(
            f"table {table}", "fail", "is used and not in table.include.list: nothing of it comes", "add it"
        )
        for table in indexed
        if not is_captured(table, spec_config)
    ]
    missed += [check for table, names in columns.items() for check in _dropped(table, names, spec_config)]
    try:
        if is_mariadb:
            server = wanted_of_mariadb(spec_config, tables, columns)
            checks = preflight_mariadb(read_mariadb_facts(dsn, server), server)
            return [*missed, *other_host(host_of(dsn), spec_config), *checks]
        wanted = wanted_of_postgres(spec_config, tables, columns, full=replica_identity_full)
        facts = read_facts(dsn, wanted)
        return [*missed, *other_host(facts.host or "", spec_config), *preflight(facts, wanted)]
    except (TransientError, ConfigurationError) as error:
        return [*missed, Check("database", "fail", str(error), "start it, or correct address and login")]


def captured_tables(config: Mapping[str, str]) -> list[str]:
    """The tables that table.include.list names one by one; patterns are left out."""
    named = map(literal, listed_names(config.get("table.include.list", "")))
    return [name for name in named if name is not None]


def is_captured(table: str, config: Mapping[str, str]) -> bool:
    """Whether some entry of the list matches; without a list all tables are captured."""
    listed = config.get("table.include.list")
    if not listed:
        return True
    with contextlib.suppress(re.error):
        return any(re.fullmatch(one.strip(), table, re.IGNORECASE) for one in listed.split(","))
    return True  # Java's expressions are not all Python's: no alarm by guessing


def _dropped(table: str, names: Collection[str], config: Mapping[str, str]) -> Iterator[Check]:
    """Columns in use that the connector's lists of columns leave out."""
    for key, drops in (("column.exclude.list", True), ("column.include.list", False)):
        entries = [one.strip() for one in re.split(r"(?<!\\),", config.get(key, "")) if one.strip()]
        if not entries:
            continue
        try:
            matching = [re.compile(one, re.IGNORECASE) for one in entries]
        except re.error:
            continue  # Java's expressions are not all Python's: no alarm by guessing
        gone = sorted(
            name for name in names if any(one.fullmatch(f"{table}.{name}") for one in matching) is drops
        )
        if gone:
            verb = "drops" if drops else "leaves out"
            what = f"{key} {verb} {', '.join(gone)}, which the configuration uses"
            fix = f"{'take them from' if drops else 'add them to'} {key}, or do not use them"
            yield Check(f"table {table}", "fail", what, fix)


def other_host(seen: str, config: Mapping[str, str]) -> list[Check]:
    """A warning where the server that is asked can hardly be the connector's.

    Only of two whole names, or of two addresses: a short name or the loopback address is a matter of where
    one stands.
    """
    said = _said(config, "database.hostname") or ""
    if _spelled(seen) is None or _spelled(seen) != _spelled(said) or seen.lower() == said.lower():
        return []
    what = f"it is {seen} that is looked at, and the connector reads {said}"
    return [Check("database", "warn", what, "correct sources.<name>.database, if these are two servers")]


def _spelled(host: str) -> str | None:
    try:
        return None if (address := ip_address(host)).is_loopback else f"IPv{address.version}"
    except ValueError:
        return "name" if "." in host and not host.startswith("/") else None


def wanted_of_postgres(
    config: Mapping[str, str],
    tables: tuple[str, ...],
    columns: Mapping[str, frozenset[str]],
    *,
    full: bool = False,
) -> Wanted:
    """What this configuration asks of a Postgres database, for these tables."""
    beat = beat_of(config.get("heartbeat.action.query", ""), folded=True)
    # Where nothing is known of the connector, nobody else makes its publication.
    autocreate = "all_tables" if "connector.class" in config else "disabled"
    return Wanted(
        tables=tables,
        columns=columns,
        slot=config.get("slot.name", "debezium"),
        publication=config.get("publication.name", "dbz_publication"),
        role=_said(config, "database.user"),
        database=_said(config, "database.dbname"),
        heartbeat_table=beat.table if beat else None,
        heartbeat_needs=beat.needs if beat else frozenset(),
        autocreate=config.get("publication.autocreate.mode", autocreate),
        signal_table=config.get("signal.data.collection") or None,
        replica_identity_full=full,
    )


def wanted_of_mariadb(
    config: Mapping[str, str], tables: tuple[str, ...], columns: Mapping[str, frozenset[str]]
) -> MariaDbWanted:
    """What this configuration asks of a MariaDB server, for these tables."""
    signal = config.get("signal.data.collection") or None
    beat = beat_of(config.get("heartbeat.action.query", ""), folded=False)
    return MariaDbWanted(
        tables=tuple(table for table in tables if table != signal),
        columns=columns,
        signal_table=signal,
        heartbeat_table=beat.table if beat else None,
        heartbeat_needs=beat.needs if beat else frozenset(),
        server_id=int(text) if (text := config.get("database.server.id", "")).isdecimal() else None,
        user=_said(config, "database.user"),
    )


def _said(config: Mapping[str, str], key: str) -> str | None:
    """A value that the configuration says in the open."""
    value = config.get(key)
    return None if not value or is_reference(value) else value
