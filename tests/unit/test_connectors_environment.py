"""What the environment fills in of a connector's file: when, and what is said where it is not there."""

import pytest

from connectors.masking import masked_text
from connectors.preset import POSTGRES_CLASS
from connectors.presets.common import EVERYWHERE, HARMLESS
from connectors.spec import spec_of
from core.errors import ConfigurationError
from tests.unit.connect_world import CANARY
from tests.unit.connector_files_world import live


def test_the_environment_is_filled_in_when_it_is_applied() -> None:
    config = {
        "connector.class": POSTGRES_CLASS,
        "database.password": "${env:PW}",
        "database.user": "u-${env:WHO}",
        "ssl.key.password": "${file:/x:y}",
        "other.password": "$${env:PW}",
        "vault": "${vault:kv/data/db:pw}",
    }
    made = spec_of("shop", config).resolved({"PW": CANARY, "WHO": "me-${env:PW}"})
    assert made.config["database.password"] == CANARY
    assert made.config["database.user"] == "u-me-${env:PW}", "what was put in is not read again"
    assert made.config["ssl.key.password"] == "${file:/x:y}"
    assert made.config["other.password"] == "${env:PW}"
    assert made.config["vault"] == "${vault:kv/data/db:pw}"
    assert made.secrets == {CANARY, "me-${env:PW}"}
    assert CANARY not in repr(made)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "connector shop: environment variable PW is not set, which config.database.password needs"),
        (
            {"PW": ""},
            "connector shop: environment variable PW is empty, which config.database.password needs",
        ),
    ],
)
def test_a_missing_variable_is_named_with_its_key(environment: dict[str, str], said: str) -> None:
    spec = spec_of("shop", {**live(), "database.password": "${env:PW}"})
    with pytest.raises(ConfigurationError) as raised:
        spec.resolved(environment)
    assert str(raised.value).startswith(said)
    assert "env: connect" in str(raised.value)
    assert masked_text(str(raised.value)) == str(raised.value), "what is shown hides no word of it"


def test_a_class_of_the_environment_is_judged_too() -> None:
    with pytest.raises(ConfigurationError, match=r"connector\.class is ") as raised:
        spec_of("shop", {**live(), "connector.class": "${env:A_CLASS}"}).resolved({"A_CLASS": CANARY})
    assert CANARY not in str(raised.value)


def test_a_variable_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="names no environment variable"):
        spec_of("shop", {**live(), "database.user": "${env:A B}"}).resolved({})


@pytest.mark.parametrize(
    "key",
    [
        *EVERYWHERE,
        *HARMLESS,
        "slot.name",
        "publication.name",
        "unavailable.value.placeholder",
        "table.include.list",
        "lsn.flush.mode",
        "topic.creation.default.retention.ms",
    ],
)
def test_what_the_environment_holds_cannot_hide_from_a_rule_about_data(key: str) -> None:
    assert spec_of("shop", live() | {key: "${env:PLACE}"}).violations() != []
