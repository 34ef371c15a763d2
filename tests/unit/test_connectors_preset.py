"""What the preset enforces, and that a configuration cannot lose data or open a door in silence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.masking import MASK, is_reference, is_secret_key, masked_config, masked_text
from connectors.preset import NEVER_ACCEPTED, POSTGRES_CLASS, derived_name, postgres_config, violations

CANARY = "canary-9c1d7e"


def config() -> dict[str, str]:
    return postgres_config(
        prefix="shop",
        tables=["public.articles"],
        host="db.example",
        port=5432,
        database="shop",
        user="debezium",
        password="${file:/secrets/connect.properties:debezium}",  # noqa: S106 - a reference
        placeholder="__uv_0123456789abcdef__",
    )


def rules(changed: dict[str, str], accept: tuple[str, ...] = ()) -> set[str]:
    return {violation.rule for violation in violations({**config(), **changed}, accept)}


def test_the_preset_has_no_violation() -> None:
    assert violations(config()) == []


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


@pytest.mark.parametrize(
    "changed",
    [
        {"connector.class": "org.evil.Connector"},
        {"connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector"},
        {"transforms.x.type": "org.evil.Transform"},
        {"predicates.x.type": "org.evil.Predicate"},
        {"value.converter": "org.evil.Converter"},
        {"header.converter": "org.evil.Converter"},
        {"producer.override.sasl.jaas.config": "com.sun.security.auth.module.JndiLoginModule required;"},
        {"consumer.override.sasl.jaas.config": "${file:/x:y}"},
        {"admin.override.sasl.jaas.config": "${file:/x:y}"},
        {"sasl.jaas.config": "${file:/x:y}"},
        {"producer.override.sasl.login.class": "org.evil.Login"},
        {"producer.override.sasl.login.callback.handler.class": "org.evil.Handler"},
        {"producer.override.sasl.client.callback.handler.class": "org.evil.Handler"},
        {"producer.override.sasl.oauthbearer.token.endpoint.url": "file:///etc/passwd"},
        {"producer.override.sasl.oauthbearer.jwks.endpoint.url": "http://169.254.169.254/"},
        {"producer.override.interceptor.classes": "org.evil.Interceptor"},
        {"producer.override.metric.reporters": "org.evil.Reporter"},
        {"producer.override.security.providers": "org.evil.Provider"},
        {"producer.override.ssl.engine.factory.class": "org.evil.Factory"},
        {"config.providers": "dir"},
        {"config.providers.dir.class": "org.evil.Provider"},
        {"signal.consumer.sasl.jaas.config": "${file:/x:y}"},
        {"database.password": CANARY},
        {"signal.consumer.ssl.key.password": CANARY},
        {"some.api.key": CANARY},
        {"transforms.x.url": f"postgresql://user:{CANARY}@host/db"},
    ],
)
def test_what_would_run_code_or_leak_is_refused_and_never_accepted(changed: dict[str, str]) -> None:
    found = violations({**config(), **changed}, NEVER_ACCEPTED)
    assert found
    assert CANARY not in " ".join(str(violation) for violation in found)


def test_a_violation_says_what_to_write() -> None:
    (found,) = violations({**config(), "skipped.operations": "t"})
    assert str(found) == (
        "skipped.operations is t: by default a TRUNCATE is dropped, and its rows stay searchable;"
        " write none [skipped.operations]"
    )


def test_table_lists_match_these_tables_only() -> None:
    made = config()
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


@given(st.text(min_size=1, max_size=80))
def test_every_prefix_gives_a_name_that_postgres_takes_for_a_slot(prefix: str) -> None:
    name = derived_name(prefix)
    assert 0 < len(name) <= 63
    assert all(c.isascii() and (c.islower() or c.isdigit() or c == "_") for c in name)


def test_secrets_are_known_by_their_key_and_references_are_shown() -> None:
    shown = masked_config(
        {
            "database.password": CANARY,
            "ssl.key.password": "${file:/x:y}",
            "producer.override.sasl.jaas.config": CANARY,
            "ssl.truststore.location": "/etc/trust.jks",
            "transforms.url": f"http://u:{CANARY}@h/",
        }
    )
    assert shown["database.password"] == MASK
    assert shown["ssl.key.password"] == "${file:/x:y}"
    assert shown["ssl.truststore.location"] == "/etc/trust.jks"
    assert CANARY not in str(shown)


@pytest.mark.parametrize(
    "text",
    [
        f"FATAL: password authentication failed: password={CANARY}",
        f'{{"database.password": "{CANARY}"}}',
        f"could not reach postgresql://debezium:{CANARY}@db/shop",
        f"value {CANARY} is not allowed",
    ],
)
def test_foreign_text_is_masked(text: str) -> None:
    assert CANARY not in masked_text(text, {"database.password": CANARY})


def test_a_reference_in_foreign_text_stays() -> None:
    assert masked_text("database.password: ${file:/x:y}") == "database.password: ${file:/x:y}"


def test_keys_about_secrets_are_no_secrets() -> None:
    assert is_secret_key("database.password")
    assert not is_secret_key("ssl.keystore.location")
    assert not is_secret_key("sasl.oauthbearer.token.endpoint.url")
    assert is_reference("${env:NAME}")
    assert not is_reference("x${env:NAME}")
