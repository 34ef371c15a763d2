"""Whether a Postgres database can be captured without loss: facts in, verdicts out. Pure.

`connectors/postgres.py` reads the facts; each rule's reason is in its message.
"""

from typing import Final

from connectors.checks import Check, unknown_columns
from connectors.postgres_facts import Facts, Table, Wanted

LOST_WHEN_UNCHANGED: Final = frozenset({"numeric[]", "bytea[]"})
"""Types whose unchanged long values the connector sends as null, as if the row held NULL."""

_PUBLISHED: Final = ("insert", "update", "delete", "truncate")
_VERSION_MIN: Final = 15


def preflight(facts: Facts, wanted: Wanted) -> list[Check]:
    """Every verdict, the good ones too, in the order in which to mend them."""
    return [
        *_server(facts, wanted),
        _role(facts, wanted),
        *(check for name in wanted.tables for check in _table(facts.tables.get(name), name, wanted)),
        *_publication(facts, wanted),
        *_signal(facts, wanted),
        _slot(facts, wanted),
    ]


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
        return Check("role", "fail", what, f"ALTER ROLE {role.name} REPLICATION")
    return Check("role", "ok", f"{role.name} may replicate and is no superuser")


def _table(table: Table | None, name: str, wanted: Wanted) -> list[Check]:
    title = f"table {name}"
    if table is None:
        return [Check(title, "fail", "does not exist", "create it, or take it from the source's tables")]
    bad = [
        *_key(table, title),
        *_identity(table, title, wanted),
        *_columns(table, title, wanted),
    ]
    if not table.readable:
        fix = f"GRANT SELECT ON {name} TO {wanted.role or 'the connector'}"
        bad.append(Check(title, "fail", "the connector's role may not read it: no snapshot", fix))
    return bad or [Check(title, "ok", f"key ({', '.join(table.primary_key)}), replica identity fits")]


def _key(table: Table, title: str) -> list[Check]:
    if not table.primary_key:
        what = "has no primary key: once it is published, the application's own UPDATE and DELETE fail"
        return [Check(title, "fail", what, f"ALTER TABLE {table.name} ADD PRIMARY KEY (…)")]
    if table.deferrable_key and table.identity == "d":
        what = "its primary key is DEFERRABLE, and so no replica identity: UPDATE and DELETE fail"
        return [Check(title, "fail", what, f"make the key NOT DEFERRABLE, or {_full(table.name)}")]
    return []


def _identity(table: Table, title: str, wanted: Wanted) -> list[Check]:
    if table.identity == "n":
        what = "REPLICA IDENTITY NOTHING: UPDATE and DELETE fail once it is published"
        return [Check(title, "fail", what, f"ALTER TABLE {table.name} REPLICA IDENTITY DEFAULT")]
    if wanted.replica_identity_full and table.identity != "f":
        what = "the configuration says replica_identity_full, and the table's is not"
        return [Check(title, "fail", what, f"{_full(table.name)}, or take the setting back")]
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
        if column.type in LOST_WHEN_UNCHANGED and table.identity != "f":
            what = f"{column.name} is {column.type}: a long value that did not change arrives as NULL"
            checks.append(Check(title, "fail", what, f"{_full(table.name)}, or do not use the column"))
    return checks


def _publication(facts: Facts, wanted: Wanted) -> list[Check]:
    title, publication = "publication", facts.publication
    needed = {*wanted.tables, *([wanted.heartbeat_table] if wanted.heartbeat_table else [])}
    if publication is None:
        # A publication names tables that exist; the signal table is wanted by snapshots only.
        signal = wanted.signal_table
        needed |= {signal} if signal is not None and signal in facts.tables else set()
        fix = (
            f"CREATE PUBLICATION {wanted.publication} FOR TABLE {', '.join(sorted(needed))}"
            " WITH (publish_via_partition_root = true)"
        )
        return [Check(title, "fail", f"{wanted.publication} does not exist: nothing would come", fix)]
    checks = []
    if missing := sorted(needed - publication.tables):
        fix = f"ALTER PUBLICATION {publication.name} ADD TABLE {', '.join(missing)}"
        what = f"{publication.name} lacks {', '.join(missing)}: their changes would never come"
        checks.append(Check(title, "fail", what, fix))
    if unpublished := [what for what in _PUBLISHED if what not in publication.publishes]:
        fix = f"ALTER PUBLICATION {publication.name} SET (publish = '{', '.join(_PUBLISHED)}')"
        what = f"{publication.name} leaves out {', '.join(unpublished)}"
        checks.append(Check(title, "fail", what, fix))
    partitioned = [name for name in wanted.tables if name in facts.tables and facts.tables[name].partitioned]
    if partitioned and not publication.via_root:
        fix = f"ALTER PUBLICATION {publication.name} SET (publish_via_partition_root = true)"
        what = f"{', '.join(partitioned)} would come as one topic for each partition"
        checks.append(Check(title, "fail", what, fix))
    if publication.all_tables:
        what = f"{publication.name} is FOR ALL TABLES: a new table without a key loses UPDATE and DELETE"
        checks.append(Check(title, "warn", what, "make one that lists its tables"))
    return checks or [Check(title, "ok", f"{publication.name} has all tables and operations")]


def _signal(facts: Facts, wanted: Wanted) -> list[Check]:
    title, name, publication = "signal table", wanted.signal_table, facts.publication
    if name is None:
        return []
    role = wanted.role or "the connector"
    table = facts.tables.get(name)
    if table is None:
        what = f"{name} does not exist: tables cannot be read again"
        fix = (
            f"CREATE TABLE {name} (id text PRIMARY KEY, type text NOT NULL, data text),"
            f" GRANT SELECT, INSERT, DELETE ON {name} TO {role}, and publish it"
        )
        return [Check(title, "warn", what, fix)]
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
    held = f"holds {slot.retained_bytes / 1e6:.0f} MB of WAL"
    if slot.plugin != "pgoutput":
        return Check(
            "slot", "fail", f"{slot.name} decodes with {slot.plugin}, not pgoutput", "use another slot name"
        )
    if slot.wal_status == "lost":
        what = f"{slot.name} is lost: the database dropped WAL that the connector had not read"
        return Check(
            "slot", "fail", what, "drop the slot, delete the connector's offsets, then `tailrace resync`"
        )
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


def _full(table: str) -> str:
    return f"ALTER TABLE {table} REPLICA IDENTITY FULL (costs WAL)"
