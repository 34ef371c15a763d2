"""Kafka Connect's REST as it answers, busy, wrong and silent."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
import stamina

from connectors.positions import committed_lsn
from connectors.preset import POSTGRES_CLASS
from connectors.rest import ConnectClient
from connectors.spec import ConnectorSpec, read_spec, spec_of, write_spec
from core.errors import ConfigurationError, PermanentError, TransientError
from tests.unit.connect_world import CANARY, URL, shop_config

MISSING = {"error_code": 404, "message": "not found"}
"""Connect's own 404."""


@pytest.fixture
def answers() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def client() -> Iterator[ConnectClient]:
    with stamina.set_testing(True, attempts=3), ConnectClient(URL) as made:
        yield made


def spec(**changed: str) -> ConnectorSpec:
    return spec_of("shop", shop_config(**changed))


def status(connector: str, *tasks: str, trace: str | None = None) -> dict[str, Any]:
    return {
        "name": "shop",
        "connector": {"state": connector, "worker_id": "w"},
        "tasks": [{"id": i, "state": s, "worker_id": "w", "trace": trace} for i, s in enumerate(tasks)],
        "type": "source",
    }


def test_a_rebalance_is_waited_out(answers: responses.RequestsMock, client: ConnectClient) -> None:
    answers.get(f"{URL}/connectors", status=409, json={"message": "rebalance"})
    answers.get(f"{URL}/connectors", status=503)
    answers.get(f"{URL}/connectors", json=["shop"])
    assert client.names() == ["shop"]


def test_a_connect_that_stays_away_is_transient(
    answers: responses.RequestsMock, client: ConnectClient
) -> None:
    answers.get(f"{URL}/connectors", body=requests.ConnectionError(f"http://u:{CANARY}@h"))
    with pytest.raises(TransientError, match="is Connect running there") as raised:
        client.names()
    assert CANARY not in str(raised.value)
    assert len(answers.calls) == 3


def test_a_refused_configuration_is_said_once_without_its_secret(
    answers: responses.RequestsMock, client: ConnectClient
) -> None:
    message = f"bad value {CANARY} for database.password"
    answers.put(f"{URL}/connectors/shop/config", status=400, json={"error_code": 400, "message": message})
    with pytest.raises(ConfigurationError, match="bad value") as raised:
        client.put_config("shop", {"database.password": CANARY})
    assert CANARY not in str(raised.value)
    assert len(answers.calls) == 1


