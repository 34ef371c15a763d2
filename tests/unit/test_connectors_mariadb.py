"""MariaDB's preset, its preflight one fault at a time, and the reading of its address."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from connectors.checks import Check
from connectors.inspect import captured_tables, inspect
from connectors.mariadb import log_status, read_mariadb_facts
from connectors.mariadb_connection import is_mariadb_dsn
from connectors.mariadb_facts import MariaDbColumn, MariaDbFacts, MariaDbTable, MariaDbWanted
from connectors.mariadb_writes import send_mariadb_signal
from connectors.preflight_mariadb import preflight_mariadb
from connectors.preset import POSTGRES_CLASS, violations
from connectors.presets.mariadb import MARIADB_CLASS, MYSQL_CLASS, mariadb_config, rules
from connectors.snapshots import execute
from core.errors import ConfigurationError, TransientError
from tailrace.connect_databases import facts_of
from tests.ports import free_ports

CANARY = "canary-77d1"


def config(**more: str) -> dict[str, str]:
    made = mariadb_config(
        prefix="shop",
        tables=["shop.articles", "shop.order$lines"],
        host="db.example",
        port=3306,
        user="debezium",
        password="${file:/secrets/connect.properties:debezium}",  # noqa: S106 - a reference
        server_id=4712,
        history_servers="kafka:9092",
        signal_table="shop.debezium_signal",
        heartbeat_table="shop.debezium_heartbeat",
    )
    return {**made, **more}


def broken(**more: str) -> set[str]:
    return {violation.rule for violation in rules(config(**more))}


def test_the_preset_has_no_violation_and_captures_the_signal_table() -> None:
    assert violations(config()) == []
    assert captured_tables(config()) == ["shop.articles", "shop.order$lines", "shop.debezium_signal"]
    mysql = {"connector.class": MYSQL_CLASS, "database.ssl.mode": "verify_identity"}
    assert violations(config(**mysql)) == []


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("decimal.handling.mode", "precise", "decimal.handling.mode"),
        ("time.precision.mode", "adaptive", "time.precision.mode"),
        ("binary.handling.mode", "bytes", "binary.handling.mode"),
        ("bigint.unsigned.handling.mode", "precise", "bigint.unsigned.handling.mode"),
        ("enable.time.adjuster", "true", "enable.time.adjuster"),
        ("include.schema.changes", "false", "include.schema.changes"),
        ("inconsistent.schema.handling.mode", "skip", "inconsistent.schema.handling.mode"),
        ("snapshot.mode", "when_needed", "snapshot.mode"),
        ("include.query", "true", "include.query"),
        ("connect.keep.alive", "false", "connect.keep.alive"),
        (
            "schema.history.internal.skip.unparseable.ddl",
            "true",
            "schema.history.internal.skip.unparseable.ddl",
        ),
        ("connect.keep.alive.interval.ms", "60000", "keep-alive"),
        ("connect.keep.alive.interval.ms", "", "keep-alive"),
        ("heartbeat.interval.ms", "0", "heartbeat"),
        ("database.server.id", "", "server-id"),
        ("database.server.id", "0", "server-id"),
        ("database.server.id", "4294967296", "server-id"),
        ("schema.history.internal.kafka.topic", "", "history"),
        ("schema.history.internal.kafka.bootstrap.servers", "", "history"),
        ("database.ssl.mode", "verify-ca", "no-tls"),
        ("table.include.list", "", "tables"),
        ("table.include.list", r"shop\..*,shop\.debezium_signal", "tables"),
        ("table.include.list", r"shop\.a\w,shop\.debezium_signal", "tables"),
        ("table.include.list", r"shop\.articles", "tables"),
    ],
)
def test_each_rule_sees_its_fault(key: str, value: str, rule: str) -> None:
    assert broken(**{key: value}) == {rule}


def test_what_every_connector_must_is_asked_of_mariadb_too() -> None:
    found = {violation.rule for violation in violations({"connector.class": MARIADB_CLASS})}
    assert {"skipped.operations", "errors.tolerance", "topics", "server-id", "history", "no-tls"} <= found


@pytest.mark.parametrize("name", ["articles", "shop.a b", r"shop\..*", "shop.a.b", "shop.x,shop.y"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"no plain database\.table"):
        mariadb_config(
            prefix="shop",
            tables=[name],
            host="h",
            port=1,
            user="u",
            password="${file:/s:p}",  # noqa: S106 - a reference
            server_id=1,
            history_servers="k:1",
            signal_table="shop.s",
        )


TABLE = MariaDbTable(
    name="shop.articles",
    kind="BASE TABLE",
    key=("id",),
    readable=True,
    columns=(
        MariaDbColumn("id", "bigint", "bigint(20)"),
        MariaDbColumn("body", "text", "text"),
        MariaDbColumn("opens", "time", "time"),
        MariaDbColumn("bits", "bit", "bit(5)"),
        MariaDbColumn("flag", "bit", "bit(1)"),
        MariaDbColumn("big", "bigint", "bigint(20) unsigned"),
        MariaDbColumn("raw", "varbinary", "varbinary(4)"),
        MariaDbColumn("place", "point", "point"),
        MariaDbColumn("zero", "datetime", "datetime", "'0000-00-00 00:00:00'"),
    ),
)
FACTS = MariaDbFacts(
    is_mariadb=True,
    version=(10, 11),
    user="debezium@%",
    log_bin=True,
    binlog_format="ROW",
    binlog_row_image="FULL",
    retention_seconds=604_800,
    server_id=4711,
    gtid_position="0-4711-42",
    privileges=frozenset({"RELOAD", "BINLOG MONITOR", "REPLICATION SLAVE"}),
    signal_writable=True,
    signal_exists=True,
    beat_lacks=frozenset(),
    unlogged=frozenset(),
    tables={"shop.articles": TABLE},
    dangerous=(),
)
WANTED = MariaDbWanted(
    tables=("shop.articles",),
    columns={"shop.articles": frozenset({"id", "body", "flag"})},
    signal_table="shop.debezium_signal",
    heartbeat_table="shop.debezium_heartbeat",
    server_id=4712,
    user="debezium",
)


def bad(facts: MariaDbFacts = FACTS, wanted: MariaDbWanted = WANTED) -> list[Check]:
    return [check for check in preflight_mariadb(facts, wanted) if check.status != "ok"]


def with_table(table: MariaDbTable) -> MariaDbFacts:
    return replace(FACTS, tables={"shop.articles": table})


def with_column(kind: str, full: str) -> MariaDbFacts:
    return with_table(replace(TABLE, columns=(*TABLE.columns, MariaDbColumn("extra", kind, full))))


def test_a_good_server_is_all_ok() -> None:
    assert bad() == []
    assert bad(replace(FACTS, retention_seconds=0)) == []


@pytest.mark.parametrize(
    ("change", "name", "status", "said"),
    [
        (lambda f: replace(f, log_bin=False), "log_bin", "fail", "no binlog"),
        (lambda f: replace(f, binlog_format="MIXED"), "binlog_format", "fail", "MIXED"),
        (lambda f: replace(f, binlog_row_image="MINIMAL"), "binlog_row_image", "fail", "MINIMAL"),
        (lambda f: replace(f, retention_seconds=86_400), "binlog retention", "warn", "1 days"),
        (lambda f: replace(f, gtid_position=""), "gtid", "fail", "ever written"),
        (lambda f: replace(f, gtid_position="0-1-2,1-1-3"), "gtid domains", "warn", "several"),
        (lambda f: replace(f, gtid_strict=False), "gtid_strict_mode", "warn", "step back"),
        (lambda f: replace(f, server_id=4712), "server_id", "fail", "server's own"),
        (lambda f: replace(f, privileges=frozenset({"RELOAD"})), "privileges", "fail", "BINLOG MONITOR"),
        (lambda f: replace(f, privileges=f.privileges | {"SUPER"}), "privileges", "warn", "administrator"),
        (lambda f: replace(f, user="reader@%"), "privileges", "warn", "rights are not known"),
        (lambda f: replace(f, unlogged=frozenset({"shop"})), "binlog filter", "fail", "binlog_do_db"),
        (lambda f: replace(f, tables={}), "table shop.articles", "fail", "does not exist"),
        (lambda f: replace(f, signal_exists=False), "signal table", "warn", "does not exist"),
        (lambda f: replace(f, signal_writable=False), "signal table", "warn", "INSERT"),
        (lambda f: replace(f, beat_lacks=frozenset({"SELECT"})), "heartbeat table", "fail", "SELECT"),
        (lambda f: replace(f, dangerous=("x.t.c (inet6)",)), "other tables", "warn", "x.t.c (inet6)"),
        (lambda f: replace(f, is_mariadb=False), "server version", "warn", "MySQL"),
    ],
)
def test_each_fault_of_the_server_is_seen(
    change: Callable[[MariaDbFacts], MariaDbFacts], name: str, status: str, said: str
) -> None:
    changed = change(FACTS)
    if not changed.is_mariadb:
        changed = replace(changed, privileges=changed.privileges | {"REPLICATION CLIENT"})
    (check,) = bad(changed)
    assert (check.name, check.status) == (name, status)
    assert said in check.what
    assert check.fix


@pytest.mark.parametrize(
    ("changed", "status", "said"),
    [
        (replace(TABLE, kind="SYSTEM VERSIONED"), "fail", "system versioned"),
        (replace(TABLE, key=()), "fail", "no primary key"),
        (replace(TABLE, readable=False), "fail", "may not read"),
        (replace(TABLE, cascades=("`fk` ON DELETE CASCADE",)), "warn", "give no event"),
    ],
)
def test_each_fault_of_a_table_is_seen(changed: MariaDbTable, status: str, said: str) -> None:
    (check,) = bad(with_table(changed))
    assert (check.name, check.status) == ("table shop.articles", status)
    assert said in check.what


@pytest.mark.parametrize(
    ("kind", "full", "status"),
    [
        ("inet6", "inet6", "fail"),
        ("inet4", "inet4", "fail"),
        ("varchar", "varchar(9) /*M!100301 COMPRESSED*/", "fail"),
        ("year", "year(4)", "warn"),
    ],
)
def test_a_column_that_stops_the_connector_is_seen_though_nobody_uses_it(
    kind: str, full: str, status: str
) -> None:
    (check,) = bad(with_column(kind, full))
    assert (check.status, "extra" in check.what) == (status, True)


@pytest.mark.parametrize("column", ["opens", "bits", "big", "raw", "place", "zero"])
def test_a_column_whose_values_change_on_the_way_is_seen_where_it_is_used(column: str) -> None:
    used = replace(WANTED, columns={"shop.articles": frozenset({column})})
    (check,) = bad(wanted=used)
    assert (check.status, column in check.what) == ("warn", True)


def test_a_column_that_is_not_there_is_a_fault() -> None:
    (check,) = bad(wanted=replace(WANTED, columns={"shop.articles": frozenset({"nix"})}))
    assert (check.status, "nix" in check.what) == ("fail", True)


@pytest.mark.parametrize(
    "dsn",
    [
        f"mysql://:{CANARY}@h/shop",
        f"mysql://u:{CANARY}@:3306/shop",
        f"mysql://u:{CANARY}@h:port/shop",
        f"mysql://u:{CANARY}@[h/shop",
        f"mysql://u:{CANARY}@h/shop?sslmode=maybe",
        f"mysql://u:{CANARY}@h/shop?local_infile=1",
        f"host=h password={CANARY}",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_its_password(dsn: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read_mariadb_facts(dsn, WANTED)
    assert CANARY not in str(raised.value)


def test_a_server_that_is_away_is_said_to_be_and_the_password_is_not() -> None:
    (port,) = free_ports(1)
    dsn = f"mariadb://u:{CANARY}@127.0.0.1:{port}/shop"
    with pytest.raises(TransientError) as raised:
        read_mariadb_facts(dsn, WANTED)
    assert f"127.0.0.1:{port}" in str(raised.value)
    assert CANARY not in str(raised.value)
    (check,) = inspect(dsn, config(), indexed={})
    assert (check.name, check.status) == ("database", "fail")
    assert CANARY not in str(check)


def test_the_database_is_known_by_its_address_and_must_be_the_connectors() -> None:
    assert is_mariadb_dsn("mysql://u@h/d")
    assert is_mariadb_dsn("MariaDB://u@h/d")
    assert not is_mariadb_dsn("postgresql://u@h/d")
    with pytest.raises(ConfigurationError, match="mysql://"):
        inspect("host=h", config(), indexed={})
    with pytest.raises(ConfigurationError, match="Postgres"):
        inspect(
            "mysql://u@h/d",
            {"connector.class": "io.debezium.connector.postgresql.PostgresConnector"},
            indexed={},
        )
    (check,) = inspect("mongodb://h", {"connector.class": "x.Mongo"}, indexed={})
    assert check.status == "warn"


def test_a_used_table_that_is_not_captured_is_a_fault() -> None:
    (port,) = free_ports(1)
    dsn = f"mysql://u@127.0.0.1:{port}/shop"
    found = inspect(dsn, config(), indexed={"shop.articles": ["id"], "shop.other": ["id"]})
    assert [check.name for check in found] == ["table shop.other", "database"]
    patterns = {"connector.class": MARIADB_CLASS, "table.include.list": r"shop\..*"}
    assert [c.name for c in inspect(dsn, patterns, indexed={"shop.other": ["id"]})] == ["database"]


def test_a_signal_for_a_server_that_is_away_says_so_and_no_password() -> None:
    (port,) = free_ports(1)
    with pytest.raises(TransientError, match="could not be asked") as raised:
        send_mariadb_signal(
            f"mysql://u:{CANARY}@127.0.0.1:{port}/shop", "shop.debezium_signal", execute(["shop.a"])
        )
    assert CANARY not in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "dsn", "said"),
    [
        (MYSQL_CLASS, "mysql://u:p@h/shop", "by hand"),
        (MARIADB_CLASS, "postgresql://u:p@h/shop", "another database than the connector's"),
        (POSTGRES_CLASS, "mysql://u:p@h/shop", "another database than the connector's"),
    ],
)
def test_a_signal_goes_to_the_connectors_own_database_only(kind: str, dsn: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        facts_of({**config(), "connector.class": kind}, dsn, ["shop.articles"])


@pytest.mark.parametrize(
    ("version", "is_mariadb", "query"),
    [
        ((10, 11), True, "SHOW MASTER STATUS"),
        ((8, 0), False, "SHOW MASTER STATUS"),
        ((8, 4), False, "SHOW BINARY LOG STATUS"),
        ((9, 2), False, "SHOW BINARY LOG STATUS"),
    ],
)
def test_a_server_is_asked_for_its_binlog_in_words_that_it_knows(
    version: tuple[int, int], query: str, *, is_mariadb: bool
) -> None:
    assert log_status(version, is_mariadb=is_mariadb) == query
