"""Whether a MariaDB (or MySQL) database can be captured without loss: facts in, verdicts out. Pure.

`connectors/mariadb.py` reads the facts; each rule's reason is in its message.
"""

from typing import Final

from connectors.checks import Check, unknown_columns
from connectors.mariadb_facts import MariaDbColumn, MariaDbFacts, MariaDbTable, MariaDbWanted

RETENTION_SECONDS: Final = 7 * 86_400
"""A connector away for longer than the binlog is kept has lost changes: as long as the raw topics."""

GLOBAL_PRIVILEGES: Final = ("RELOAD", "BINLOG MONITOR", "REPLICATION SLAVE")
"""The task fails without any of them: RELOAD for the snapshot's lock, the others to read the binlog."""

_MYSQL_PRIVILEGES: Final = ("RELOAD", "REPLICATION CLIENT", "REPLICATION SLAVE")
"""MySQL, and MariaDB before 10.5, know BINLOG MONITOR by its old name."""

UNPARSEABLE: Final = frozenset({"inet4", "inet6"})
"""Types whose DDL the connector's parser rejects."""

_VERSION_MIN: Final = (10, 11)
_SEEN: Final = "among the tables that this login may see"
_TYPES: Final = {
    "time": "is a time: negative ones and those of a day or more arrive as NULL",
    **dict.fromkeys(
        ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"),
        "holds bytes: they arrive as hex digits",
    ),
    **dict.fromkeys(
        ("geometry", "point", "linestring", "polygon", "geometrycollection"),
        "is a shape: it arrives as an object with base64",
    ),
    **dict.fromkeys(
        ("multipoint", "multilinestring", "multipolygon"), "is a shape: it arrives as an object with base64"
    ),
}
"""What becomes of a type on its way, where that is not what a reader expects."""


def preflight_mariadb(facts: MariaDbFacts, wanted: MariaDbWanted) -> list[Check]:
    """Every verdict, the good ones too, in the order in which to mend them."""
    return [
        *_server(facts),
        *_identity(facts, wanted),
        *_login(facts, wanted),
        *(check for name in wanted.tables for check in _table(facts.tables.get(name), name, wanted)),
        *_signal(facts, wanted),
        *_beat(facts, wanted),
        *_elsewhere(facts, wanted),
    ]


def _server(facts: MariaDbFacts) -> list[Check]:
    checks = [_version(facts)]
    if not facts.log_bin:
        fix = "set log_bin and a server_id in the server's file, then restart the server"
        checks.append(Check("log_bin", "fail", "there is no binlog: nothing can be captured", fix))
        return checks
    if facts.binlog_format == "ROW":
        checks.append(Check("binlog_format", "ok", "binlog_format is ROW"))
    else:
        what = f"binlog_format is {facts.binlog_format}: statements are logged, and their rows never come"
        checks.append(
            Check("binlog_format", "fail", what, "SET GLOBAL binlog_format = 'ROW', and in its file")
        )
    if facts.binlog_row_image == "FULL":
        checks.append(Check("binlog_row_image", "ok", "binlog_row_image is FULL"))
    else:
        what = f"binlog_row_image is {facts.binlog_row_image}: events without the whole row stop the task"
        fix = "SET GLOBAL binlog_row_image = 'FULL', and in its file; then reconnect the applications"
        checks.append(Check("binlog_row_image", "fail", what, fix))
    for database in sorted(facts.unlogged):
        what = f"{database} is left out of the binlog by binlog_do_db or binlog_ignore_db"
        checks.append(
            Check("binlog filter", "fail", what, "take the filter from the server's file, restart it")
        )
    days = facts.retention_seconds / 86_400
    if facts.retention_seconds == 0 or facts.retention_seconds >= RETENTION_SECONDS:
        kept = "until they are purged by hand" if facts.retention_seconds == 0 else f"for {days:g} days"
        checks.append(Check("binlog retention", "ok", f"binlogs are kept {kept}"))
    else:
        what = f"binlogs are kept for {days:.2g} days: a connector away for longer loses changes"
        fix = f"SET GLOBAL binlog_expire_logs_seconds = {RETENTION_SECONDS}, and in its file"
        checks.append(Check("binlog retention", "warn", what, fix))
    return checks


