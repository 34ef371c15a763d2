"""What the local stack writes and decides before it starts anything."""

import json
import os
import socket
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from connectors.spec import read_spec, write_spec
from core.errors import ConfigurationError, TransientError
from core.settings import Settings
from infra.stack.__main__ import main
from infra.stack.config import (
    connect_properties,
    connector_spec,
    mariadb_connector_spec,
    properties,
    server_properties,
    tailrace_yaml,
)
from infra.stack.jars import without_entry
from infra.stack.ports import complaint, is_free, is_open, listening_inodes, owner
from infra.stack.processes import Command, Process, identity, tail, wait_until
from infra.stack.settings import MARKER, REPOSITORY, Memory, Ports, StackSettings, remove, write_private
from infra.stack.tools import how_to_get, java_major, postgres_major

MEMORY = Memory(Ports(), Path("/data/pg"), "__uv_0123456789abcdef__", "t" * 22)


def settings(directory: Path = Path("/data/stack")) -> StackSettings:
    return StackSettings(directory)


def test_everything_listens_on_loopback() -> None:
    broker, connect = server_properties(settings(), Path("/data/kafka")), connect_properties(settings())
    for listener in (*broker["listeners"].split(","), connect["listeners"]):
        assert "://127.0.0.1:" in listener
    assert broker["auto.create.topics.enable"] == "false"
    assert connect["connector.client.config.override.policy"] == "Allowlist"
    assert connect["config.providers.file.param.allowed.paths"] == "/data/stack/secrets"


def test_properties_are_escaped() -> None:
    assert properties({"a": r"x\.y", "b": "1\n2"}) == "a=x\\\\.y\nb=1\\n2\n"


def test_the_connector_fits_the_preset_and_holds_no_secret(tmp_path: Path) -> None:
    spec = connector_spec(settings(), MEMORY)
    assert spec.violations() == []
    assert spec.config["database.password"] == "${file:/data/stack/secrets/connect.properties:debezium}"
    write_spec(spec, tmp_path / "connector.yaml")
    assert read_spec(tmp_path / "connector.yaml") == spec


def test_the_generated_configuration_is_one_and_agrees_with_the_connector() -> None:
    made = Settings.model_validate(yaml.safe_load(tailrace_yaml(settings(), MEMORY)))
    source = made.sources["shop"]
    config = connector_spec(settings(), MEMORY).config
    assert source.placeholder == config["unavailable.value.placeholder"]
    assert source.prefix == config["topic.prefix"]
    assert source.connector == connector_spec(settings(), MEMORY).name
    assert made.serve.host == "127.0.0.1"


def test_mariadb_is_in_no_file_of_a_stack_that_never_asked_for_it() -> None:
    assert "mariadb" not in tailrace_yaml(settings(), MEMORY)
    assert "mariadb" not in connect_properties(settings())["plugin.path"]


def test_mariadbs_connector_fits_the_preset_and_its_source_is_one_of_its_own(tmp_path: Path) -> None:
    spec = mariadb_connector_spec(settings(), server_id=7)
    assert spec.violations() == []
    assert spec.config["database.password"] == "${file:/data/stack/secrets/mariadb.properties:debezium}"
    memory = replace(MEMORY, mariadb=Path("/data/mariadb"))
    made = Settings.model_validate(yaml.safe_load(tailrace_yaml(settings(), memory)))
    source = made.sources["shop-mariadb"]
    assert (source.prefix, source.connector) == (spec.config["topic.prefix"], spec.name)
    assert connect_properties(settings(), mariadb=True)["plugin.path"].count(",") == 1
    memory.write(tmp_path)
    assert Memory.read(tmp_path) == memory


def test_a_second_database_elsewhere_is_removed_too(tmp_path: Path) -> None:
    folder, one, other = (tmp_path / name for name in ("stack", "one", "other"))
    memory = replace(MEMORY, cluster=one / "pg", mariadb=other / "mariadb")
    for path in (folder, one / "pg", other / "mariadb"):
        path.mkdir(parents=True)
    for path in (folder, one, other):
        memory.write(path)
    assert remove(folder) == [one, other, folder]


