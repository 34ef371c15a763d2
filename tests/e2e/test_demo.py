"""The demo is the main job on the embedded default: right as told, wrong as soon as an edit is broken."""

import dataclasses
import json
import signal
import subprocess
import sys
import time

import pytest

from tailrace.demo.run import run_demo
from tailrace.demo.story import AGAIN, STORY, Change

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_the_story_is_right_from_a_fresh_process_and_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tailrace", "demo", "--once", "--json", "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] is True
    steps = {step["step"]: step for step in report["steps"]}
    assert list(steps) == [step.name for step in (*STORY, *AGAIN)]
    assert all(
        {"question", "answer", "citations", "expected", "ok", "freshness_ms", "embedded", "reused"}
        <= set(step)
        for step in report["steps"]
    )
    assert steps["status"]["embedded"] == 0
    assert 1 <= steps["append"]["embedded"] <= 2
    assert steps["delete"]["citations"] == []
    act = report["reindex"]
    assert act["wrong"] == []
    assert act["plan"]["meaning"] == "recut"
    assert act["built"]["embedded"] == pytest.approx(act["plan"]["texts_to_embed"], rel=0.1)
    before, after = act["compared"]["documents"]
    assert before == after
    assert act["compared"]["chunks"][1] > act["compared"]["chunks"][0]
    assert act["asked_meanwhile"] > 0
    assert max(act["promoted_ms"], act["rolled_back_ms"]) < 2000


@pytest.mark.parametrize("name", ["edit", "status", "append"])
def test_a_broken_edit_fails_its_step(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The row is written as it was: nothing in the answer may come from the script."""

    def broken(change: Change) -> Change:
        return dataclasses.replace(change, edit=lambda row: {"updated_at": row["updated_at"]})

    story = [
        dataclasses.replace(step, change=broken(step.change)) if step.change and step.name == name else step
        for step in STORY
        if step.name in {"ask", name}
    ]
    shown = run_demo(once=True, as_json=True, port=0, story=story, reindex=False, patience_seconds=1.0)
    assert shown is False
    steps = {step["step"]: step["ok"] for step in json.loads(capsys.readouterr().out)["steps"]}
    assert steps == {"ask": True, name: False}


def test_ctrl_c_stops_it_cleanly_while_it_serves() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tailrace", "demo", "--port", "0"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "curl" in line:
            break
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    rest = process.stderr.read()
    assert process.wait(timeout=30) == 0, "".join(lines) + rest
    assert time.monotonic() - began < 20
    assert "Traceback" not in rest
    process.stderr.close()
