"""Verdicts about a database, one fault at a time."""

from dataclasses import replace

import pytest

from connectors.checks import Check, worst
from connectors.postgres_facts import (
    Column,
    Facts,
    HeartbeatTable,
    Partition,
    Publication,
    Role,
    Slot,
    Table,
    Wanted,
)
from connectors.preflight import preflight

TABLE = Table(
    name="public.docs",
    identity="d",
    primary_key=("id",),
    deferrable_key=False,
    partitioned=False,
    readable=True,
    columns=(
        Column("id", "bigint"),
        Column("body", "text"),
        Column("marks", "numeric[]"),
        Column("shout", "text", generated=True),
    ),
)
SIGNAL = replace(TABLE, name="public.signal", columns=())
PUBLICATION = Publication(
    name="pub",
    tables=frozenset({"public.docs", "public.beat", "public.signal"}),
    publishes=frozenset({"insert", "update", "delete", "truncate"}),
    via_root=True,
)
SLOT = Slot("slot", "pgoutput", active=True, wal_status="reserved", retained_bytes=0)
BEAT = HeartbeatTable("public.beat", frozenset())
FACTS = Facts(
    version=15,
    wal_level="logical",
    slot_wal_keep_mb=1024,
    slots_free=3,
    role=Role("debezium", superuser=False, replication=True),
    tables={"public.docs": TABLE, "public.signal": SIGNAL},
    publication=PUBLICATION,
    slot=SLOT,
    heartbeat=BEAT,
    database="shop",
)
WANTED = Wanted(
    tables=("public.docs",),
    columns={"public.docs": frozenset({"id", "body"})},
    slot="slot",
    publication="pub",
    role="debezium",
    heartbeat_table="public.beat",
    signal_table="public.signal",
)


def bad(facts: Facts = FACTS, wanted: Wanted = WANTED) -> list[Check]:
    return [check for check in preflight(facts, wanted) if check.status != "ok"]


def with_table(table: Table) -> Facts:
    return replace(FACTS, tables={**FACTS.tables, "public.docs": table})


def test_a_good_database_is_all_ok() -> None:
    assert bad() == []
    assert worst(preflight(FACTS, WANTED)) == "ok"


@pytest.mark.parametrize(
    ("facts", "name", "status", "fix"),
    [
        (replace(FACTS, wal_level="replica"), "wal_level", "fail", "ALTER SYSTEM SET wal_level = logical"),
        (replace(FACTS, slot_wal_keep_mb=-1), "WAL limit", "fail", "max_slot_wal_keep_size"),
        (replace(FACTS, version=13), "postgres version", "warn", "upgrade"),
        (replace(FACTS, role=None), "role", "fail", "CREATE ROLE debezium"),
        (replace(FACTS, role=Role("debezium", True, False)), "role", "warn", "role of its own"),
        (
            replace(FACTS, role=Role("debezium", False, False)),
            "role",
            "fail",
            "ALTER ROLE debezium REPLICATION",
        ),
        (replace(FACTS, tables={"public.signal": SIGNAL}), "table public.docs", "fail", "create it"),
        (with_table(replace(TABLE, primary_key=())), "table public.docs", "fail", "ADD PRIMARY KEY"),
        (with_table(replace(TABLE, deferrable_key=True)), "table public.docs", "fail", "NOT DEFERRABLE"),
        (with_table(replace(TABLE, identity="n")), "table public.docs", "fail", "REPLICA IDENTITY DEFAULT"),
        (with_table(replace(TABLE, readable=False)), "table public.docs", "fail", "GRANT SELECT"),
        (
            replace(FACTS, publication=None),
            "publication",
            "fail",
            "CREATE PUBLICATION pub FOR TABLE public.beat, pub",
        ),
        (
            replace(
                FACTS, publication=replace(PUBLICATION, tables=frozenset({"public.docs", "public.signal"}))
            ),
            "publication",
            "warn",
            "ADD TABLE public.beat",
        ),
        (
            replace(FACTS, publication=replace(PUBLICATION, publishes=frozenset({"insert", "update"}))),
            "publication",
            "fail",
            "SET (publish",
        ),
        (replace(FACTS, publication=replace(PUBLICATION, all_tables=True)), "publication", "warn", "lists"),
        (
            replace(
                with_table(replace(TABLE, partitioned=True)), publication=replace(PUBLICATION, via_root=False)
            ),
            "publication",
            "fail",
            "publish_via_partition_root",
        ),
        (replace(FACTS, slot=None), "slot", "warn", "tailrace resync"),
        (replace(FACTS, slot=replace(SLOT, plugin="wal2json")), "slot", "fail", "another slot"),
        (replace(FACTS, slot=replace(SLOT, wal_status="lost")), "slot", "fail", "tailrace resync"),
        (replace(FACTS, slot=replace(SLOT, wal_status="unreserved")), "slot", "fail", "start the connector"),
        (replace(FACTS, slot=replace(SLOT, active=False)), "slot", "warn", "start the connector"),
        (replace(FACTS, slot=replace(SLOT, retained_bytes=600 * 2**20)), "slot", "warn", "lags"),
    ],
)
def test_each_fault_is_found_alone_with_what_to_do(facts: Facts, name: str, status: str, fix: str) -> None:
    (found,) = bad(facts)
    assert (found.name, found.status) == (name, status)
    assert fix in found.fix


