"""Incremental snapshots: what the signal says, what the offsets tell, and what would never be read."""

import json
from dataclasses import replace
from typing import Any

import pytest

from connectors.mariadb_facts import MariaDbColumn, MariaDbFacts, MariaDbTable
from connectors.positions import has_reached
from connectors.postgres_facts import Column, Facts, Publication, Table
from connectors.snapshot_keys import decode_key
from connectors.snapshots import execute, initial_running, progress, refusals, stop
from core.errors import DecodeError

ARRAY = "aced0005757200135b4c6a6176612e6c616e672e4f626a6563743b90ce589f1073296c02000078700000000"
NUMBER = "787200106a6176612e6c616e672e4e756d62657286ac951d0b94e08b0200007870"
LONG = f"7372000e6a6176612e6c616e672e4c6f6e673b8be490cc8f23df0200014a000576616c7565{NUMBER}"
INTEGER = f"737200116a6176612e6c616e672e496e746567657212e2a0a4f781873802000149000576616c7565{NUMBER}"
TEXT = "7400203239346537636537346265376438616431663862343037346539656662613037"
"""As a running connector committed them."""


def key(value: int) -> str:
    return f"{ARRAY}1{LONG}{value:016x}"


def offset(*tables: str, at: str | None = None, end: str | None = None) -> list[dict[str, Any]]:
    listed = [{"incremental_snapshot_collections_id": table} for table in tables]
    state = {
        "incremental_snapshot_correlation_id": "s1",
        "incremental_snapshot_collections": json.dumps(listed),
        "incremental_snapshot_primary_key": at,
        "incremental_snapshot_maximum_key": end,
    }
    return [{"partition": {"server": "shop"}, "offset": {"lsn_commit": 8, **(state if tables else {})}}]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        (key(52189), (52189,)),
        (f"{ARRAY}2{TEXT}{INTEGER}0000509f", ("294e7ce74be7d8ad1f8b4074e9efba07", 20639)),
        (f"{ARRAY}2{LONG}{1:016x}7371007e0002{2:016x}", (1, 2)),
        (f"{ARRAY}270{TEXT}", (None, "294e7ce74be7d8ad1f8b4074e9efba07")),
        (f"{ARRAY}2{TEXT}71007e0002", ("294e7ce74be7d8ad1f8b4074e9efba07",) * 2),
    ],
)
def test_a_key_is_read_from_java(text: str, columns: tuple[object, ...]) -> None:
    assert decode_key(text) == columns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "xyz",
        "aced0005",
        key(1)[:-2],
        f"{ARRAY}0",
        f"{ARRAY}1{LONG}",
        f"{ARRAY}171007e0000",
        f"{ARRAY}17371007e0009",
        f"{ARRAY}179",
        "ff" * 40,
        # java.util.Date: an object that is no number.
        f"{ARRAY}17372000e6a6176612e7574696c2e44617465686a81014b59741903000078707708000001" + "00" * 8,
    ],
)
def test_what_is_no_such_key_is_refused_and_nothing_is_made_of_it(text: str) -> None:
    with pytest.raises(DecodeError):
        decode_key(text)


def test_progress_is_read_from_the_committed_offsets() -> None:
    found = progress(offset("public.a", "public.b", at=key(50), end=key(200)))
    assert found is not None
    assert found.share == 0.25
    assert str(found) == "reading public.a, at key 50 of 200 (25%); then public.b"
    assert found.signal == "s1"


def test_before_its_first_chunk_only_the_end_is_known() -> None:
    assert str(progress(offset("public.a", end=key(230)))) == "reading public.a, keys up to 230"


def test_no_snapshot_no_progress() -> None:
    assert progress(offset()) is None
    assert progress([]) is None
    assert progress([{"partition": {}, "offset": None}]) is None


@pytest.mark.parametrize(
    ("at", "end", "share"),
    [
        (None, key(9), None),
        (key(9), None, None),
        ("00", key(9), None),
        (key(9), key(0), None),
        (key(10), key(9), 1.0),
        (f"{ARRAY}1{TEXT}", f"{ARRAY}1{TEXT}", None),
    ],
)
def test_a_share_is_told_only_where_it_is_known(at: str | None, end: str | None, share: float | None) -> None:
    found = progress(offset("public.a", at=at, end=end))
    assert found is not None
    assert found.share == share
    assert "public.a" in str(found)


