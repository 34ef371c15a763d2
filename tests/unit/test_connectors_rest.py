"""Kafka Connect's REST as it answers, busy, wrong and silent; and what a deployment makes of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
import stamina

from connectors.deploy import cause, deploy
from connectors.positions import committed_lsn
from connectors.preset import postgres_config
from connectors.rest import ConnectClient
from connectors.spec import ConnectorSpec, read_spec, spec_of, write_spec
from core.errors import ConfigurationError, PermanentError, TransientError

URL = "http://connect.example:8083"
CANARY = "canary-9c1d7e"


@pytest.fixture
def answers() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def client() -> Iterator[ConnectClient]:
    with stamina.set_testing(True, attempts=3), ConnectClient(URL) as made:
        yield made


def spec(**changed: str) -> ConnectorSpec:
    config = postgres_config(
        prefix="shop",
        tables=["public.articles"],
        host="db.example",
        port=5432,
        database="shop",
        user="debezium",
        password="${file:/secrets/connect.properties:debezium}",  # noqa: S106 - a reference
        placeholder="__uv_0123456789abcdef__",
    )
    return spec_of("shop", {**config, **changed})


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


def test_other_refusals_are_permanent(answers: responses.RequestsMock, client: ConnectClient) -> None:
    answers.get(f"{URL}/", status=401, body="no")
    with pytest.raises(PermanentError, match="401"):
        client.root()


def test_what_is_not_there_is_none(answers: responses.RequestsMock, client: ConnectClient) -> None:
    for path in ("config", "status", "offsets"):
        answers.get(f"{URL}/connectors/a%2Fb/{path}", status=404, json={"message": "no"})
    answers.delete(f"{URL}/connectors/a%2Fb", status=404)
    assert client.config("a/b") is None
    assert client.status("a/b") is None
    assert client.offsets("a/b") == []
    client.delete("a/b")


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
    answers.post(f"{URL}/connectors/shop/restart?includeTasks=true&onlyFailed=true", status=202, json={})
    client.restart_failed("shop")


def test_validation_keeps_only_errors(answers: responses.RequestsMock, client: ConnectClient) -> None:
    values = [
        {"value": {"name": "database.hostname", "errors": [f"no host for password={CANARY}"]}},
        {"value": {"name": "topic.prefix", "errors": []}},
    ]
    answers.put(f"{URL}/connector-plugins/PostgresConnector/config/validate", json={"configs": values})
    found = client.validate({"connector.class": "io.debezium.connector.postgresql.PostgresConnector"})
    assert list(found) == ["database.hostname"]
    assert CANARY not in str(found)


def deployed(client: ConnectClient, wanted: ConnectorSpec) -> None:
    ticks = iter(range(1000))
    deploy(client, wanted, timeout_s=20, sleep=lambda _: None, clock=lambda: float(next(ticks)))


def test_a_deployment_waits_until_all_run(answers: responses.RequestsMock, client: ConnectClient) -> None:
    answers.get(f"{URL}/connectors/shop/config", status=404)
    sent = answers.put(f"{URL}/connectors/shop/config", status=201, json={})
    for body in (status("UNASSIGNED"), status("RUNNING"), status("RUNNING", "RUNNING")):
        answers.get(f"{URL}/connectors/shop/status", json=body)
    deployed(client, spec())
    body = json.loads(sent.calls[0].request.body or "")
    assert body["skipped.operations"] == "none"


def test_an_equal_configuration_is_not_sent_again(
    answers: responses.RequestsMock, client: ConnectClient
) -> None:
    answers.get(f"{URL}/connectors/shop/config", json={**spec().full_config(), "name": "shop"})
    answers.get(f"{URL}/connectors/shop/status", json=status("RUNNING", "RUNNING"))
    deployed(client, spec())
    assert {call.request.method for call in answers.calls} == {"GET"}


def test_a_failed_task_is_the_cause(answers: responses.RequestsMock, client: ConnectClient) -> None:
    trace = (
        "org.apache.kafka.connect.errors.ConnectException: Error configuring\n\tat x.y(Z.java:1)\n"
        f"Caused by: org.postgresql.util.PSQLException: FATAL: no pg_hba entry, password={CANARY}\n\tat …"
    )
    answers.get(f"{URL}/connectors/shop/config", status=404)
    answers.put(f"{URL}/connectors/shop/config", status=201, json={})
    answers.get(f"{URL}/connectors/shop/status", json=status("RUNNING", "FAILED", trace=trace))
    answers.post(f"{URL}/connectors/shop/restart?includeTasks=true&onlyFailed=true", status=202, json={})
    with pytest.raises(ConfigurationError, match="no pg_hba entry") as raised:
        deployed(client, spec())
    assert CANARY not in str(raised.value)
    assert "Error configuring" in str(raised.value)


def test_a_connector_that_never_runs_is_transient(
    answers: responses.RequestsMock, client: ConnectClient
) -> None:
    answers.get(f"{URL}/connectors/shop/config", status=404)
    answers.put(f"{URL}/connectors/shop/config", status=201, json={})
    answers.get(f"{URL}/connectors/shop/status", json=status("RUNNING", "UNASSIGNED"))
    with pytest.raises(TransientError, match="UNASSIGNED"):
        deployed(client, spec())


def test_a_bad_configuration_makes_no_call(answers: responses.RequestsMock, client: ConnectClient) -> None:
    with pytest.raises(ConfigurationError, match="TRUNCATE"):
        deployed(client, spec(**{"skipped.operations": "t"}))
    assert len(answers.calls) == 0


def test_a_stopped_connector_is_resumed(answers: responses.RequestsMock, client: ConnectClient) -> None:
    answers.get(f"{URL}/connectors/shop/config", json={**spec().full_config(), "name": "shop"})
    answers.get(f"{URL}/connectors/shop/status", json=status("STOPPED"))
    resumed = answers.put(f"{URL}/connectors/shop/resume", status=202)
    answers.get(f"{URL}/connectors/shop/status", json=status("RUNNING", "RUNNING"))
    deployed(client, spec())
    assert resumed.call_count == 1


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


def test_a_trace_without_lines_has_a_cause() -> None:
    assert cause("") == "(no trace)"


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