def test_a_slot_that_cannot_be_made_fails() -> None:
    full = replace(FACTS, slots_free=0, slot=None)
    assert [(check.name, check.status) for check in bad(full)] == [("slots", "fail"), ("slot", "warn")]
    assert bad(replace(full, slot=SLOT)) == [], "one that exists needs no free one"


def test_only_columns_in_use_are_judged() -> None:
    used = replace(WANTED, columns={"public.docs": frozenset({"marks", "shout", "gone"})})
    found = bad(wanted=used)
    assert [check.status for check in found] == ["fail"] * 3
    text = " ".join(check.what for check in found)
    assert all(name in text for name in ("marks", "shout", "gone"))


def test_a_full_identity_saves_arrays_but_not_generated_columns() -> None:
    used = replace(WANTED, columns={"public.docs": frozenset({"marks", "shout"})})
    (found,) = bad(with_table(replace(TABLE, identity="f")), used)
    assert "shout" in found.what


def test_a_promised_full_identity_is_checked() -> None:
    promised = replace(WANTED, replica_identity_full=True)
    assert "REPLICA IDENTITY FULL" in bad(wanted=promised)[0].fix
    assert bad(with_table(replace(TABLE, identity="f")), promised) == []


@pytest.mark.parametrize(
    ("facts", "fix"),
    [
        (replace(FACTS, tables={"public.docs": TABLE}), "CREATE TABLE public.signal (id text PRIMARY KEY"),
        (
            replace(FACTS, tables={**FACTS.tables, "public.signal": replace(SIGNAL, writable=False)}),
            "GRANT SELECT, INSERT, DELETE ON public.signal TO debezium",
        ),
        (
            replace(
                FACTS, publication=replace(PUBLICATION, tables=frozenset({"public.docs", "public.beat"}))
            ),
            "ALTER PUBLICATION pub ADD TABLE public.signal",
        ),
    ],
    ids=["missing", "denied", "unpublished"],
)
def test_a_signal_table_of_no_use_is_a_warning(facts: Facts, fix: str) -> None:
    (check,) = bad(facts)
    assert (check.name, check.status) == ("signal table", "warn")
    assert check.fix is not None
    assert fix in check.fix
    assert bad(facts, replace(WANTED, signal_table=None)) == []


def test_a_publication_to_be_made_has_the_signal_table_if_there_is_one() -> None:
    (made,) = bad(replace(FACTS, publication=None))
    assert made.fix is not None
    assert "FOR TABLE public.beat, public.docs, public.signal WITH" in made.fix
    without, _ = bad(replace(FACTS, publication=None, tables={"public.docs": TABLE}))
    assert without.fix is not None
    assert "FOR TABLE public.beat, public.docs WITH" in without.fix


@pytest.mark.parametrize(
    ("beat", "fix"),
    [
        (None, "CREATE TABLE public.beat (name text PRIMARY KEY, beat timestamptz NOT NULL); GRANT"),
        (
            replace(BEAT, lacks=frozenset({"UPDATE", "SELECT"})),
            "GRANT SELECT, UPDATE ON public.beat TO debezium",
        ),
        (replace(BEAT, schema_usable=False), "GRANT USAGE ON SCHEMA public TO debezium"),
    ],
    ids=["missing", "denied", "closed"],
)
def test_a_heartbeat_that_is_refused_in_silence_is_a_fault(beat: HeartbeatTable | None, fix: str) -> None:
    (check,) = bad(replace(FACTS, heartbeat=beat))
    assert (check.name, check.status, fix in check.fix) == ("heartbeat table", "fail", True)
    assert "holds WAL" in check.what
    assert bad(replace(FACTS, heartbeat=None), replace(WANTED, heartbeat_table=None)) == []


def test_a_heartbeat_table_without_its_schema_is_found_where_the_login_finds_it() -> None:
    bare = replace(WANTED, heartbeat_table="beat")
    assert bad(wanted=bare) == []
    (check,) = bad(replace(FACTS, heartbeat=None), bare)
    assert (check.name, check.status) == ("heartbeat table", "warn")