def test_signals_say_what_and_have_an_id_of_their_own() -> None:
    one, two = execute(["public.a", "public.b"]), execute(["public.a"])
    assert json.loads(one.data) == {"data-collections": ["public.a", "public.b"], "type": "incremental"}
    assert one.id != two.id
    assert json.loads(stop().data) == {"type": "incremental"}
    assert json.loads(stop(["public.a"]).data)["data-collections"] == ["public.a"]


@pytest.mark.parametrize(
    ("offsets", "running"),
    [
        ([], True),
        ([{"offset": {"lsn": 1, "snapshot": "INITIAL", "snapshot_completed": False}}], True),
        ([{"offset": {"lsn": 1, "snapshot": "INITIAL", "snapshot_completed": True}}], False),
        ([{"offset": {"lsn_commit": 1}}], False),
    ],
)
def test_the_first_snapshot_is_told_from_what_follows(offsets: list[dict[str, Any]], running: bool) -> None:
    assert initial_running(offsets) is running


CONFIG = {
    "signal.data.collection": "public.signal",
    "table.include.list": r"public\.a,public\.generated,public\.keyless,public\.hidden,public\.unpublished",
    "publication.name": "p",
}


def facts() -> Facts:
    def table(
        name: str,
        *,
        key: tuple[str, ...] = ("id",),
        readable: bool = True,
        generated: bool = False,
        writable: bool = True,
    ) -> Table:
        columns = (Column("id", "bigint"), Column("total", "bigint", generated))
        return Table(name, "d", key, False, False, readable, columns, writable)

    tables = [
        table("public.a"),
        table("public.generated", generated=True),
        table("public.keyless", key=()),
        table("public.hidden", readable=False),
        table("public.unpublished"),
        table("public.uncaptured"),
        table("public.signal"),
        table("public.other"),
        table("public.denied", writable=False),
    ]
    published = frozenset(t.name for t in tables if t.name not in {"public.unpublished", "public.other"})
    return Facts(
        version=15,
        wal_level="logical",
        slot_wal_keep_mb=1,
        slots_free=1,
        role=None,
        tables={t.name: t for t in tables},
        publication=Publication("p", published, frozenset({"insert"}), via_root=True),
        slot=None,
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("public.nosuch", "does not exist"),
        ("public.generated", "generated column total: the connector skips such a table without a word"),
        ("public.keyless", "no primary key"),
        ("public.hidden", "may not SELECT"),
        ("public.unpublished", "ALTER PUBLICATION p ADD TABLE public.unpublished"),
        ("public.uncaptured", "not in the connector's table.include.list"),
    ],
)
def test_a_table_that_would_be_skipped_in_silence_is_refused(table: str, said: str) -> None:
    found = refusals(CONFIG, ["public.a", table], facts())
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"signal.data.collection": ""}, "no signal.data.collection"),
        ({"signal.enabled.channels": "kafka"}, "lacks `source`"),
        ({"signal.data.collection": "public.other"}, "ALTER PUBLICATION p ADD TABLE public.other"),
        ({"signal.data.collection": "public.nosuch"}, "the signal table public.nosuch does not exist"),
        ({"signal.data.collection": "public.denied"}, "GRANT INSERT ON public.denied"),
    ],
)
def test_a_signal_that_would_not_be_heard_is_refused(changed: dict[str, str], said: str) -> None:
    (found,) = refusals({**CONFIG, **changed}, ["public.a"], facts())
    assert said in found


def test_a_table_that_can_be_read_is_not_refused() -> None:
    assert refusals(CONFIG, ["public.a"], facts()) == []
    assert refusals({**CONFIG, "signal.enabled.channels": "kafka, source"}, ["public.a"], facts()) == []


@pytest.mark.parametrize("listed", [r"public\.a.*,public\.b", r"public\.(a|b)", ""])
def test_a_table_that_a_pattern_captures_is_read_like_one_by_its_name(listed: str) -> None:
    assert refusals({**CONFIG, "table.include.list": listed}, ["public.a"], facts()) == []


