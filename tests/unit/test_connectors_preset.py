"""What the preset enforces, and that a configuration cannot lose data in silence."""

import pytest

from connectors.preset import (
    MARIADB_CLASS,
    MONGODB_CLASS,
    MYSQL_CLASS,
    POSTGRES_CLASS,
    SQLSERVER_CLASS,
    postgres_config,
    violations,
)
from connectors.presets.mongodb import mongodb_config
from connectors.presets.sqlserver import sqlserver_config
from tests.unit.connect_world import shop_config


def rules(changed: dict[str, str], accept: tuple[str, ...] = ()) -> set[str]:
    return {violation.rule for violation in violations({**shop_config(), **changed}, accept)}


def test_the_preset_has_no_violation() -> None:
    assert violations(shop_config()) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("skipped.operations", "t"),
        ("snapshot.mode", "when_needed"),
        ("errors.tolerance", "all"),
        ("decimal.handling.mode", "precise"),
        ("binary.handling.mode", "base64"),
        ("publication.autocreate.mode", "all_tables"),
        ("value.converter.replace.null.with.default", "true"),
        ("event.processing.failure.handling.mode", "warn"),
    ],
)
def test_each_enforced_value_is_a_rule_of_its_own_name(key: str, value: str) -> None:
    assert rules({key: value}) == {key}
    assert rules({key: value}, accept=(key,)) == set()


def test_what_is_left_to_a_default_is_a_violation_too() -> None:
    """Debezium's defaults lose data: silence is no answer."""
    bare = {"connector.class": POSTGRES_CLASS, "topic.prefix": "shop"}
    found = {violation.rule for violation in violations(bare)}
    assert {
        "skipped.operations",
        "placeholder",
        "heartbeat",
        "tables",
        "own-names",
        "topics",
        "no-tls",
    } <= found


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("unavailable.value.placeholder", "__debezium_unavailable_value", "placeholder"),
        ("unavailable.value.placeholder", "x", "placeholder"),
        ("heartbeat.interval.ms", "0", "heartbeat"),
        ("heartbeat.interval.ms", "soon", "heartbeat"),
        ("heartbeat.action.query", "", "heartbeat"),
        ("slot.name", "debezium", "own-names"),
        ("topic.creation.default.cleanup.policy", "compact", "topics"),
        ("topic.creation.default.partitions", "4", "topics"),
        ("topic.creation.default.retention.ms", "3600000", "topics"),
        ("database.sslmode", "require", "no-tls"),
        ("table.include.list", "", "tables"),
    ],
)
def test_other_rules(key: str, value: str, rule: str) -> None:
    assert rules({key: value}) == {rule}


def test_retention_without_limit_is_enough() -> None:
    assert rules({"topic.creation.default.retention.ms": "-1"}) == set()


def test_a_violation_says_what_to_write() -> None:
    (found,) = violations({**shop_config(), "skipped.operations": "t"})
    assert str(found) == (
        "skipped.operations is t: by default a TRUNCATE is dropped, and its rows stay searchable;"
        " write none [skipped.operations]"
    )


def test_table_lists_match_these_tables_only() -> None:
    made = shop_config()
    assert made["table.include.list"] == r"public\.articles,public\.debezium_heartbeat"
    with pytest.raises(ValueError, match="plain"):
        postgres_config(
            prefix="p",
            tables=["public.*"],
            host="",
            port=1,
            database="",
            user="",
            password="",
            placeholder="",
        )


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("value.converter", None, "value.converter"),
        ("key.converter.schemas.enable", None, "schemas"),
        ("value.converter.schemas.enable", "maybe", "schemas"),
        ("table.include.list", r"public\.articles,public\..*", "tables"),
        ("topic.creation.beats.cleanup.policy", "compact", "topics"),
        ("topic.creation.beats.partitions", "3", "topics"),
        ("producer.override.acks", "1", "producer"),
        ("producer.override.enable.idempotence", "false", "producer"),
        ("snapshot.include.collection.list", "public.articles", "partial-snapshot"),
        ("exactly.once.support", "required", "exactly.once.support"),
        ("exactly.once.support", "Required", "exactly.once.support"),
    ],
)
def test_rules_of_every_database(key: str, value: str | None, rule: str) -> None:
    changed = {k: v for k, v in shop_config().items() if k != key} | ({} if value is None else {key: value})
    assert {violation.rule for violation in violations(changed)} == {rule}
    assert violations(changed, [rule]) == []


