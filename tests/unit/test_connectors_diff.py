"""The plan between files and a cluster: which keys, which warnings, whose connectors, and no secret."""

from collections.abc import Mapping
from typing import Literal

import pytest

from connectors.diff import OWNER_KEY, Desired, Plan, owner_mark, plan
from connectors.live import ConnectorStatus, LiveConnector, TaskStatus
from connectors.masking import MASK
from connectors.preset import MARIADB_CLASS, MYSQL_CLASS, POSTGRES_CLASS
from tests.unit.connect_world import CANARY, shop_config


def live(
    name: str, config: Mapping[str, str], state: str = "RUNNING", task: str | None = None
) -> LiveConnector:
    tasks = (
        ()
        if state == "STOPPED"
        else (TaskStatus(0, task or state, "w", "trace" if task == "FAILED" else None),)
    )
    return LiveConnector(name, config, ConnectorStatus(name, state, "w", tasks))


def compared(desired: Mapping[str, str], found: Mapping[str, str] | None, owner: str | None = None) -> Plan:
    there = {} if found is None else {"shop": live("shop", found)}
    return plan([Desired("shop", desired)], there, owner=owner)


def test_an_equal_connector_is_no_change() -> None:
    made = compared(shop_config(), shop_config())
    assert (made.summary(), made.changes) == ("no changes", [])


def test_a_new_connector_shows_all_its_keys() -> None:
    made = compared({"connector.class": POSTGRES_CLASS, "a": "1"}, None)
    assert [str(change) for change in made.steps[0].changes] == [
        "+ a: 1",
        f"+ connector.class: {POSTGRES_CLASS}",
    ]
    assert made.summary() == "1 change: 1 create"
    assert not made.steps[0].risks, "nothing is read again that was never read"


def test_each_key_is_added_changed_or_removed() -> None:
    made = compared({"a": "1", "b": "2"}, {"b": "3", "c": "4"})
    assert [str(change) for change in made.steps[0].changes] == ["+ a: 1", "~ b: 3 → 2", "- c: 4"]


@pytest.mark.parametrize(
    ("key", "one", "other", "equal"),
    [
        ("table.include.list", "public.a, public.b", "public.b,public.a", True),
        ("table.include.list", "public.a,public.b", "public.a,public.c", False),
        ("table.include.list", r"public\.a{1,2},b", r"b,public\.a{1,2}", True),
        ("column.exclude.list", " a.b.c ,d.e.f", "d.e.f,a.b.c", True),
        ("transforms", "one,two", "two,one", False),
        ("poll.interval.ms", "50", " 50 ", True),
        ("snapshot.mode", "initial", "Initial", False),
    ],
)
def test_what_means_the_same_is_equal(key: str, one: str, other: str, equal: bool) -> None:
    made = compared({key: one}, {key: other})
    assert (made.changes == []) is equal


