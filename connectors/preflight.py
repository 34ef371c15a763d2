"""Whether a Postgres database can be captured without loss: facts in, verdicts out. Pure.

`connectors/postgres.py` reads the facts; each rule's reason is in its message.
"""

from typing import Final

from connectors.checks import Check, unknown_columns
from connectors.postgres_facts import Facts, Table, Wanted
from connectors.preflight_identity import identity_checks, is_full
from connectors.preflight_publication import publication_checks

LOST_WHEN_UNCHANGED: Final = frozenset({"numeric[]", "bytea[]"})
"""Types whose unchanged long values the connector sends as null, as if the row held NULL."""

_VERSION_MIN: Final = 15


def preflight(facts: Facts, wanted: Wanted) -> list[Check]:
    """Every verdict, the good ones too, in the order in which to mend them."""
    return [
        *_database(facts, wanted),
        *_server(facts, wanted),
        _role(facts, wanted),
        *(check for name in wanted.tables for check in _table(facts, name, wanted)),
        *publication_checks(facts, wanted),
        *_heartbeat(facts, wanted),
        *_signal(facts, wanted),
        _slot(facts, wanted),
    ]


def _database(facts: Facts, wanted: Wanted) -> list[Check]:
    if wanted.database is None or facts.database is None or wanted.database == facts.database:
        return []
    what = f"it is {facts.database} that is looked at, and the connector reads {wanted.database}"
    return [Check("database", "warn", what, "correct sources.<name>.database: what follows is of another")]


def _server(facts: Facts, wanted: Wanted) -> list[Check]:
    checks = []
    if facts.version < _VERSION_MIN:
        what = f"server version {facts.version}; tested from {_VERSION_MIN} on"
        checks.append(Check("postgres version", "warn", what, "upgrade the server"))
    else:
        checks.append(Check("postgres version", "ok", f"server version {facts.version}"))
    if facts.wal_level == "logical":
        checks.append(Check("wal_level", "ok", "wal_level is logical"))
    else:
        fix = "ALTER SYSTEM SET wal_level = logical; then restart the server"
        checks.append(
            Check("wal_level", "fail", f"wal_level is {facts.wal_level}: nothing can be captured", fix)
        )
    if facts.slot_wal_keep_mb >= 0:
        checks.append(Check("WAL limit", "ok", f"a slot holds at most {facts.slot_wal_keep_mb} MB of WAL"))
    else:
        what = "max_slot_wal_keep_size is -1: a connector that stays away fills the database's disk"
        fix = "ALTER SYSTEM SET max_slot_wal_keep_size = '20GB'; SELECT pg_reload_conf();"
        checks.append(Check("WAL limit", "fail", what, fix))
    if facts.slot is not None or facts.slots_free > 0:
        checks.append(Check("slots", "ok", f"{facts.slots_free} replication slots free"))
    else:
        what = f"no replication slot is free for {wanted.slot}"
        checks.append(Check("slots", "fail", what, "raise max_replication_slots and restart the server"))
    return checks


def _role(facts: Facts, wanted: Wanted) -> Check:
    role = facts.role
    if role is None:
        fix = f"CREATE ROLE {wanted.role} LOGIN REPLICATION PASSWORD '…'"
        return Check("role", "fail", f"there is no role {wanted.role}", fix)
    if role.superuser:
        fix = "give the connector a role of its own: LOGIN REPLICATION, SELECT on the tables"
        return Check(
            "role", "warn", f"{role.name} is a superuser: whoever has the connector has the server", fix
        )
    if not role.replication:
        what = f"{role.name} may not replicate"
        fix = f"ALTER ROLE {role.name} REPLICATION; on Amazon RDS GRANT rds_replication TO {role.name}"
        return Check("role", "fail", what, fix)
    return Check("role", "ok", f"{role.name} may replicate and is no superuser")


def _table(facts: Facts, name: str, wanted: Wanted) -> list[Check]:
    title, table = f"table {name}", facts.tables.get(name)
    if table is None:
        return [Check(title, "fail", "does not exist", "create it, or take it from the source's tables")]
    bad = [
        *_key(table, title),
        *identity_checks(table, title, wanted),
        *_columns(table, title, wanted),
    ]
    to = _to(facts, wanted)
    if not table.schema_usable:
        fix = f"GRANT USAGE ON SCHEMA {_schema(name)} TO {to}"
        bad.append(Check(title, "fail", "the connector's role may not use its schema: no snapshot", fix))
    if not table.readable:
        fix = f"GRANT SELECT ON {name} TO {to}"
        bad.append(Check(title, "fail", "the connector's role may not read it: no snapshot", fix))
    if table.rows_hidden:
        what = "row-level security holds for the connector's role: a snapshot leaves out rows in silence"
        fix = f"ALTER ROLE {to} BYPASSRLS, or CREATE POLICY … ON {name} FOR SELECT TO {to} USING (true)"
        bad.append(Check(title, "fail", what, fix))
    return bad or [Check(title, "ok", f"key ({', '.join(table.primary_key)}), replica identity fits")]


def _key(table: Table, title: str) -> list[Check]:
    if not table.primary_key:
        what = "has no primary key: once it is published, the application's own UPDATE and DELETE fail"
        return [Check(title, "fail", what, f"ALTER TABLE {table.name} ADD PRIMARY KEY (…)")]
    if table.deferrable_key and table.identity == "d":
        what = "its primary key is DEFERRABLE, and so no replica identity: UPDATE and DELETE fail"
        return [Check(title, "fail", what, f"make the key NOT DEFERRABLE, or {_full(table.name)}")]
    return []