def test_exactly_once_that_is_only_requested_is_connects_own_default() -> None:
    assert rules({"exactly.once.support": "requested"}) == set()


@pytest.mark.parametrize(
    "type_",
    [
        "io.debezium.transforms.ExtractNewRecordState",
        "io.debezium.transforms.partitions.PartitionRouting",
        "org.apache.kafka.connect.transforms.Filter",
    ],
)
def test_a_transform_that_breaks_events_needs_a_reason(type_: str) -> None:
    changed = {"transforms": "x", "transforms.x.type": type_}
    assert rules(changed) == {"transforms"}
    assert rules(changed, ("transforms",)) == set()


def test_a_group_of_topics_takes_its_partitions_from_the_default() -> None:
    own = {"topic.creation.other.cleanup.policy": "delete", "topic.creation.other.retention.ms": "-1"}
    assert rules({"topic.creation.groups": "beats,other", "topic.creation.other.include": "x"} | own) == set()
    assert rules({"producer.override.acks": "-1"}) == set()


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"capture.mode": "change_streams"}, "capture.mode"),
        ({"cursor.oversize.handling.mode": "skip"}, "cursor.oversize.handling.mode"),
        ({"tombstones.on.delete": "false"}, "tombstones.on.delete"),
        ({"snapshot.mode": "no_data"}, "snapshot.mode"),
        ({"collection.include.list": r"shop\..*"}, "tables"),
        ({"mongodb.ssl.enabled": "false"}, "no-tls"),
        ({"mongodb.ssl.invalid.hostname.allowed": "true"}, "no-tls"),
    ],
)
def test_rules_of_mongodb(changed: dict[str, str], rule: str) -> None:
    made = mongodb_config(
        prefix="shop",
        collections=["shop.articles"],
        connection_string="mongodb://db.example:27017/?replicaSet=rs0",
        user="debezium",
        password="${env:PW}",  # noqa: S106 - a reference
        signal_collection="shop.signals",
    )
    assert violations(made) == []
    assert violations(made | {"capture.mode": "change_streams_update_full_with_pre_image"}) == []
    assert {violation.rule for violation in violations(made | changed)} == {rule}


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"decimal.handling.mode": "double"}, "decimal.handling.mode"),
        ({"time.precision.mode": "connect"}, "time.precision.mode"),
        ({"snapshot.mode": "when_needed"}, "snapshot.mode"),
        ({"schema.history.internal.kafka.topic": ""}, "history"),
        ({"schema.history.internal.kafka.bootstrap.servers": ""}, "history"),
        ({"database.encrypt": "false"}, "no-tls"),
        ({"database.trustServerCertificate": "true"}, "no-tls"),
        ({"driver.encrypt": "false"}, "no-tls"),
        ({"driver.trustServerCertificate": "true"}, "no-tls"),
        ({"table.include.list": ""}, "tables"),
    ],
)
def test_rules_of_sql_server(changed: dict[str, str], rule: str) -> None:
    made = sqlserver_config(
        prefix="shop",
        tables=["dbo.articles"],
        host="db.example",
        port=1433,
        databases=["shop"],
        user="debezium",
        password="${env:PW}",  # noqa: S106 - a reference
        history_servers="kafka:9092",
        signal_table="shop.dbo.signals",
    )
    assert violations(made) == []
    assert {violation.rule for violation in violations(made | changed)} == {rule}


def test_each_database_has_its_own_rules() -> None:
    for class_ in (MARIADB_CLASS, MYSQL_CLASS):
        assert "server-id" in {violation.rule for violation in violations({"connector.class": class_})}
    unknown = {violation.rule for violation in violations({"connector.class": "x"})}
    assert "class" in unknown
    assert "own-names" not in unknown


def test_each_thing_is_said_once() -> None:
    for class_ in (POSTGRES_CLASS, MARIADB_CLASS, MONGODB_CLASS, SQLSERVER_CLASS):
        found = [(v.rule, v.key) for v in violations({"connector.class": class_, "snapshot.mode": "x"})]
        assert len(found) == len(set(found))