def _version(facts: MariaDbFacts) -> Check:
    name = "MariaDB" if facts.is_mariadb else "MySQL"
    said = f"{name} {facts.version[0]}.{facts.version[1]}"
    if facts.is_mariadb and facts.version >= _VERSION_MIN:
        return Check("server version", "ok", said)
    return Check("server version", "warn", f"{said}; tested with MariaDB 10.11", "try it with a copy first")


def _identity(facts: MariaDbFacts, wanted: MariaDbWanted) -> list[Check]:
    checks = []
    if facts.gtid_position:
        checks.append(Check("gtid", "ok", f"the binlog is at {facts.gtid_position}"))
    elif facts.is_mariadb:
        what = "nothing was ever written under a GTID: the connector would fail after its snapshot"
        fix = "write once (create the signal table), then start the connector"
        checks.append(Check("gtid", "fail", what, fix))
    else:
        what = "gtid_mode is off or nothing was written: positions name files of this one server"
        checks.append(Check("gtid", "warn", what, "turn gtid_mode on"))
    if facts.gtid_position.count(",") and facts.is_mariadb:
        what = (
            "several GTID domains write here: answers name no database position, and min_position is refused"
        )
        checks.append(Check("gtid domains", "warn", what, "let one domain write what is captured"))
    if not facts.gtid_strict:
        what = "gtid_strict_mode is OFF: sequence numbers may step back, and positions with them"
        fix = "SET GLOBAL gtid_strict_mode = ON, and in the server's file"
        checks.append(Check("gtid_strict_mode", "warn", what, fix))
    if wanted.server_id is None:
        checks.append(Check("server_id", "ok", f"the server's is {facts.server_id}"))
    elif wanted.server_id == facts.server_id:
        what = f"database.server.id is {wanted.server_id}, which is the server's own: it sends no changes"
        checks.append(Check("server_id", "fail", what, "give the connector a number that no server has"))
    else:
        said = f"the server's is {facts.server_id}, the connector's {wanted.server_id}"
        checks.append(Check("server_id", "ok", said))
    return checks


def _login(facts: MariaDbFacts, wanted: MariaDbWanted) -> list[Check]:
    account = facts.user.rpartition("@")[0]
    if wanted.user is not None and wanted.user != account:
        what = f"the connector logs in as {wanted.user}, and {account} looked: its rights are not known"
        return [Check("privileges", "warn", what, f"let `database` be the login of {wanted.user}")]
    known = facts.privileges
    if missing := [name for name in _needed(facts) if name not in known]:
        what = f"{facts.user} lacks {', '.join(missing)}: the task fails after it has started"
        user, _, host = facts.user.rpartition("@")
        return [Check("privileges", "fail", what, f"GRANT {', '.join(missing)} ON *.* TO '{user}'@'{host}'")]
    if "SUPER" in known:
        fix = "give the connector a user of its own with RELOAD, BINLOG MONITOR, REPLICATION SLAVE and SELECT"
        what = f"{facts.user} is an administrator: whoever has the connector has the server"
        return [Check("privileges", "warn", what, fix)]
    return [Check("privileges", "ok", f"{facts.user} may read the binlog and lock for a snapshot")]


def _needed(facts: MariaDbFacts) -> tuple[str, ...]:
    renamed = facts.is_mariadb and facts.version >= (10, 5)
    return GLOBAL_PRIVILEGES if renamed else _MYSQL_PRIVILEGES


