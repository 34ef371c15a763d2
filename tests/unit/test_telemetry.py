"""Log lines on a terminal and off one."""

import json
import os
import subprocess
import sys

import pytest

CODE = """
from core.telemetry import configure_logging, logger
configure_logging(colours={terminal})
logger("here").info("ready", records=3)
"""


def _said(*, terminal: bool, **environment: str) -> str:
    code = CODE.format(terminal=terminal)
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**plain, **environment}
    )
    assert not done.stdout
    return done.stderr


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)]
)
def test_a_terminal_has_colours_unless_somebody_wants_none(
    environment: dict[str, str], coloured: bool
) -> None:
    said = _said(terminal=True, **environment)
    assert ("\x1b[" in said) is coloured
    assert "ready" in said


def test_off_a_terminal_a_line_is_json() -> None:
    assert json.loads(_said(terminal=False))["records"] == 3
