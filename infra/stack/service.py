"""Tailrace itself on the stack: worker and query service in one process."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import httpx2

from core.errors import ConfigurationError
from infra.stack import ports
from infra.stack.processes import Command, Process
from infra.stack.settings import REPOSITORY, Ports, StackSettings

_PROGRAM: Final = (sys.executable, "-m", "tailrace")


class Tailrace(Process):
    """`tailrace dev` with the stack's configuration."""

    def __init__(self, settings: StackSettings) -> None:
        super().__init__("tailrace", settings.directory / "run" / "tailrace.json")
        self._config = settings.config_path
        self.url = f"http://{ports.LOOPBACK}:{settings.ports.http}"
        self.log = settings.logs / "tailrace.log"

    def launch(self) -> bool:
        if self.is_running():
            return False
        argv = [*_PROGRAM, "dev", "--config", str(self._config)]
        self.spawn(Command(argv, self.log, environ=_environ(), cwd=REPOSITORY))
        return True

    def wait_ready(self, timeout_s: float = 180.0) -> None:
        self.wait_for(self._answers, f"{self.url}/health/ready", self.log, timeout_s)

    def _answers(self) -> bool:
        try:
            answer = httpx2.get(f"{self.url}/health/ready", timeout=2.0, trust_env=False)
        except httpx2.HTTPError:
            return False
        return answer.is_success


def apply_topics(config: Path) -> None:
    """Make the topics that the configuration needs. Raises ConfigurationError with what the program says."""
    argv = [*_PROGRAM, "topics", "apply", "--config", str(config)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=_environ())
    if done.returncode != 0:
        raise ConfigurationError(f"`tailrace topics apply` failed: {(done.stderr or done.stdout).strip()}")


def _environ() -> dict[str, str]:
    """Ours without the stack's own variables: any other TAILRACE_… overrides a configuration value."""
    own = {"TAILRACE_STACK_DIR", *map(Ports.variable, Ports.names())}
    return {name: value for name, value in os.environ.items() if name not in own}