@pytest.mark.parametrize(
    ("key", "before", "after", "said"),
    [
        ("topic.prefix", "a", "b", "read again into new topics"),
        ("slot.name", "a", "b", "tailrace resync"),
        ("publication.name", "a", "b", "falls silent"),
        ("snapshot.mode", "initial", "always", "without offsets"),
        ("database.server.id", "1", "2", "off the server"),
        ("database.hostname", "a", "b", "positions of its own"),
        ("database.dbname", "a", "b", "another database"),
        ("database.names", "a", "b", "begins anew"),
        ("mongodb.connection.string", "mongodb://a", "mongodb://b", "positions of its own"),
        ("capture.mode", "change_streams", "change_streams_update_full", "keeps its old form"),
        ("signal.data.collection", "a.b", "a.c", "old table"),
        ("schema.history.internal.kafka.topic", "a", "b", "does not start"),
        ("schema.history.internal.kafka.bootstrap.servers", "a", "b", "does not start"),
        ("topic.delimiter", ".", "_", "topics of other names"),
        ("topic.naming.strategy", "a", "b", "topics of other names"),
        ("topic.heartbeat.prefix", "a", "b", "heartbeats"),
        ("message.key.columns", "a", "b", "under its old key"),
        ("offsets.storage.topic", "a", "b", "read again"),
        ("predicates", "a", "b", "keeps its old form"),
        ("predicates.a.pattern", "a", "b", "keeps its old form"),
        ("unavailable.value.placeholder", "a", "b", "tailrace.yaml at the same time"),
        ("value.converter.schemas.enable", "false", "true", "keeps its old form"),
        ("column.exclude.list", "a", "b", "a snapshot fills in"),
        ("table.include.list", r"public\.a", r"public\.a,public\.b", "snapshot start shop --table public.b`"),
        (
            "table.include.list",
            r"public\.a,public\.b",
            r"public\.a",
            "public.b: rows in topics and index stay",
        ),
        ("table.exclude.list", r"public\.a,public\.b", r"public\.a", "--table public.b`"),
        ("collection.include.list", "shop.a", "shop.a,shop.b", "not read for a new table;"),
        ("schema.include.list", "public", "public,audit", "not read for a new table;"),
        ("database.exclude.list", "a,b", "a", "not read for a new table;"),
    ],
)
def test_a_key_that_reads_again_or_orphans_warns_loudly(key: str, before: str, after: str, said: str) -> None:
    made = compared({key: after}, {key: before})
    (change,) = made.steps[0].changes
    assert change.risk is not None
    assert said in change.risk


def test_a_list_of_tables_that_was_not_there_or_goes_names_no_table() -> None:
    tables = {"table.include.list": r"public\.a"}
    for desired, found in ((tables, {}), ({}, tables)):
        (change,) = compared(desired, found).steps[0].changes
        assert change.risk is not None
        assert "not read for a new table;" in change.risk


def test_a_harmless_key_does_not_warn() -> None:
    assert compared({"poll.interval.ms": "1"}, {"poll.interval.ms": "2"}).steps[0].risks == []


@pytest.mark.parametrize(
    ("desired", "found"),
    [
        ({"database.password": CANARY}, {"database.password": "x"}),
        ({"database.password": "x"}, {"database.password": CANARY}),
        ({"database.password": f"{CANARY}1"}, {"database.password": f"{CANARY}2"}),
        ({"odd.key": CANARY}, {"odd.key": "x"}),
        ({"odd.key": "x"}, {"odd.key": CANARY}),
        ({"a": f"jdbc:postgresql://u:{CANARY}@h/d"}, {}),
        ({"table.include.list": f"{CANARY}-9"}, {"table.include.list": "x"}),
        ({}, {"my.secret": CANARY}),
    ],
)
def test_no_secret_is_in_a_plan(desired: dict[str, str], found: dict[str, str]) -> None:
    named = {"connector.class": "P"}
    there = {"shop": live("shop", {**named, **found})}
    wanted = Desired("shop", {**named, **desired}, secrets=frozenset({f"{CANARY}-9"}))
    made = plan([wanted], there, password_keys={"P": ["odd.key"]})
    assert made.changes, "that it differs is told"
    assert CANARY not in repr(made)
    assert MASK in str(made.steps[0].changes[0])


@pytest.mark.parametrize(
    ("wanted", "state", "task", "expected"),
    [
        ("running", "RUNNING", None, None),
        ("running", "RUNNING", "UNASSIGNED", None),
        ("running", "RUNNING", "FAILED", ("failed", "running")),
        ("running", "PAUSED", None, ("paused", "running")),
        ("running", "STOPPED", None, ("stopped", "running")),
        ("paused", "RUNNING", None, ("running", "paused")),
        ("stopped", "PAUSED", None, ("paused", "stopped")),
        ("stopped", "STOPPED", None, None),
    ],
)
def test_the_state_is_a_change_of_its_own(
    wanted: Literal["running", "paused", "stopped"],
    state: str,
    task: str | None,
    expected: tuple[str, str] | None,
) -> None:
    desired = Desired("shop", {"a": "1"}, wanted)
    made = plan([desired], {"shop": live("shop", {"a": "1"}, state, task)})
    assert made.steps[0].state == expected
    assert made.steps[0].action == ("none" if expected is None else "state")


