"""What a configuration loses by ways that look harmless: transforms, retention, patterns, other settings."""

import ast
from pathlib import Path

import pytest

import connectors.presets
from connectors.inspect import captured_tables
from connectors.preset import POSTGRES_CLASS, RULES, violations
from connectors.presets.mariadb import mariadb_config
from connectors.presets.mongodb import mongodb_config
from connectors.presets.sqlserver import sqlserver_config
from connectors.violation import Violation
from tests.unit.connect_world import shop_config

KAFKA = "org.apache.kafka.connect.transforms"
PASSWORD = "${file:/secrets/connect.properties:debezium}"  # noqa: S105 - a reference


def found(changed: dict[str, str], base: dict[str, str] | None = None) -> list[Violation]:
    return violations({**(base or shop_config()), **changed})


def rules(changed: dict[str, str], base: dict[str, str] | None = None) -> set[str]:
    return {violation.rule for violation in found(changed, base)}


def mariadb() -> dict[str, str]:
    return mariadb_config(
        prefix="shop",
        tables=["shop.articles"],
        host="db.example",
        port=3306,
        user="debezium",
        password=PASSWORD,
        server_id=4712,
        history_servers="kafka:9092",
        signal_table="shop.debezium_signal",
    )


def mongodb() -> dict[str, str]:
    return mongodb_config(
        prefix="shop",
        collections=["shop.articles"],
        connection_string="mongodb://db.example:27017/?replicaSet=rs0",
        user="debezium",
        password=PASSWORD,
        signal_collection="shop.signals",
    )


def sqlserver() -> dict[str, str]:
    return sqlserver_config(
        prefix="shop",
        tables=["dbo.articles"],
        host="db.example",
        port=1433,
        databases=["shop"],
        user="debezium",
        password=PASSWORD,
        history_servers="kafka:9092",
        signal_table="shop.dbo.signals",
    )


def transform(type_: str, alias: str = "x", **options: str) -> dict[str, str]:
    return {
        "transforms": alias,
        f"transforms.{alias}.type": type_,
        **{f"transforms.{alias}.{key.replace('__', '.')}": value for key, value in options.items()},
    }


@pytest.mark.parametrize(
    "changed",
    [
        transform(f"{KAFKA}.Filter", alias="a.b"),
        transform(f"{KAFKA}.Filter")
        | {"transforms": " y , x ", "transforms.y.type": f"{KAFKA}.InsertHeader"},
        transform(f"{KAFKA}.RegexRouter", regex=".*", replacement="all"),
        transform(f"{KAFKA}.ReplaceField$Value", exclude="source,op"),
        transform(f"{KAFKA}.InsertField$Value", static__field="op", static__value="c"),
        transform(f"{KAFKA}.DropHeaders", headers="note,__debezium.newkey"),
        transform(f"{KAFKA}.InsertHeader", header="__debezium.newkey", value__literal="1"),
        transform("io.debezium.transforms.ExtractChangedRecordState"),
        transform("io.debezium.transforms.ByLogicalTableRouter"),
        transform("io.debezium.connector.mongodb.transforms.ExtractNewDocumentState"),
        transform("io.debezium.transforms.outbox.EventRouter"),
    ],
)
def test_a_transform_that_does_more_than_to_add_a_header_needs_a_reason(changed: dict[str, str]) -> None:
    assert rules(changed) == {"transforms"}
    assert violations({**shop_config(), **changed}, ["transforms"]) == []


@pytest.mark.parametrize(
    "changed",
    [
        transform(f"{KAFKA}.InsertHeader", header="note", value__literal="1"),
        transform(f"{KAFKA}.DropHeaders", headers="note, other"),
        {"transforms": "", "transforms.x.type": f"{KAFKA}.Filter"},
        {"transforms.x.type": f"{KAFKA}.Filter"},
    ],
)
def test_a_header_of_ones_own_and_what_no_list_names_is_harmless(changed: dict[str, str]) -> None:
    assert "transforms" not in rules(changed)


def test_transforms_that_a_reference_names_cannot_be_judged() -> None:
    assert "transforms" in rules({"transforms": "${file:/secrets/a:transforms}"})