def test_a_long_refusal_is_cut_where_its_secrets_are_masked_already(
    answers: responses.RequestsMock, client: ConnectClient
) -> None:
    before = "x" * (2000 - len(CANARY) // 2)
    answers.put(f"{URL}/connectors/shop/config", status=400, json={"message": f"{before}{CANARY} {before}"})
    with pytest.raises(ConfigurationError) as raised:
        client.put_config("shop", {"database.password": CANARY})
    assert CANARY[:4] not in str(raised.value)
    assert len(str(raised.value)) < 2200


def test_other_refusals_are_permanent(answers: responses.RequestsMock, client: ConnectClient) -> None:
    answers.get(f"{URL}/", status=401, body="no")
    with pytest.raises(PermanentError, match="401"):
        client.root()


def test_what_is_not_there_is_none(answers: responses.RequestsMock, client: ConnectClient) -> None:
    for path in ("config", "status", "offsets"):
        answers.get(f"{URL}/connectors/a%2Fb/{path}", status=404, json=MISSING)
    answers.delete(f"{URL}/connectors/a%2Fb", status=404, json=MISSING)
    assert client.config("a/b") is None
    assert client.status("a/b") is None
    assert client.offsets("a/b") == []
    client.delete("a/b")


def test_a_worker_that_starts_has_not_lost_its_connectors(
    answers: responses.RequestsMock, client: ConnectClient
) -> None:
    """Its web server is up before its resources are, and then answers 404 to everything."""
    answers.get(f"{URL}/connectors/a/config", status=404, body="<html>Not Found</html>")
    answers.get(f"{URL}/connectors/a/config", status=404, json={"status": "404", "message": "Not Found"})
    answers.get(f"{URL}/connectors/a/config", json={"name": "a"})
    assert client.config("a") == {"name": "a"}


def test_running_means_connector_and_every_task(
    answers: responses.RequestsMock, client: ConnectClient
) -> None:
    for body, running in (
        (status("RUNNING", "RUNNING"), True),
        (status("RUNNING"), False),
        (status("RUNNING", "RUNNING", "FAILED"), False),
        (status("PAUSED", "RUNNING"), False),
    ):
        answers.get(f"{URL}/connectors/shop/status", json=body)
        found = client.status("shop")
        assert found is not None
        assert found.running is running


def test_restart_asks_for_the_failed_tasks(answers: responses.RequestsMock, client: ConnectClient) -> None:
    failed = f"{URL}/connectors/shop/restart?includeTasks=true&onlyFailed=true"
    answers.post(failed, status=202, json={})
    client.restart_failed("shop")
    assert [(call.request.method, call.request.url) for call in answers.calls] == [("POST", failed)]


def test_validation_keeps_only_errors(answers: responses.RequestsMock, client: ConnectClient) -> None:
    configs = [
        {
            "definition": {"name": "database.hostname", "type": "STRING"},
            "value": {"name": "database.hostname", "errors": [f"no host for password={CANARY}"]},
        },
        {
            "definition": {"name": "odd.key", "type": "PASSWORD"},
            "value": {"name": "odd.key", "errors": [f"{CANARY}-2 is short"]},
        },
        {"definition": {"name": "topic.prefix", "type": "STRING"}, "value": {"name": "x", "errors": []}},
    ]
    answers.get(f"{URL}/connector-plugins", json=[{"class": POSTGRES_CLASS}])
    sent = answers.put(f"{URL}/connector-plugins/{POSTGRES_CLASS}/config/validate", json={"configs": configs})
    found = client.validate({"connector.class": POSTGRES_CLASS, "odd.key": f"{CANARY}-2"})
    assert list(found.errors) == ["database.hostname", "odd.key"]
    assert found.password_keys == {"odd.key"}
    assert CANARY not in str(found)
    assert json.loads(sent.calls[0].request.body or "")["name"]


def test_a_plugin_that_is_missing_is_named_before_anything_is_validated(
    answers: responses.RequestsMock, client: ConnectClient
) -> None:
    answers.get(f"{URL}/connector-plugins", json=[{"class": "io.debezium.Other"}])
    with pytest.raises(
        ConfigurationError, match=r"no plugin .*PostgresConnector; it has io\.debezium\.Other"
    ):
        client.validate({"connector.class": POSTGRES_CLASS})
    assert len(answers.calls) == 1


def test_a_validation_that_the_worker_gave_up_is_not_repeated(
    answers: responses.RequestsMock, client: ConnectClient
) -> None:
    answers.get(f"{URL}/connector-plugins", json=[{"class": POSTGRES_CLASS}])
    answers.put(
        f"{URL}/connector-plugins/{POSTGRES_CLASS}/config/validate",
        status=500,
        json={"message": "Request timed out. The worker is currently performing multi-property validation"},
    )
    with pytest.raises(TransientError, match="can the worker reach the database"):
        client.validate({"connector.class": POSTGRES_CLASS})
    assert len(answers.calls) == 2


def test_no_answer_in_time_is_said_once(answers: responses.RequestsMock, client: ConnectClient) -> None:
    answers.get(f"{URL}/connectors", body=requests.ReadTimeout("x"))
    with pytest.raises(TransientError, match="no answer within 10 s"):
        client.names()
    assert len(answers.calls) == 1


def test_password_keys_are_asked_for_once(answers: responses.RequestsMock, client: ConnectClient) -> None:
    asked = answers.get(
        f"{URL}/connector-plugins/P/config",
        json=[{"name": "a", "type": "PASSWORD"}, {"name": "b", "type": "STRING"}],
    )
    answers.get(f"{URL}/connector-plugins/Q/config", status=404, json=MISSING)
    assert client.password_keys("P") == client.password_keys("P") == {"a"}
    assert client.password_keys("Q") == frozenset()
    assert asked.call_count == 1


def test_a_refusal_hides_what_the_plugin_types_as_a_password(
    answers: responses.RequestsMock, client: ConnectClient
) -> None:
    answers.get(f"{URL}/connector-plugins/P/config", json=[{"name": "odd.key", "type": "PASSWORD"}])
    client.password_keys("P")
    for method, path in ((responses.PUT, "/connectors/a/config"), (responses.POST, "/connectors")):
        answers.add(method, URL + path, status=400, json={"message": f"{CANARY} and {CANARY}-2 are bad"})
    config = {"connector.class": "P", "odd.key": CANARY}
    hidden = frozenset({f"{CANARY}-2"})
    for send in (
        partial(client.put_config, "a", config, secrets=hidden),
        partial(client.create, "a", config, "STOPPED", secrets=hidden),
    ):
        with pytest.raises(ConfigurationError, match="are bad") as raised:
            send()
        assert CANARY not in str(raised.value)


def test_a_name_that_is_taken_meanwhile_is_no_rebalance(
    answers: responses.RequestsMock, client: ConnectClient
) -> None:
    answers.post(f"{URL}/connectors", status=409, json={"message": "Connector a already exists"})
    answers.get(f"{URL}/connectors/a/config", json={"name": "a"})
    with pytest.raises(ConfigurationError, match="exists already"):
        client.create("a", {}, "STOPPED")


def test_a_creation_whose_answer_was_lost_is_looked_for_and_not_sent_again(
    answers: responses.RequestsMock, client: ConnectClient
) -> None:
    answers.post(f"{URL}/connectors", body=requests.ConnectionError("reset by peer"))
    answers.get(f"{URL}/connectors/a/config", json={"name": "a", "connector.class": "y"})
    client.create("a", {"connector.class": "y"}, "STOPPED")
    assert [call.request.method for call in answers.calls] == ["POST", "GET"]


def test_a_creation_that_never_arrived_is_sent_again(
    answers: responses.RequestsMock, client: ConnectClient
) -> None:
    answers.post(f"{URL}/connectors", body=requests.ConnectionError("reset by peer"))
    answers.post(f"{URL}/connectors", status=201, json={})
    answers.get(f"{URL}/connectors/a/config", status=404, json=MISSING)
    client.create("a", {"connector.class": "y"}, "STOPPED")
    assert [call.request.method for call in answers.calls] == ["POST", "GET", "POST"]


def test_a_creation_that_met_anothers_is_refused(
    answers: responses.RequestsMock, client: ConnectClient
) -> None:
    answers.post(f"{URL}/connectors", body=requests.ConnectionError("reset by peer"))
    answers.get(f"{URL}/connectors/a/config", json={"name": "a", "connector.class": "z"})
    with pytest.raises(ConfigurationError, match="exists already"):
        client.create("a", {"connector.class": "y"}, "STOPPED")


def test_a_restart_whose_answer_was_lost_is_not_sent_twice(
    answers: responses.RequestsMock, client: ConnectClient
) -> None:
    answers.post(f"{URL}/connectors/a/restart", body=requests.ConnectionError("reset by peer"))
    with pytest.raises(TransientError, match="may have been taken"):
        client.restart("a")
    assert len(answers.calls) == 1


def test_what_was_never_sent_is_sent_again() -> None:
    """Nobody listens there: no answer can have been lost."""
    with stamina.set_testing(True, attempts=2), ConnectClient("http://127.0.0.1:1") as client:
        with pytest.raises(TransientError, match="is Connect running there") as raised:
            client.restart("a")
        assert "may have been taken" not in str(raised.value)


def test_no_message_holds_what_stands_before_the_host() -> None:
    url = f"http://admin:{CANARY}@127.0.0.1:1"
    with stamina.set_testing(True, attempts=1), ConnectClient(url) as client:
        assert client.shown == "http://127.0.0.1:1"
        with pytest.raises(TransientError) as raised:
            client.names()
    assert CANARY not in str(raised.value)
    assert "admin" not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, {"status": "healthy", "message": "up"}, "healthy"),
        (503, {"status": "starting", "message": "x"}, "starting"),
        (500, {"status": "unhealthy", "message": "x"}, "unhealthy"),
        (404, {"error_code": "404", "message": "HTTP 404"}, "answering"),
    ],
)
def test_health_falls_back_to_the_root(
    answers: responses.RequestsMock, client: ConnectClient, status: int, body: dict[str, str], said: str
) -> None:
    answers.get(f"{URL}/", json={"version": "4.3.0", "kafka_cluster_id": "k"})
    answers.get(f"{URL}/health", status=status, json=body)
    health = client.health()
    assert (health.status, health.version, health.kafka_cluster_id) == (said, "4.3.0", "k")