def test_only_what_bears_our_mark_is_ours_to_prune() -> None:
    there = {
        "kept": live("kept", {"a": "1", OWNER_KEY: "shop"}),
        "old": live("old", {OWNER_KEY: "shop"}),
        "by-hand": live("by-hand", {}),
        "other": live("other", {OWNER_KEY: "other"}),
    }
    desired = [Desired("kept", {"a": "1"})]
    made = plan(desired, there, owner="shop")
    assert (made.orphans, made.foreign, made.changes) == (("old",), ("by-hand", "other"), [])
    pruned = plan(desired, there, owner="shop", prune=True)
    assert [(step.name, step.action) for step in pruned.changes] == [("old", "prune")]
    assert plan(desired, there, prune=True).orphans == (), "without an owner nothing is ours"


def test_what_another_file_still_names_is_no_orphan() -> None:
    there = {"old": live("old", {OWNER_KEY: "shop"}), "beside": live("beside", {OWNER_KEY: "shop"})}
    made = plan([], there, owner="shop", prune=True, kept={"beside"})
    assert (made.orphans, made.foreign) == (("old",), ())
    assert [step.name for step in made.changes] == ["old"]


def test_a_profile_has_a_mark_of_its_own() -> None:
    assert owner_mark("shop", None) == "shop"
    assert owner_mark("shop", "staging") == "shop@staging"
    assert owner_mark("shop@prod", "staging") == "shop@prod", "given whole"
    assert owner_mark("shop@", "staging") == "shop", "that of no profile"
    assert owner_mark(None, "staging") is None
    there = {"prod": live("prod", {OWNER_KEY: "shop"}), "old": live("old", {OWNER_KEY: "shop@staging"})}
    made = plan([], there, owner=owner_mark("shop", "staging"), prune=True)
    assert (made.orphans, made.foreign) == (("old",), ("prod",))
    made = compared({"a": "1"}, {"a": "1", OWNER_KEY: "shop"}, owner="shop@staging")
    assert "belongs to 'shop', not to 'shop@staging'" in made.conflicts[0]
    assert made.conflicts[0].endswith("--owner shop@"), "the one spelling that means it"


def test_a_connector_made_by_hand_is_adopted_by_its_mark() -> None:
    made = compared({"a": "1"}, {"a": "1"}, owner="shop")
    assert [str(change) for change in made.steps[0].changes] == [f"+ {OWNER_KEY}: shop"]


def test_a_connector_of_somebody_else_is_a_conflict() -> None:
    made = compared({"a": "1"}, {"a": "1", OWNER_KEY: "other"}, owner="shop")
    assert "belongs to 'other'" in made.conflicts[0]


@pytest.mark.parametrize("key", ["slot.name", "topic.prefix", "database.server.id", "publication.name"])
def test_two_connectors_that_would_fight_are_a_conflict(key: str) -> None:
    server = {"database.hostname": "db", "database.port": "1"}
    there = {"theirs": live("theirs", {**server, key: "x"})}
    made = plan([Desired("ours", {**server, key: "x"})], there)
    assert len(made.conflicts) == 1
    assert all(word in made.conflicts[0] for word in ("theirs", "ours", key))
    elsewhere = {**server, "database.hostname": "other", key: "x"}
    assert bool(plan([Desired("ours", elsewhere)], there).conflicts) is (key == "topic.prefix")


