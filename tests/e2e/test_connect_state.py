"""What `tailrace connect` shows and changes of connectors that are there: state, tasks, offsets."""

import json
import re
import time
from pathlib import Path

import httpx2
import pytest

from connectors.rest import ConnectClient
from tests.e2e.connect_desk import Desk, drop_slots, slots
from tests.e2e.support import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_a_failed_task_is_restarted_and_waited_for(desk: Desk) -> None:
    desk.write("one")
    desk.apply("--skip-preflight", code=1)
    again = desk.run("restart", "--settle", "1", code=1)
    assert "fail  one: failed" in again.stdout
    desk.publish("one")
    assert "ok    one: running" in desk.run("restart", "--settle", "1").stdout
    assert "nothing has failed" in desk.run("restart").stderr
    assert "ok    one: running" in desk.run("restart", "one", "--task", "0", "--settle", "1").stdout
    desk.run("status", "one")


def test_state_goes_there_and_back_by_file_and_by_hand(desk: Desk) -> None:
    desk.publish("one")
    desk.write("one", state="stopped")
    assert "ok    one: stopped" in desk.apply().stdout
    assert slots(desk) == set(), "what is to be stopped has never begun"
    desk.write("one", state="paused", poll__interval__ms="20")
    assert "ok    one: paused" in desk.apply().stdout
    desk.write("one")
    assert "~ state: paused → running" in desk.apply().stdout
    for verb, word in (("pause", "paused"), ("stop", "stopped")):
        assert f"ok    one: {word}" in desk.run(verb, "one").stdout
        assert f"~ state: {word} → running" in desk.run("plan", "--check", code=3).stdout
    assert "ok    one: running" in desk.run("resume", "one", "--settle", "1").stdout
    assert "there is no connector nope" in desk.run("pause", "nope", code=2).stderr


def test_offsets_are_shown_set_and_reset(desk: Desk, tmp_path: Path) -> None:
    desk.write("one")
    desk.publish("one")
    desk.apply()
    with ConnectClient(desk.stack.connect_url) as client:
        eventually(lambda: bool(client.offsets("one")), within_s=30, what="nothing is committed")
    assert '{"server": "one"}' in desk.run("offsets", "show", "one").stdout
    assert "tailrace connect stop one" in desk.run("offsets", "reset", "one", "--yes", code=2).stderr
    assert "--yes" in desk.run("offsets", "reset", "one", "--stop", code=2).stderr
    desk.run("stop", "one")
    saved = tmp_path / "saved.json"
    saved.write_text(desk.run("offsets", "show", "one", "--json").stdout)
    assert "1 offset(s) forgotten" in desk.run("offsets", "reset", "one", "--yes").stdout
    assert "nothing is committed" in desk.run("offsets", "show", "one").stderr
    assert "1 offset(s) set" in desk.run("offsets", "set", "one", str(saved), "--yes").stdout
    assert desk.run("offsets", "show", "one", "--json").stdout == saved.read_text()
    saved.write_text('[{"partition": {"server": "else"}, "offset": {"lsn": 1}}]')
    assert (
        "is none of this connector's" in desk.run("offsets", "set", "one", str(saved), "--yes", code=2).stderr
    )
    assert "ok    one: running" in desk.run("resume", "one", "--settle", "1").stdout


def test_a_lost_slot_is_told_and_mended_by_a_reset(desk: Desk) -> None:
    desk.write("one")
    desk.publish("one")
    desk.apply()
    with ConnectClient(desk.stack.connect_url) as client:
        eventually(
            lambda: "lsn_commit" in str(client.offsets("one")), within_s=30, what="nothing is committed"
        )
    desk.run("stop", "one")
    eventually(lambda: drop_slots(desk), within_s=30, what="the slot stays")
    failed = desk.run("resume", "one", "--settle", "1", code=1)
    assert "no longer available on the server" in failed.stderr
    assert "tailrace connect offsets reset one --stop" in failed.stderr
    desk.run("offsets", "reset", "one", "--stop", "--yes")
    assert "ok    one: running" in desk.run("resume", "one", "--settle", "1").stdout


def test_a_connect_that_is_not_there_is_one_line(desk: Desk) -> None:
    began = time.monotonic()
    done = desk.run("status", "--url", "http://127.0.0.1:9", code=1)
    assert "is Connect running there" in done.stderr
    assert not done.stdout
    assert time.monotonic() - began < 20


def test_status_shows_worker_connectors_and_topics(desk: Desk) -> None:
    desk.publish("one")
    desk.write("one")
    desk.apply()
    shown = desk.run("status")
    assert "healthy, version 4." in shown.stderr
    assert re.search(r"one +running +0 RUNNING +\S+ +PostgresConnector 3\.", shown.stdout)
    data = json.loads(desk.run("status", "one", "--json").stdout)
    assert data["connectors"][0]["state"] == "running"
    answer = httpx2.get(f"{desk.stack.connect_url}/connectors/one/config", trust_env=False)
    assert answer.json()["tailrace.owner"] == "trial"