def _columns(table: Table, title: str, wanted: Wanted) -> list[Check]:
    used = wanted.columns.get(table.name, frozenset())
    checks = unknown_columns(title, used - {column.name for column in table.columns})
    for column in table.columns:
        if column.name not in used:
            continue
        if column.generated:
            what = f"{column.name} is generated: it is in snapshots and not in the changes that follow"
            checks.append(Check(title, "fail", what, "compute it in the template instead"))
        if column.type in LOST_WHEN_UNCHANGED and not is_full(table):
            what = f"{column.name} is {column.type}: a long value that did not change arrives as NULL"
            checks.append(Check(title, "fail", what, f"{_full(table.name)}, or do not use the column"))
    return checks


def _heartbeat(facts: Facts, wanted: Wanted) -> list[Check]:
    title, name, found, to = "heartbeat table", wanted.heartbeat_table, facts.heartbeat, _to(facts, wanted)
    if name is None:
        return []
    # The connector logs the refusal and goes on.
    comes_to = "no heartbeat is written, and the slot of an idle database holds WAL until the disk is full"
    grant = f"GRANT {', '.join(sorted(wanted.heartbeat_needs))} ON {name} TO {to}"
    if found is None and "." not in name:
        what = f"{name} is not on this login's search_path: whether the connector finds it is not known"
        return [Check(title, "warn", what, "write heartbeat.action.query with schema.table")]
    if found is None:
        fix = f"CREATE TABLE {name} (name text PRIMARY KEY, beat timestamptz NOT NULL); {grant}"
        return [Check(title, "fail", f"{name} does not exist: {comes_to}", fix)]
    if not found.schema_usable:
        what = f"the connector's role may not use the schema of {found.name}: {comes_to}"
        return [Check(title, "fail", what, f"GRANT USAGE ON SCHEMA {_schema(found.name)} TO {to}")]
    if found.lacks:
        lacks = ", ".join(sorted(found.lacks))
        what = f"the connector's role may not {lacks} {found.name}: {comes_to}"
        return [Check(title, "fail", what, f"GRANT {lacks} ON {found.name} TO {to}")]
    return [Check(title, "ok", f"{found.name} is there and writable")]


def _signal(facts: Facts, wanted: Wanted) -> list[Check]:
    title, name, publication = "signal table", wanted.signal_table, facts.publication
    if name is None:
        return []
    role = _to(facts, wanted)
    table = facts.tables.get(name)
    if table is None:
        what = f"{name} does not exist: tables cannot be read again"
        fix = (
            f"CREATE TABLE {name} (id text PRIMARY KEY, type text NOT NULL, data text),"
            f" GRANT SELECT, INSERT, DELETE ON {name} TO {role}, and publish it"
        )
        return [Check(title, "warn", what, fix)]
    if not table.schema_usable:
        what = f"the connector's role may not use the schema of {name}: tables cannot be read again"
        return [Check(title, "warn", what, f"GRANT USAGE ON SCHEMA {_schema(name)} TO {role}")]
    if not table.writable:
        what = f"the connector's role may not INSERT into {name}: a signal would be logged and do nothing"
        return [Check(title, "warn", what, f"GRANT SELECT, INSERT, DELETE ON {name} TO {role}")]
    if publication is not None and name not in publication.tables:
        what = f"{publication.name} lacks {name}: tables cannot be read again"
        return [Check(title, "warn", what, f"ALTER PUBLICATION {publication.name} ADD TABLE {name}")]
    return [Check(title, "ok", f"{name} is there and writable")]


def _slot(facts: Facts, wanted: Wanted) -> Check:  # noqa: PLR0911 - one return a state of the slot
    slot = facts.slot
    if slot is None:
        what = f"{wanted.slot} does not exist yet: the connector makes it at its first start"
        fix = "if the connector ran before, its changes since then are lost: `tailrace resync`"
        return Check("slot", "warn", what, fix)
    here = wanted.database or facts.database
    if slot.database is not None and here is not None and slot.database != here:
        what = f"{slot.name} is of database {slot.database}, and the connector reads {here}: it cannot start"
        return Check("slot", "fail", what, "set a slot.name of its own")
    held = f"holds {slot.retained_bytes / 1e6:.0f} MB of WAL"
    if slot.plugin != "pgoutput":
        return Check(
            "slot", "fail", f"{slot.name} decodes with {slot.plugin}, not pgoutput", "use another slot name"
        )
    if slot.wal_status == "lost":
        what = f"{slot.name} is lost: the database dropped WAL that the connector had not read"
        fix = "`tailrace connect offsets reset` with --stop, drop the slot, resume it, then `tailrace resync`"
        return Check("slot", "fail", what, fix)
    if slot.wal_status == "unreserved":
        what = f"{slot.name} {held}, more than its limit, and is lost at the next checkpoint"
        return Check("slot", "fail", what, "start the connector now, or raise max_slot_wal_keep_size")
    if not slot.active:
        what = f"{slot.name} is not read by anybody and {held}"
        return Check("slot", "warn", what, "start the connector, or drop the slot if it was deleted")
    if facts.slot_wal_keep_mb >= 0 and slot.retained_bytes > facts.slot_wal_keep_mb * 2**20 / 2:
        what = f"{slot.name} {held}: more than half of what max_slot_wal_keep_size allows"
        return Check("slot", "warn", what, "look why the connector lags")
    return Check("slot", "ok", f"{slot.name} is read and {held}")


def _to(facts: Facts, wanted: Wanted) -> str:
    """To whom something is granted."""
    return wanted.role or (facts.role.name if facts.role is not None else "the connector")


def _schema(table: str) -> str:
    return table.partition(".")[0]


def _full(table: str) -> str:
    return f"ALTER TABLE {table} REPLICA IDENTITY FULL (costs WAL)"