def _table(table: MariaDbTable | None, name: str, wanted: MariaDbWanted) -> list[Check]:
    title = f"table {name}"
    if table is None:
        fix = "create it, let the login read it, or take it from the source's tables"
        return [Check(title, "fail", "does not exist, or this login may not see it", fix)]
    if table.kind != "BASE TABLE":
        return [
            Check(
                title,
                "fail",
                f"is no plain table ({table.kind.lower()}): it stops the connector",
                "capture plain tables only",
            )
        ]
    bad = _columns(table, title, wanted)
    if not table.key:
        what = "has no primary key: its changes come without a key, and cannot be told apart"
        bad.append(Check(title, "fail", what, f"ALTER TABLE {name} ADD PRIMARY KEY (…)"))
    if not table.readable:
        bad.append(Check(title, "fail", "the login may not read it: no snapshot", f"GRANT SELECT ON {name}"))
    bad += [
        Check(
            title,
            "warn",
            f"foreign key {cascade}: rows that the server changes by it give no event, and stay searchable",
            "change the child rows in the application, or take a new snapshot and `tailrace resync` after it",
        )
        for cascade in table.cascades
    ]
    return bad or [Check(title, "ok", f"key ({', '.join(table.key)})")]


def _columns(table: MariaDbTable, title: str, wanted: MariaDbWanted) -> list[Check]:
    used = wanted.columns.get(table.name, frozenset())
    checks = unknown_columns(title, used - {column.name for column in table.columns})
    for column in table.columns:
        if column.type in UNPARSEABLE or column.compressed:
            what = f"{column.name} is {column.full_type}: the connector stops, captured or excluded"
            checks.append(Check(title, "fail", what, "change the column's type"))
        elif column.type == "year":
            what = f"{column.name} is a year: a row with 0000 fails the snapshot"
            checks.append(Check(title, "warn", what, "write NULL instead, or make it a smallint"))
        elif column.name in used and (what := _spelled(column)):
            checks.append(
                Check(title, "warn", f"{column.name} {what}", "convert it in the table, or leave it out")
            )
    return checks


def _spelled(column: MariaDbColumn) -> str:
    """What becomes of the column's values on their way, where that is not what a reader expects."""
    full_type = column.full_type.lower()
    if column.type == "bit" and full_type != "bit(1)":
        return f"is {full_type}: it arrives as base64, lowest byte first"
    if column.type == "bigint" and "unsigned" in full_type:
        return "is bigint unsigned: numbers from 2^63 on arrive negative"
    if column.default is not None and "0000-00-00" in column.default:
        return "has a zero date as its default: it arrives as 1970, or as NULL in snapshots"
    return _TYPES.get(column.type, "")


def _signal(facts: MariaDbFacts, wanted: MariaDbWanted) -> list[Check]:
    name = wanted.signal_table
    if name is None:
        return []
    if not facts.signal_exists:
        what = f"{name} does not exist, or this login may not see it: tables cannot be read again"
        fix = f"CREATE TABLE {name} (id VARCHAR(42) PRIMARY KEY, type VARCHAR(32) NOT NULL, data TEXT)"
        return [Check("signal table", "warn", what, fix)]
    if not facts.signal_writable:
        what = f"{facts.user} may not INSERT into {name}: a signal would be logged and do nothing"
        return [Check("signal table", "warn", what, f"GRANT SELECT, INSERT ON {name} TO the connector")]
    return [Check("signal table", "ok", f"{name} is there and writable")]


def _beat(facts: MariaDbFacts, wanted: MariaDbWanted) -> list[Check]:
    name = wanted.heartbeat_table
    if name is None:
        return []
    if facts.beat_lacks:
        verbs = ", ".join(sorted(facts.beat_lacks))
        what = f"{facts.user} may not {verbs} {name}, or it does not exist: the first heartbeat ends the task"
        fix = f"CREATE TABLE {name} (name VARCHAR(64) PRIMARY KEY, beat TIMESTAMP(6) NOT NULL), GRANT {verbs}"
        return [Check("heartbeat table", "fail", what, fix)]
    return [Check("heartbeat table", "ok", f"{name} is there and writable")]


def _elsewhere(facts: MariaDbFacts, wanted: MariaDbWanted) -> list[Check]:
    own = {f"{name}." for name in wanted.tables}
    others = [one for one in facts.dangerous if not one.startswith(tuple(own))]
    if not others:
        return []
    what = (
        f"{', '.join(others)}: the connector reads the definition of every table of the server and stops at"
        f" such a column ({_SEEN})"
    )
    fix = "change the type, or keep such tables on another server"
    return [Check("other tables", "warn", what, fix)]
