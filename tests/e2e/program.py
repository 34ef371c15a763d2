"""`python -m …`, started as its user would start it, beside a stack."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.stack.processes import Command, Process, tail, wait_until
from infra.stack.settings import REPOSITORY


class Program(Process):
    """One process of a deployment; which it is stands beside its log."""

    def __init__(self, name: str, argv: Sequence[str], log: Path) -> None:
        super().__init__(name, log.with_suffix(".json"))
        self.log = log
        self._argv = [sys.executable, "-m", *argv]

    def launch(self) -> bool:
        if self.is_running():
            return False
        self.spawn(Command(self._argv, self.log, environ=dict(os.environ), cwd=REPOSITORY))
        return True

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """That it runs: when a deployment of several is ready, its service alone says."""
        wait_until(self.is_running, timeout_s=timeout_s, what=self.name)

    def said(self) -> str:
        return f"{self.name}: {'running' if self.is_running() else 'ended'}\n{tail(self.log)}"


def tailrace(config: Path, *arguments: str, within_s: float = 120) -> subprocess.CompletedProcess[str]:
    """The command line, from outside, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tailrace", *arguments, "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        timeout=within_s,
    )