@pytest.mark.parametrize(
    ("kind", "key", "port"),
    [
        (POSTGRES_CLASS, "slot.name", "5432"),
        (POSTGRES_CLASS, "publication.name", "5432"),
        (MARIADB_CLASS, "database.server.id", "3306"),
        (MYSQL_CLASS, "database.server.id", "3306"),
    ],
)
def test_one_server_is_one_server_however_it_is_written(kind: str, key: str, port: str) -> None:
    ours = {"connector.class": kind, "database.hostname": "db.example", key: "7"}
    for theirs, same in (
        ({**ours, "database.port": port}, True),
        ({**ours, "database.hostname": "DB.Example", "database.port": port}, True),
        ({**ours, "database.port": "1"}, False),
    ):
        made = plan([Desired("ours", ours)], {"theirs": live("theirs", theirs)})
        assert bool(made.conflicts) is same


def test_what_is_pruned_frees_what_it_held() -> None:
    config = {"slot.name": "x"}
    there = {"old": live("old", {**config, OWNER_KEY: "shop"})}
    desired = [Desired("new", config)]
    assert plan(desired, there, owner="shop").conflicts
    assert not plan(desired, there, owner="shop", prune=True).conflicts


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("database.hostname", "db1"),
        ("topic.prefix", "old"),
        ("table.include.list", r"public\.a"),
        ("mongodb.connection.string", f"mongodb://u:{CANARY}@a/"),
    ],
)
def test_a_warning_stays_where_a_value_is_masked(key: str, found: str) -> None:
    secret = f"{CANARY}-9"
    wanted = Desired("shop", {key: secret}, secrets=frozenset({secret}), filled=frozenset({key}))
    made = plan([wanted], {"shop": live("shop", {key: found})})
    (change,) = made.steps[0].changes
    assert change.after == MASK
    assert change.risk is not None
    assert CANARY not in repr(made)


def test_a_part_of_a_list_that_is_masked_is_in_no_warning() -> None:
    wanted = Desired(
        "shop",
        {"table.include.list": r"canary\.a,public\.b"},
        secrets=frozenset({"canary"}),
        filled=frozenset(),
    )
    made = plan([wanted], {"shop": live("shop", {"table.include.list": r"canary\.z"})})
    (change,) = made.steps[0].changes
    assert change.risk is not None
    assert "canary" not in repr(made)


def test_the_old_value_of_a_filled_in_key_is_masked_wherever_it_stands() -> None:
    old = {"mongodb.x": "OLDTOKEN11", "note": "with OLDTOKEN11", "kept": "${file:/a:b}"}
    wanted = Desired(
        "shop",
        {"mongodb.x": "NEWTOKEN22", "note": "n", "kept": "NEWTOKEN22"},
        secrets=frozenset({"NEWTOKEN22"}),
        filled=frozenset({"mongodb.x", "kept"}),
    )
    made = plan([wanted], {"shop": live("shop", old)}, owner="o")
    shown = {change.key: str(change) for change in made.steps[0].changes}
    assert shown["mongodb.x"] == f"~ mongodb.x: {MASK} → {MASK}"
    assert shown["note"] == f"~ note: with {MASK} → n"
    assert shown["kept"] == f"~ kept: ${{file:/a:b}} → {MASK}", "a reference is none"
    assert "TOKEN" not in repr(made)


def test_a_connector_of_a_new_name_reads_all_again() -> None:
    config = {"topic.prefix": "shop", "slot.name": "x", "database.hostname": "db"}
    there = {"old": live("old", {**config, OWNER_KEY: "me"})}
    (made, gone) = plan([Desired("new", config)], there, owner="me", prune=True).steps
    assert (made.action, gone.action) == ("create", "prune")
    (risk,) = made.risks
    assert risk.startswith("topic.prefix: old has it and goes, and offsets are kept by name")
    (made, _) = plan(
        [Desired("new", {**config, "topic.prefix": "b", "slot.name": "y"})], there, owner="me", prune=True
    ).steps
    assert not made.risks