ROUTER = {
    **transform("io.debezium.transforms.outbox.EventRouter", predicate="p"),
    "predicates": "p",
    "predicates.p.type": f"{KAFKA}.predicates.TopicNameMatches",
    "predicates.p.pattern": r"shop\.public\.outbox",
}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, set()),
        ({"transforms.x.negate": "false"}, set()),
        ({"transforms.x.negate": "true"}, {"transforms"}),
        ({"predicates.p.pattern": r"shop\.public\..*"}, {"transforms"}),
        ({"predicates.p.type": f"{KAFKA}.predicates.HasHeaderKey"}, {"transforms"}),
        ({"predicates": "q"}, {"transforms", "class"}),
    ],
)
def test_an_outbox_is_routed_where_a_predicate_names_its_one_topic(
    changed: dict[str, str], expected: set[str]
) -> None:
    assert rules({**ROUTER, **changed}) == expected


GROUP = {"topic.creation.groups": "beats,all", "topic.creation.all.include": r"shop\..*"}
KEPT = {"topic.creation.all.cleanup.policy": "delete", "topic.creation.all.retention.ms": "604800000"}


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        (GROUP | KEPT | {"topic.creation.all.retention.ms": "1000"}, "all.retention.ms"),
        (GROUP | KEPT | {"topic.creation.all.retention.bytes": "1000"}, "all.retention.bytes"),
        (GROUP | {"topic.creation.all.cleanup.policy": "delete"}, "all.retention.ms"),
        (GROUP | {"topic.creation.all.retention.ms": "-1"}, "all.cleanup.policy"),
        ({"topic.creation.default.retention.bytes": "1"}, "default.retention.bytes"),
        (
            {"topic.creation.beats.include": r"__debezium\-heartbeat\.shop,shop\.public\.articles"},
            "beats.retention.ms",
        ),
        ({"topic.creation.beats.include": r"shop\..*"}, "beats.retention.ms"),
        ({"topic.creation.beats.include": ""}, "beats.retention.ms"),
    ],
)
def test_each_group_of_topics_keeps_what_a_worker_may_be_behind(changed: dict[str, str], key: str) -> None:
    assert [(v.rule, v.key) for v in found(changed)] == [("topics", f"topic.creation.{key}")]


@pytest.mark.parametrize(
    "changed",
    [
        GROUP | KEPT,
        GROUP | KEPT | {"topic.creation.all.retention.bytes": "-1"},
        {"topic.creation.default.retention.bytes": "-1"},
        {"topic.prefix": "other"},
        {
            "topic.heartbeat.prefix": "beats",
            "topic.creation.beats.include": r"beats\.shop,shop\.ops\.pulse",
            "heartbeat.action.query": "UPDATE ops.pulse SET at = now() WHERE id = 1",
        },
    ],
)
def test_heartbeats_may_go_soon_and_the_rest_may_stay(changed: dict[str, str]) -> None:
    assert rules(changed) == set()


IN_FLIGHT = "producer.override.max.in.flight.requests.per.connection"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({IN_FLIGHT: "1"}, set()),
        ({IN_FLIGHT: "5"}, {"producer"}),
        ({IN_FLIGHT: "${file:/a:b}"}, {"producer"}),
        ({IN_FLIGHT: "5", "producer.override.enable.idempotence": "true"}, set()),
    ],
)
def test_several_requests_at_once_need_idempotence(changed: dict[str, str], expected: set[str]) -> None:
    assert rules(changed) == expected


@pytest.mark.parametrize(
    ("base", "key", "value"),
    [
        (shop_config(), "lsn.flush.mode", "manual"),
        (shop_config(), "lsn.flush.mode", "connector_and_driver"),
        (shop_config(), "lsn.flush.mode", "${file:/a:b}"),
        (shop_config(), "flush.lsn.source", "false"),
        (shop_config(), "message.key.columns", "public.articles:slug"),
        (shop_config(), "topic.delimiter", "_"),
        (shop_config(), "topic.delimiter", ""),
        (shop_config(), "snapshot.isolation.mode", "read_uncommitted"),
        (shop_config(), "exactly.once.support", "${file:/a:b}"),
        (sqlserver(), "snapshot.isolation.mode", "READ_UNCOMMITTED"),
        (mariadb(), "snapshot.locking.mode", "none"),
        (mariadb(), "snapshot.locking.mode", "custom"),
        (mariadb(), "gtid.source.excludes", ".*"),
        (mariadb(), "gtid.source.includes", "0-1-.*"),
        (mongodb(), "cursor.pipeline", "[]"),
        (mongodb(), "capture.mode", "change_streams_update_fullx"),
    ],
)
def test_a_setting_that_loses_or_garbles_is_a_rule_of_its_own_name(
    base: dict[str, str], key: str, value: str
) -> None:
    assert rules({key: value}, base) == {key}
    assert violations({**base, key: value}, [key]) == []