def test_a_publication_that_sends_a_part_is_seen() -> None:
    def published(**of: object) -> Facts:
        return replace(FACTS, publication=replace(PUBLICATION, **of))  # type: ignore[arg-type]

    (check,) = bad(published(filters={"public.docs": "(published)"}))
    assert (check.name, check.status, "(published)" in check.what) == ("publication", "fail", True)
    assert (
        "ALTER PUBLICATION pub DROP TABLE public.docs; ALTER PUBLICATION pub ADD TABLE public.docs"
        in check.fix
    )
    (check,) = bad(published(columns={"public.docs": frozenset({"id", "marks"})}))
    assert (check.status, "leaves out body of public.docs, which the configuration uses" in check.what) == (
        "fail",
        True,
    )
    (check,) = bad(published(columns={"public.docs": frozenset({"id", "body"})}))
    assert (check.status, "leaves out marks" in check.what) == ("warn", True)
    whole = frozenset({"id", "body", "marks"})
    assert bad(published(columns={"public.docs": whole})) == [], "a generated column is never sent"


def test_rows_that_the_role_does_not_see_are_a_fault() -> None:
    (check,) = bad(with_table(replace(TABLE, rows_hidden=True)))
    assert (check.name, check.status) == ("table public.docs", "fail")
    assert "ALTER ROLE debezium BYPASSRLS" in check.fix


def test_a_schema_that_the_role_may_not_use_is_a_fault() -> None:
    (check,) = bad(with_table(replace(TABLE, schema_usable=False)))
    assert (check.status, check.fix) == ("fail", "GRANT USAGE ON SCHEMA public TO debezium")
    (check,) = bad(
        replace(FACTS, tables={**FACTS.tables, "public.signal": replace(SIGNAL, schema_usable=False)})
    )
    assert (check.name, check.status) == ("signal table", "warn")


@pytest.mark.parametrize(
    ("key", "status"), [((), "fail"), (("mail",), "fail"), (("id",), "warn"), (("mail", "id"), "warn")]
)
def test_an_index_as_identity_must_hold_the_key(key: tuple[str, ...], status: str) -> None:
    by_index = replace(TABLE, identity="i", identity_key=key)
    (check,) = bad(with_table(by_index))
    assert (check.name, check.status) == ("table public.docs", status)
    assert check.fix == "ALTER TABLE public.docs REPLICA IDENTITY DEFAULT"
    child = Partition("public.docs_1", "i", key)
    (check,) = bad(with_table(replace(TABLE, partitioned=True, partitions=(child,))))
    assert (check.status, check.fix) == (status, "ALTER TABLE public.docs_1 REPLICA IDENTITY DEFAULT")


def test_each_partition_has_an_identity_of_its_own() -> None:
    def split(identity: str, *children: str) -> Facts:
        made = tuple(Partition(f"public.docs_{number}", one) for number, one in enumerate(children))
        return with_table(replace(TABLE, identity=identity, partitioned=True, partitions=made))

    (check,) = bad(split("d", "d", "n"))
    assert (check.status, "public.docs_1: REPLICA IDENTITY NOTHING" in check.what) == ("fail", True)
    (check,) = bad(split("d", "n", "n", "n", "n", "n"))
    assert "public.docs_0, public.docs_1, public.docs_2 and 2 more: " in check.what
    promised = replace(WANTED, replica_identity_full=True)
    assert bad(split("f", "f", "f"), promised) == []
    (check,) = bad(split("f", "f", "d"), promised)
    assert check.fix.startswith("ALTER TABLE public.docs_1 REPLICA IDENTITY FULL")
    arrays = replace(WANTED, columns={"public.docs": frozenset({"marks"})})
    assert bad(split("f", "f"), arrays) == []
    assert "marks" in bad(split("f", "d"), arrays)[0].what


def test_a_slot_of_another_database_is_a_fault() -> None:
    theirs = replace(FACTS, slot=replace(SLOT, database="other"))
    (check,) = bad(theirs)
    assert (check.name, check.status, "of database other" in check.what) == ("slot", "fail", True)
    assert bad(replace(FACTS, slot=replace(SLOT, database="shop"))) == []
    (check,) = bad(theirs, replace(WANTED, database="other"))
    assert (check.name, check.status) == ("database", "warn"), "it is the looked-at one that is wrong"


@pytest.mark.parametrize("mode", ["filtered", "all_tables"])
def test_a_publication_that_the_connector_makes_is_no_fault(mode: str) -> None:
    makes = replace(WANTED, autocreate=mode)
    (check,) = bad(replace(FACTS, publication=None), makes)
    assert (check.name, check.status, "CREATE PUBLICATION pub" in check.fix) == ("publication", "warn", True)
    partial = replace(PUBLICATION, tables=frozenset({"public.beat", "public.signal"}))
    (check,) = bad(replace(FACTS, publication=partial), makes)
    assert check.status == ("warn" if mode == "filtered" else "fail"), "it adds tables in this mode only"
    (check,) = bad(replace(FACTS, publication=None), replace(WANTED, autocreate="no_tables"))
    assert check.status == "fail"
