"""Verdicts about a database, one fault at a time."""

from dataclasses import replace

import pytest

from connectors.checks import Check, worst
from connectors.postgres_facts import Column, Facts, Publication, Role, Slot, Table, Wanted
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
FACTS = Facts(
    version=15,
    wal_level="logical",
    slot_wal_keep_mb=1024,
    slots_free=3,
    role=Role("debezium", superuser=False, replication=True),
    tables={"public.docs": TABLE, "public.signal": SIGNAL},
    publication=PUBLICATION,
    slot=SLOT,
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
            "fail",
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