@pytest.mark.parametrize(
    ("base", "changed"),
    [
        (shop_config(), {"lsn.flush.mode": "connector", "flush.lsn.source": "true"}),
        (shop_config(), {"topic.delimiter": ".", "message.key.columns": ""}),
        (shop_config(), {"snapshot.isolation.mode": "repeatable_read", "snapshot.locking.mode": "none"}),
        (sqlserver(), {"snapshot.isolation.mode": "snapshot"}),
        (sqlserver(), {"driver.encrypt": "true", "driver.trustServerCertificate": "false"}),
        (mariadb(), {"snapshot.locking.mode": "minimal", "database.include.list": "shop"}),
        (mariadb(), {"gtid.source.includes": "0-1-.*", "gtid.source.filter.dml.events": "false"}),
    ],
)
def test_what_loses_nothing_is_not_refused(base: dict[str, str], changed: dict[str, str]) -> None:
    assert rules(changed, base) == set()


def test_a_snapshot_of_a_part_of_a_collection_needs_a_reason() -> None:
    assert rules({"snapshot.collection.filter.overrides": "shop.articles"}, mongodb()) == {"partial-snapshot"}


@pytest.mark.parametrize(
    ("base", "changed"),
    [
        (shop_config(), {"schema.exclude.list": "public"}),
        (shop_config(), {"schema.exclude.list": "pub.*"}),
        (shop_config(), {"schema.include.list": "audit"}),
        (sqlserver(), {"schema.exclude.list": "DBO"}),
        (mariadb(), {"database.exclude.list": "other,shop"}),
        (mariadb(), {"database.include.list": "other"}),
        (mongodb(), {"database.exclude.list": "shop"}),
    ],
)
def test_a_list_that_takes_listed_tables_away_again_is_refused(
    base: dict[str, str], changed: dict[str, str]
) -> None:
    assert [(v.rule, v.key) for v in found(changed, base)] == [("tables", next(iter(changed)))]


@pytest.mark.parametrize("key", ["schema.include.list", "schema.exclude.list"])
def test_of_a_pattern_it_is_not_said_that_nothing_comes(key: str) -> None:
    (violation,) = found({key: "public.*"})
    assert "may take away" in violation.why


@pytest.mark.parametrize(
    "changed",
    [{"schema.include.list": "audit, public"}, {"schema.exclude.list": r"audit,log\_2"}],
)
def test_a_list_of_schemas_that_takes_nothing_away_is_harmless(changed: dict[str, str]) -> None:
    assert rules(changed) == set()


ENTRIES = [
    r"public\.\w+",
    r"public\.[a-z_]+",
    r"public\..{1,60}",
    r"public\.\S+",
    "public.a|public.b",
    "public.a$",
]


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_is_no_one_table_to_the_look_at_the_database_is_a_pattern(entry: str) -> None:
    changed = {"table.include.list": f"{entry},public.ok"}
    assert rules(changed) == {"tables"}
    assert captured_tables(changed) == ["public.ok"]
    assert "tables" in rules(
        {"table.include.list": f"{entry.replace('public', 'shop')},shop.debezium_signal"}, mariadb()
    )
    assert rules({"collection.include.list": entry}, mongodb()) == {"tables"}


@pytest.mark.parametrize(
    "entry", [r"public\.a", "public.a", r"public\.order\$lines", r"public\.a\ b", r" public\.ä "]
)
def test_one_table_may_be_spelt_with_and_without_backslashes(entry: str) -> None:
    assert rules({"table.include.list": entry}) == set()


def test_every_rule_is_known_by_its_name() -> None:
    """A rule that the list lacks could not be waived."""
    folder = Path(connectors.presets.__file__).parent
    named = {
        node.args[0].value
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Violation"
        if isinstance(node.args[0], ast.Constant)
    }
    assert "no-tls" in named
    assert named <= RULES
    bare = [
        {"connector.class": base["connector.class"]}
        for base in (shop_config(), mariadb(), mongodb(), sqlserver())
    ]
    assert {violation.rule for config in bare for violation in violations(config)} <= RULES
    assert POSTGRES_CLASS not in RULES