def test_a_pattern_captures_what_it_matches_whole() -> None:
    (found,) = refusals({**CONFIG, "table.include.list": r"public\.[ab]"}, ["public.keyless"], facts())[:1]
    assert "not in the connector's table.include.list" in found


MARIADB_CONFIG = {
    "signal.data.collection": "shop.signal",
    "table.include.list": r"shop\.a,shop\.keyless,shop\.hidden,shop\.view,shop\.signal",
}


def mariadb_facts() -> MariaDbFacts:
    # A generated column is in snapshots and in changes: no reason to refuse the table.
    columns = (MariaDbColumn("id", "bigint", "bigint(20)"), MariaDbColumn("total", "bigint", "bigint(20)"))
    one = MariaDbTable("shop.a", "BASE TABLE", ("id",), readable=True, columns=columns)
    tables = [
        one,
        replace(one, name="shop.keyless", key=()),
        replace(one, name="shop.hidden", readable=False),
        replace(one, name="shop.view", kind="VIEW"),
        replace(one, name="shop.uncaptured"),
    ]
    return MariaDbFacts(
        is_mariadb=True,
        version=(10, 11),
        user="debezium@%",
        log_bin=True,
        binlog_format="ROW",
        binlog_row_image="FULL",
        retention_seconds=0,
        server_id=1,
        gtid_position="0-1-1",
        privileges=frozenset(),
        signal_writable=True,
        signal_exists=True,
        beat_lacks=frozenset(),
        unlogged=frozenset(),
        tables={table.name: table for table in tables},
        dangerous=(),
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("shop.nosuch", "write it as database.table"),
        ("shop.keyless", "no primary key"),
        ("shop.hidden", "may not SELECT"),
        ("shop.view", "no plain table (view)"),
        ("shop.uncaptured", "not in the connector's table.include.list"),
    ],
)
def test_a_table_of_mariadb_that_would_not_be_read_is_refused(table: str, said: str) -> None:
    (found,) = refusals(MARIADB_CONFIG, ["shop.a", table], mariadb_facts())
    assert said in found


@pytest.mark.parametrize(
    ("config", "facts", "said"),
    [
        ({"signal.data.collection": ""}, {}, "no signal.data.collection"),
        ({"table.include.list": r"shop\.a"}, {}, "shop.signal is not in the connector's table.include.list"),
        ({}, {"signal_exists": False}, "the signal table shop.signal does not exist"),
        ({}, {"signal_writable": False}, "GRANT INSERT ON shop.signal"),
    ],
)
def test_a_signal_that_mariadbs_connector_would_not_hear_is_refused(
    config: dict[str, str], facts: dict[str, Any], said: str
) -> None:
    (found,) = refusals({**MARIADB_CONFIG, **config}, ["shop.a"], replace(mariadb_facts(), **facts))
    assert said in found


def test_a_table_of_mariadb_that_can_be_read_is_not_refused() -> None:
    assert refusals(MARIADB_CONFIG, ["shop.a"], mariadb_facts()) == []
    pattern = {**MARIADB_CONFIG, "table.include.list": r"shop\..*"}
    assert refusals(pattern, ["shop.a"], mariadb_facts()) == []


@pytest.mark.parametrize(
    ("committed", "position", "reached"),
    [
        ({"lsn_commit": 8}, "0/8", True),
        ({"lsn_commit": 8}, "0/9", False),
        ({"lsn_commit": 8, "snapshot": "INITIAL"}, "0/8", False),
        ({"gtids": "0-1-41"}, "0-1-42", False),
        ({"gtids": "0-2-42"}, "0-1-42", True),
        ({"gtids": "0-1-50,7-1-9"}, "7-1-10", False),
        ({"gtids": "0-1-50,7-1-10"}, "7-1-10", True),
        ({"gtids": "0-1-50"}, "7-1-1", False),
        ({"gtids": "0-1-50", "snapshot": "INITIAL"}, "0-1-1", False),
        ({}, "0/1", False),
    ],
)
def test_a_signal_is_heard_once_the_offsets_have_its_position(
    committed: dict[str, Any], position: str, reached: bool
) -> None:
    assert has_reached([{"partition": {}, "offset": committed}], position) is reached
    assert not has_reached([], position)
