"""`tailrace connect restart`, `pause`, `snapshot status`: what is touched, left out, and waited for."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
import yaml

from connectors.diff import OWNER_KEY
from connectors.rest import ConnectClient
from connectors.snapshots import execute
from core.errors import PermanentError
from tailrace.cli import run
from tailrace.cli.connect_snapshot import follow, until_heard
from tests.unit.connect_world import TRACE, URL, Cluster, Running

QUICK = ("--settle", "0", "--timeout", "1.2")
Tailrace = Callable[..., tuple[str, str]]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """With three connectors that are ours, in the folder of their tailrace.yaml."""
    monkeypatch.chdir(tmp_path)
    sources = {"shop": {"prefix": "shop", "tables": ["public.articles"]}}
    tree = {"app": "trial", "connect": {"url": URL}, "sources": sources}
    (tmp_path / "tailrace.yaml").write_text(yaml.safe_dump(tree))
    made = Cluster()
    for name, state in (("runs", "RUNNING"), ("waits", "PAUSED"), ("rests", "STOPPED")):
        made.connectors[name] = Running({OWNER_KEY: "trial"}, state)
    with made.served(attempts=2):
        yield made


@pytest.fixture
def tailrace(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> Tailrace:
    def call(*arguments: str, code: int = 0) -> tuple[str, str]:
        found = run(["connect", *arguments])
        out, err = capsys.readouterr()
        assert found == code, out + err
        return out, err

    return call


def test_all_leaves_out_what_is_not_to_run_and_says_so(cluster: Cluster, tailrace: Tailrace) -> None:
    out, err = tailrace("restart", "--all", *QUICK)
    assert out == "ok    runs: running\n"
    assert "waits is paused, and left out: `tailrace connect resume waits`" in err
    assert "rests is stopped, and left out: `tailrace connect resume rests`" in err
    assert cluster.writes == ["POST runs restart includeTasks=true&onlyFailed=false"]


def test_one_that_is_paused_is_left_out_by_its_name_too(cluster: Cluster, tailrace: Tailrace) -> None:
    out, err = tailrace("restart", "waits", "--task", "0", *QUICK)
    assert (out, cluster.writes) == ("", [])
    assert "tailrace connect resume waits" in err


def test_a_task_that_failed_before_its_pause_is_restarted_into_it(
    cluster: Cluster, tailrace: Tailrace
) -> None:
    cluster.connectors["waits"].trace = cluster.failing["waits"] = TRACE
    out, err = tailrace("restart", *QUICK)
    assert out == "ok    waits: paused\n"
    assert "nothing has failed" not in err


def test_what_has_failed_can_be_paused_by_hand(cluster: Cluster, tailrace: Tailrace) -> None:
    cluster.connectors["runs"].trace = cluster.failing["runs"] = TRACE
    assert tailrace("pause", "runs", "--timeout", "5")[0] == "ok    runs: paused\n"
    assert "user or password is wrong" in tailrace("resume", "runs", *QUICK, code=1)[1]


def test_one_that_never_begins_is_told_with_where_to_look(cluster: Cluster, tailrace: Tailrace) -> None:
    cluster.connectors["runs"].looks = ["UNASSIGNED"] * 1000
    _, err = tailrace("resume", "runs", *QUICK, code=1)
    assert "starting, not running, after 1 s" in err
    assert "hint: `tailrace doctor`" in err


READING = {
    "lsn_commit": 5,
    "incremental_snapshot_collections": json.dumps([{"incremental_snapshot_collections_id": "public.a"}]),
    "incremental_snapshot_correlation_id": "s1",
}


def reading(cluster: Cluster, name: str) -> None:
    cluster.connectors[name].offsets = [{"partition": {"server": name}, "offset": READING}]


def test_a_snapshot_is_not_waited_for_behind_a_task_that_failed(cluster: Cluster, tailrace: Tailrace) -> None:
    reading(cluster, "runs")
    assert tailrace("snapshot", "status", "runs") == ("runs: reading public.a\n", "")
    cluster.connectors["runs"].trace = TRACE
    for arguments in (["--watch"], []):
        out, err = tailrace("snapshot", "status", "runs", *arguments, code=1)
        assert out == "runs: reading public.a\n"
        assert "Error configuring an instance" in err
        assert "hint: user or password is wrong" in err
        assert "tailrace connect restart runs" in err
    with ConnectClient(URL) as client, pytest.raises(PermanentError, match="Error configuring"):
        until_heard(client, "runs", execute(["public.b"]), ["public.b"], "0/FF", 60.0)


def test_a_snapshot_of_a_paused_connector_is_said_to_stand_still(
    cluster: Cluster, tailrace: Tailrace, capsys: pytest.CaptureFixture[str]
) -> None:
    reading(cluster, "waits")
    out, err = tailrace("snapshot", "status", "waits", "--json")
    assert (json.loads(out)["running"], json.loads(out)["state"]) == (True, "paused")
    assert err == "waits is paused: nothing is read until `tailrace connect resume waits`\n"
    with ConnectClient(URL) as client, pytest.raises(typer.Exit):
        follow(client, "waits", time.monotonic(), as_json=False)
    assert "resume waits" in capsys.readouterr().err


def test_a_connector_that_was_deleted_has_not_read_its_tables(cluster: Cluster) -> None:
    with ConnectClient(URL) as client, pytest.raises(PermanentError, match="is gone"):
        follow(client, "deleted", None, as_json=False, shown="deleted: reading public.a")
