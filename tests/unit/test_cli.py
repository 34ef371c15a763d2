"""Exit codes and messages of the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli_hands import tailrace

COMMANDS = (
    "demo",
    "init",
    "dev",
    "worker",
    "serve",
    "topics",
    "query",
    "doc",
    "freshness",
    "doctor",
    "connect",
    "reindex",
    "resync",
    "config",
    "version",
)
HEAVY = ("openai", "qdrant_client", "qdrant_edge", "openvino", "faust", "fastapi", "aiokafka", "pydantic")


def from_outside(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tailrace", *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom tailrace.cli import run\nassert run(['--help']) == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(command in done.stdout for command in COMMANDS)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    done = tailrace(command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command"),
        (["demo", "--nonsense"], "Try `tailrace demo --help`"),
        (["demo", "--port", "99999"], "for '--port': Input should be less"),
        (["connect", "status", "--nonsense"], "Try `tailrace connect status --help`"),
        (["worker", "--config", "none.yaml"], "none.yaml does not exist: run `tailrace init`"),
        (["query", "a", "--config", "none.yaml"], "none.yaml does not exist"),
        (["topics", "plan", "--config", "none.yaml"], "none.yaml does not exist"),
    ],
)
def test_wrong_usage_is_exit_2_with_one_clear_message(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    done = tailrace(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_a_service_that_is_down_is_exit_1_with_what_to_do(tmp_path: Path) -> None:
    done = from_outside("freshness", "--url", "http://127.0.0.1:9", cwd=tmp_path)
    assert done.returncode == 1
    assert "tailrace dev" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_that_is_full_is_one_message() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-u", "-m", "tailrace", "version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_data_of_doctor_are_json_whatever_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.topics_admin.TIMEOUT_SECONDS", 0.2)
    (tmp_path / "tailrace.yaml").write_text(
        "app: shop\nlog: {kind: kafka, brokers: ['127.0.0.1:9']}\nencoder: {kind: hashing}\n"
        "index: {kind: edge, path: index}\nconnect: {url: 'http://127.0.0.1:9'}\n"
        "sources: {shop: {connector: shop, prefix: shop, tables: [public.articles]}}\n"
        "documents: {articles: {table: shop.public.articles, text: '{{ body }}'}}\n"
        "profiles: {support: {documents: [articles]}}\n"
    )
    done = tailrace("doctor", "--json", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)


def test_init_writes_a_configuration_that_loads_and_never_overwrites(tmp_path: Path) -> None:
    assert tailrace("init", "--app", "mine", folder=tmp_path).returncode == 0
    shown = tailrace("config", "show", "--origin", "--json", folder=tmp_path)
    assert shown.returncode == 0, shown.stderr
    values = json.loads(shown.stdout)
    assert values["app"] == {"value": "mine", "origin": "tailrace.yaml:2"}
    assert values["serve.port"]["origin"] == "default"
    again = tailrace("init", folder=tmp_path)
    assert again.returncode == 2
    assert "--force" in again.stderr


def test_a_project_without_connectors_is_told_where_they_come_from(tmp_path: Path) -> None:
    assert tailrace("init", folder=tmp_path).returncode == 0
    done = tailrace("connect", "plan", folder=tmp_path)
    assert done.returncode == 2
    assert "docs/connectors.md" in done.stderr
    assert "tailrace connect export" in done.stderr


def test_two_inits_have_different_placeholders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        tailrace("init", name, folder=tmp_path)
    one, two = ((tmp_path / name / "tailrace.yaml").read_text() for name in ("a", "b"))
    assert one != two


def test_version_says_what_decides_results() -> None:
    parts = json.loads(from_outside("version", "--json").stdout)
    assert {"tailrace", "python", "faust-streaming", "openvino"} <= set(parts)
