"""Files from live connectors: read back they are the same, and they hold no secret."""

from pathlib import Path

import pytest

from connectors.diff import OWNER_KEY, Desired, plan
from connectors.export import exported
from connectors.live import ConnectorStatus, LiveConnector, TaskStatus
from connectors.spec import read_spec, write_spec
from core.errors import ConfigurationError
from tests.unit.connect_world import CANARY, shop_config


def live(state: str = "RUNNING", **changed: str) -> LiveConnector:
    tasks = () if state == "STOPPED" else (TaskStatus(0, state, "w"),)
    config = {key: value for key, value in shop_config(**changed).items() if value}
    return LiveConnector("shop", config, ConnectorStatus("shop", state, "w", tasks))


@pytest.mark.parametrize("state", ["RUNNING", "PAUSED", "STOPPED"])
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"database__password": CANARY, "odd__key": f"{CANARY}-odd"},
        {"database__password": "${env:PG_PASSWORD}"},
        {"some__text": "a {{ b }} ${dir:/x:y} 'q' : #"},
        {"tailrace__owner": "shop"},
        {"tasks__max": ""},
    ],
    ids=["references", "literals", "the worker's environment", "odd text", "marked", "no tasks.max"],
)
def test_a_plan_of_an_exported_file_shows_no_change(
    tmp_path: Path, state: str, changed: dict[str, str]
) -> None:
    found = live(state, **changed)
    made = exported(found, password_keys={"odd.key"})
    path = tmp_path / "shop.yaml"
    write_spec(made.spec, path)
    assert CANARY not in path.read_text()
    assert CANARY not in str(made)
    spec = read_spec(path)
    environment = {variable: found.config[key] for variable, key in made.variables.items()}
    resolved = spec.resolved(environment)
    desired = Desired(spec.name, resolved.config, spec.state, resolved.secrets)
    owner = found.config.get(OWNER_KEY)
    assert plan([desired], {"shop": found}, owner=owner).summary() == "no changes"


def test_a_literal_secret_becomes_a_variable_with_a_note() -> None:
    made = exported(live(database__password=CANARY, odd__key=CANARY), password_keys={"odd.key"})
    assert made.variables == {"SHOP_DATABASE_PASSWORD": "database.password", "SHOP_ODD_KEY": "odd.key"}
    assert made.spec.config["database.password"] == "${env:SHOP_DATABASE_PASSWORD}"
    assert any("set SHOP_ODD_KEY before `apply`" in note for note in made.notes)


def test_no_two_secrets_share_a_variable() -> None:
    config = shop_config(odd__key=f"{CANARY}1", **{"odd-key": f"{CANARY}2"})
    typed = {"odd.key", "odd-key"}
    first = exported(LiveConnector("a-b", config, None), typed)
    second = exported(LiveConnector("a.b", config, None), typed, taken=first.variables)
    assert sorted(first.variables) == ["A_B_ODD_KEY", "A_B_ODD_KEY_2"]
    assert sorted(second.variables) == ["A_B_ODD_KEY_3", "A_B_ODD_KEY_4"]
    for made in (first, second):
        environment = {variable: config[key] for variable, key in made.variables.items()}
        assert made.spec.resolved(environment).config["odd.key"] == f"{CANARY}1"


def test_a_url_with_a_password_is_a_secret_whole() -> None:
    made = exported(live(some__url=f"mongodb://u:{CANARY}@h/d"))
    assert made.spec.config["some.url"] == "${env:SHOP_SOME_URL}"


@pytest.mark.parametrize("password", [CANARY, ";", "${file:/secrets/kafka.properties:history}"])
def test_of_the_schema_historys_login_only_its_password_is_a_secret(password: str) -> None:
    key = "schema.history.internal.producer.sasl.jaas.config"
    login = (
        "org.apache.kafka.common.security.plain.PlainLoginModule required"
        f' username="${{env:USER}}" password="{password}";'
    )
    made = exported(live(**{key: login}))
    assert CANARY not in str(made)
    assert not any("sasl.jaas.config" in note for note in made.notes if "`apply` would refuse" in note)
    assert made.spec.resolved(dict.fromkeys(made.variables, password)).config[key] == login


def test_what_the_preset_would_refuse_is_noted() -> None:
    made = exported(live(skipped__operations="t"))
    assert any("TRUNCATE" in note for note in made.notes)


def test_a_failed_connector_is_exported_as_one_that_shall_run() -> None:
    assert exported(live("FAILED")).spec.state == "running"


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("my shop", {}, "name"),
        ("shop", {"tasks__max": "${file:/a:b}"}, "tasks.max"),
        ("shop", {"tasks__max": "0"}, "tasks_max"),
        ("shop", {"connector__class": ""}, "connector.class"),
    ],
)
def test_what_no_file_can_say_is_refused_without_a_secret(
    name: str, changed: dict[str, str], said: str
) -> None:
    config = {key: value for key, value in shop_config(**changed, database__password=CANARY).items() if value}
    with pytest.raises(ConfigurationError, match=said) as raised:
        exported(LiveConnector(name, config, None))
    assert CANARY not in str(raised.value)