def test_all_connectors_come_by_one_call(answers: responses.RequestsMock, client: ConnectClient) -> None:
    entry = {"info": {"name": "shop", "config": {"name": "shop", "a": "b"}}, "status": status("STOPPED")}
    asked = answers.get(f"{URL}/connectors?expand=status&expand=info", json={"shop": entry})
    found = client.connectors()
    assert dict(found["shop"].config) == {"a": "b"}
    assert found["shop"].state == "stopped"
    assert "'b'" not in repr(found), "a configuration may hold a literal secret"
    assert asked.call_count == 1


@pytest.mark.parametrize(
    ("body", "summary"),
    [
        (status("RUNNING", "RUNNING"), "running"),
        (status("RUNNING"), "starting"),
        (status("RUNNING", "RUNNING", "FAILED"), "failed"),
        (status("FAILED"), "failed"),
        (status("PAUSED", "PAUSED"), "paused"),
        (status("PAUSED", "RUNNING"), "starting"),
        (status("STOPPED"), "stopped"),
        (status("STOPPED", "RUNNING"), "starting"),
        (status("RUNNING", "RESTARTING"), "starting"),
    ],
)
def test_a_connector_and_its_tasks_are_one_word(
    answers: responses.RequestsMock, client: ConnectClient, body: dict[str, Any], summary: str
) -> None:
    answers.get(f"{URL}/connectors/shop/status", json=body)
    found = client.status("shop")
    assert found is not None
    assert found.summary == summary