def test_ports_come_from_variables_then_memory_then_defaults(tmp_path: Path) -> None:
    environ = {"TAILRACE_STACK_DIR": str(tmp_path)}
    assert StackSettings.from_environment(environ).ports == Ports()
    Memory(Ports(pg=20001, kafka=20002), tmp_path / "pg", "p", "k").write(tmp_path)
    chosen = StackSettings.from_environment({**environ, "TAILRACE_KAFKA_PORT": "20003"})
    assert chosen.ports == Ports(pg=20001, kafka=20003)
    assert chosen.directory == tmp_path


@pytest.mark.parametrize("text", ["x", "0", "70000", "-1", "80"])
def test_a_port_that_is_none_names_its_variable(tmp_path: Path, text: str) -> None:
    environ = {"TAILRACE_STACK_DIR": str(tmp_path), "TAILRACE_HTTP_PORT": text}
    with pytest.raises(ConfigurationError, match="TAILRACE_HTTP_PORT"):
        StackSettings.from_environment(environ)


def test_two_pieces_on_one_port_are_refused_before_anything_starts(tmp_path: Path) -> None:
    environ = {
        "TAILRACE_STACK_DIR": str(tmp_path),
        "TAILRACE_PG_PORT": "20001",
        "TAILRACE_HTTP_PORT": "20001",
    }
    with pytest.raises(ConfigurationError, match="TAILRACE_PG_PORT and TAILRACE_HTTP_PORT are both 20001"):
        StackSettings.from_environment(environ)


def test_status_is_of_the_ports_that_the_stack_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Memory(Ports(connect=20001), tmp_path / "pg", "p", "k").write(tmp_path)
    monkeypatch.setenv("TAILRACE_STACK_DIR", str(tmp_path))
    monkeypatch.setenv("TAILRACE_CONNECT_PORT", "20002")
    assert main(["status", "--json"]) == 1
    shown = {piece["name"]: piece["where"] for piece in json.loads(capsys.readouterr().out)}
    assert shown["connect"] == "http://127.0.0.1:20001"


def test_memory_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    MEMORY.write(tmp_path)
    assert Memory.read(tmp_path) == MEMORY
    raw = json.loads((tmp_path / MARKER).read_text())
    (tmp_path / MARKER).write_text(json.dumps({**raw, "format": 2}))
    with pytest.raises(ConfigurationError, match="format 2"):
        Memory.read(tmp_path)


def test_only_marked_folders_are_removed(tmp_path: Path) -> None:
    folder, elsewhere, unmarked = tmp_path / "stack", tmp_path / "else" / "pg", tmp_path / "other" / "pg"
    for path in (folder, elsewhere, unmarked):
        path.mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="left alone"):
        remove(folder)
    Memory(Ports(), unmarked, "p", "k").write(folder)
    assert remove(folder) == [folder]
    assert unmarked.exists(), "a cluster folder without our mark stays"
    Memory(Ports(), elsewhere, "p", "k").write(folder)
    Memory(Ports(), elsewhere, "p", "k").write(elsewhere.parent)
    assert remove(folder) == [elsewhere.parent, folder]
    assert remove(folder) == []


def test_private_files_are_private(tmp_path: Path) -> None:
    write_private(tmp_path / "secrets" / "pgpass", "x")
    assert (tmp_path / "secrets" / "pgpass").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["pgpass"]


def test_a_listening_port_is_taken_and_its_owner_known() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        server.listen()
        assert not is_free(port)
        assert is_open(port)
        if Path("/proc/net/tcp").exists():
            assert owner(port) == os.getpid()
    assert is_free(port)
    assert not is_open(port)


def test_only_listening_sockets_count() -> None:
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:3C28 00000000:0000 0A 00000000:00000000 00:0 0   108        0 41 1 0 100\n"
        "   1: 0100007F:3C28 0100007F:9999 01 00000000:00000000 00:0 0   108        0 42 1 0 100\n"
        "   2: 0100007F:3C29 00000000:0000 0A 00000000:00000000 00:0 0   108        0 43 1 0 100\n"
    )
    assert listening_inodes(table, 0x3C28) == ["41"]


