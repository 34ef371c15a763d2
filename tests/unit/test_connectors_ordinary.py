"""What ordinary configurations need, however much it looks like an attack, goes through."""

import pytest

from connectors.preset import MARIADB_CLASS, MONGODB_CLASS, NEVER_ACCEPTED, intrusions, violations
from tests.unit.connect_world import CANARY, shop_config


def rules(changed: dict[str, str]) -> set[str]:
    return {violation.rule for violation in violations({**shop_config(), **changed})}


@pytest.mark.parametrize(
    "changed",
    [
        {"database.hostname": "127.0.0.1"},
        {"database.hostname": "::1"},
        {"database.hostname": "10.1.2.3"},
        {"database.hostname": "db-1.eu_west.internal.example"},
        {"database.hostname": "${env:DB_HOST}"},
        {"database.port": "${env:DB_PORT}"},
        {"database.dbname": "shop-2_b"},
        {"driver.socketTimeout": "30"},
        {"database.initial.statements": "SET lock_timeout = '5s'; SET statement_timeout TO 0;"},
        {"heartbeat.action.query": "SELECT pg_logical_emit_message(false, 'heartbeat', now()::text)"},
        {"heartbeat.action.query": "UPDATE beats SET note = 'a;b', at = now() WHERE id = 1;"},
        {"header.converter": "org.apache.kafka.connect.storage.StringConverter"},
        {"transforms": "r", "transforms.r.type": "org.apache.kafka.connect.transforms.InsertHeader"},
        {"converters": "b", "b.type": "io.debezium.connector.binlog.converters.TinyIntOneToBooleanConverter"},
        {
            "post.processors": "reselector",
            "reselector.type": "io.debezium.processors.reselect.ReselectColumnsPostProcessor",
        },
        {"signal.kafka.bootstrap.servers": "k1.example:9092,[fd12::1]:9092"},
        {"producer.override.ssl.truststore.type": "JKS"},
        {"signal.enabled.channels": "source, kafka"},
    ],
)
def test_what_people_need_is_no_attack(changed: dict[str, str]) -> None:
    assert violations({**shop_config(), **changed}) == []


def test_the_schema_history_may_log_in() -> None:
    login = (
        "org.apache.kafka.common.security.scram.ScramLoginModule required"
        ' username="history" password="${file:/secrets/kafka.properties:history}";'
    )
    key = "schema.history.internal.producer.sasl.jaas.config"
    found = {v.rule for v in violations({"connector.class": MARIADB_CLASS, key: login})}
    assert not found & NEVER_ACCEPTED
    inline = login.replace("${file:/secrets/kafka.properties:history}", CANARY)
    found = {v.rule for v in violations({"connector.class": MARIADB_CLASS, key: inline})}
    assert found >= {"inline-secret", "client-door"}


@pytest.mark.parametrize(
    "table", ["public.addresses", "public.hosts", "public.auth_tokens", "school.classes", "public.type"]
)
def test_a_table_may_be_named_as_a_key_may_not(table: str) -> None:
    overrides = "snapshot.select.statement.overrides"
    statement = f"SELECT * FROM {table} t WHERE t.Active"
    assert rules({overrides: table, f"{overrides}.{table}": statement}) == {"partial-snapshot"}
    own = f"snapshot.collection.filter.overrides.{table}"
    assert not intrusions({"connector.class": MONGODB_CLASS, own: '{"active": true}'})


def test_a_group_of_topics_may_be_named_after_a_secret() -> None:
    group = {
        "topic.creation.groups": "beats,tokens",
        "topic.creation.tokens.include": r"shop\.public\.tokens",
        "topic.creation.tokens.cleanup.policy": "delete",
        "topic.creation.tokens.retention.ms": "-1",
    }
    assert rules(group) == set()


def test_a_transform_may_be_named_after_a_secret() -> None:
    mask = {
        "transforms": "password",
        "transforms.password.type": "org.apache.kafka.connect.transforms.MaskField$Value",
        "transforms.password.fields": "password",
    }
    assert rules(mask) == {"transforms"}
    assert "inline-secret" in rules({**mask, "transforms.password.password": CANARY})