def test_an_answer_that_is_no_json_is_somebody_else(
    answers: responses.RequestsMock, client: ConnectClient
) -> None:
    answers.get(f"{URL}/connectors", body="<html>")
    with pytest.raises(TransientError, match="is Connect there"):
        client.names()


def test_a_file_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    made = spec_of("shop", spec().full_config(), accept={"no-tls": "loopback"})
    write_spec(made, path)
    assert read_spec(path) == made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: shop\nconfig: {}\nextra: 1", "extra"),
        ("name: shop\nconfig: {name: x}", "write it once"),
        ("name: shop\nconfig: {}\naccept: {no-tls: ''}", "say why"),
        (f"name: shop\nconfig:\n  database.password: [{CANARY}]", "database.password"),
        ("name: [", "no YAML"),
    ],
)
def test_a_wrong_file_is_named_with_its_key_and_without_its_values(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=said) as raised:
        read_spec(path)
    assert str(path) in str(raised.value)
    assert CANARY not in str(raised.value)


def test_yaml_numbers_and_flags_become_what_connect_knows(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text("name: shop\nconfig: {a: true, b: 10}")
    assert read_spec(path).config == {"a": "true", "b": "10"}


@pytest.mark.parametrize(
    ("offsets", "lsn"),
    [
        ([], None),
        ([{"partition": {}, "offset": None}], None),
        ([{"offset": {"snapshot": "INITIAL", "snapshot_completed": False, "lsn": 7}}], None),
        ([{"offset": {"snapshot": "INITIAL", "snapshot_completed": False, "lsn": 7, "lsn_commit": 7}}], None),
        ([{"offset": {"lsn": 9, "lsn_proc": 9, "lsn_commit": 8}}], 8),
        ([{"offset": {"lsn_commit": 8}}, {"offset": {"lsn_commit": 5}}], 5),
        ([{"offset": {"lsn_commit": 8}}, {"offset": {"lsn": 5}}], None),
    ],
)
def test_the_position_is_the_last_whole_commit(offsets: list[dict[str, Any]], lsn: int | None) -> None:
    assert committed_lsn(offsets) == lsn