def test_the_complaint_names_variable_port_and_owner() -> None:
    text = complaint({"TAILRACE_PG_PORT": (15432, 77), "TAILRACE_HTTP_PORT": (8000, None)})
    assert "port 15432 is taken by process 77: set TAILRACE_PG_PORT" in text
    assert "port 8000 is taken: set TAILRACE_HTTP_PORT" in text


class Sleeper(Process):
    """Ready as soon as it runs; the tests spawn it themselves."""

    def launch(self) -> bool:
        return False

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Nothing to wait for."""


def test_a_process_is_known_by_its_start_and_not_by_its_pid(tmp_path: Path) -> None:
    process, record = Sleeper("sleeper", tmp_path / "run.json"), tmp_path / "run.json"
    pid = process.spawn(Command(["sleep", "30"], tmp_path / "log"))
    assert process.pid == pid
    noted = json.loads(record.read_text())
    record.write_text(json.dumps({**noted, "identity": "another start"}))
    assert not process.is_running()
    assert process.kill() is False
    assert identity(pid) == noted["identity"], "the stranger lives"
    record.write_text(json.dumps(noted))
    assert process.stop() is True
    assert identity(pid) is None
    assert process.stop() is False
    assert not record.exists()


def test_what_does_not_stop_is_killed(tmp_path: Path) -> None:
    process = Sleeper("stubborn", tmp_path / "run.json")
    log = tmp_path / "log"
    process.spawn(Command(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"], log))
    wait_until(lambda: "ready" in tail(log), timeout_s=5, what="the trap")
    assert process.stop(timeout_s=0.3) is True
    assert not process.is_running()


def test_waiting_ends_at_once_when_it_cannot_succeed() -> None:
    with pytest.raises(TransientError, match="it died"):
        wait_until(lambda: False, timeout_s=60, what="it", failed=lambda: "it died")
    with pytest.raises(TransientError, match="0 s for it"):
        wait_until(lambda: False, timeout_s=0, what="it")


def test_what_does_not_come_up_in_time_says_what_it_logged(tmp_path: Path) -> None:
    log = tmp_path / "broker.log"
    log.write_text("bound\nno route to itself\n", encoding="utf-8")
    with pytest.raises(TransientError, match=rf"0 s for it; the end of {log}:\nbound\nno route to itself"):
        wait_until(lambda: False, timeout_s=0, what="it", log=log)


def test_one_entry_leaves_the_jar_and_the_rest_stays(tmp_path: Path) -> None:
    jar = tmp_path / "a.jar"
    with zipfile.ZipFile(jar, "w") as made:
        made.writestr("META-INF/services/x", "gone")
        made.writestr("b/C.class", b"\xca\xfe")
    without_entry(jar, "META-INF/services/x")
    without_entry(jar, "not/there")
    with zipfile.ZipFile(jar) as read:
        assert read.namelist() == ["b/C.class"]
        assert read.read("b/C.class") == b"\xca\xfe"


@pytest.mark.parametrize(
    ("text", "major"),
    [('openjdk version "17.0.15" 2025-04-15', 17), ('java version "1.8.0_392"', 1), ("command not found", 0)],
)
def test_java_versions(text: str, major: int) -> None:
    assert java_major(text) == major


def test_postgres_versions() -> None:
    assert postgres_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)") == 15
    assert postgres_major("") == 0


def test_what_is_missing_is_said_with_how_to_get_it() -> None:
    text = how_to_get(["java", "postgres"])
    assert "openjdk-17-jre-headless postgresql" in text
    assert "maven" not in text


def test_the_container_file_keeps_to_loopback_and_to_passwords_of_the_user() -> None:
    raw = yaml.safe_load((REPOSITORY / "infra" / "compose.yaml").read_text())
    ports = [port for service in raw["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)
    for service in raw["services"].values():
        for key, value in service["environment"].items():
            if "PASSWORD" in key or "API_KEY" in key:
                assert value.startswith("${")
                assert ":?" in value
    connect = raw["services"]["connect"]["environment"]
    assert connect["CONNECT_CONNECTOR_CLIENT_CONFIG_OVERRIDE_POLICY"] == "Allowlist"
    allowed = connect_properties(settings())["connector.client.config.override.allowlist"]
    assert connect["CONNECT_CONNECTOR_CLIENT_CONFIG_OVERRIDE_ALLOWLIST"] == allowed
