"""What ordinary configurations need, however much it looks like an attack, goes through."""

import pytest

from connectors.preset import MARIADB_CLASS, MONGODB_CLASS, intrusions, violations
from connectors.spec import spec_of
from core.errors import ConfigurationError
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
        {"database.dbname": "my shop"},
        {"column.mask.hash.v2.SHA-256.with.salt.secretSalt": r"public\.articles\.author"},
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
        {"signal.kafka.bootstrap.servers": "SASL_SSL://k1.example:9096,SASL_SSL://k2.example:9096"},
        {"producer.override.ssl.truststore.type": "JKS"},
        {"signal.enabled.channels": "source, kafka"},
    ],
)
def test_what_people_need_is_no_attack(changed: dict[str, str]) -> None:
    assert violations({**shop_config(), **changed}) == []


LOGIN = 'org.apache.kafka.common.security.scram.ScramLoginModule required username="history" password="{}";'


@pytest.mark.parametrize("side", ["producer", "consumer"])
def test_the_schema_history_may_log_in(side: str) -> None:
    def refused(password: str) -> set[str]:
        config = {"connector.class": MARIADB_CLASS, key: LOGIN.format(password)}
        return {violation.rule for violation in intrusions(config)}

    key = f"schema.history.internal.{side}.sasl.jaas.config"
    assert refused("${file:/secrets/kafka.properties:history}") == set()
    assert refused(CANARY) == {"inline-secret"}
    assert "client-door" in refused('x" debug="true')


def test_the_schema_historys_password_may_come_from_the_environment() -> None:
    key = "schema.history.internal.producer.sasl.jaas.config"
    spec = spec_of("shop", {"connector.class": MARIADB_CLASS, key: LOGIN.format("${env:KAFKA}")})
    made = spec.resolved({"KAFKA": CANARY})
    assert made.config[key] == LOGIN.format(CANARY)
    for odd in (f'{CANARY}" debug="true', f"{CANARY}\\"):
        with pytest.raises(ConfigurationError, match="client-door") as raised:
            spec.resolved({"KAFKA": odd})
        assert CANARY not in str(raised.value)


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


def test_a_login_by_reference_in_mongodbs_address_is_no_password_in_clear() -> None:
    login = "${file:/secrets/mongo.properties:user}:${file:/secrets/mongo.properties:password}"
    address = f"mongodb://{login}@mongo.example:27017/?replicaSet=rs0"
    (found,) = intrusions({"connector.class": MONGODB_CLASS, "mongodb.connection.string": address})
    assert found.rule == "host"
    assert "user and password under keys of their own" in found.want
