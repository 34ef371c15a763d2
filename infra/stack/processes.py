"""Processes that outlive the shell that started them, and that we can tell from strangers.

A record file holds the pid and what the kernel says about its start: a pid that was given to
somebody else later is never signalled.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from core.errors import TransientError

_children: Final[dict[int, subprocess.Popen[bytes]]] = {}
"""Our own children of this Python process: they must be reaped, or they look alive."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to start. `user`: run as this account, where we may choose (root)."""

    argv: Sequence[str]
    log: Path
    environ: Mapping[str, str] | None = None
    user: str | None = None
    cwd: Path = Path("/")


class Process(ABC):
    """One long-running program, known by its record file."""

    def __init__(self, name: str, record: Path, *, stop_signal: int = signal.SIGTERM) -> None:
        self.name = name
        self._record = record
        self._stop_signal = stop_signal

    @property
    def pid(self) -> int | None:
        """The pid while it runs and is still the process that we started; else None."""
        try:
            noted = json.loads(self._record.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        pid = int(noted["pid"])
        _reap(pid)
        return pid if identity(pid) == noted["identity"] else None

    def is_running(self) -> bool:
        return self.pid is not None

    def was_started(self) -> bool:
        """Whether it was started and not stopped since: it runs, or it died."""
        return self._record.exists()

    def ended(self, log: Path) -> str | None:
        """Why there is nothing to wait for: it ended, and what it said last; None while it runs."""
        return (
            None if self.is_running() else f"{self.name} ended at its start; the end of {log}:\n{tail(log)}"
        )

    def wait_for(self, answers: Callable[[], bool], what: str, log: Path, timeout_s: float) -> None:
        """Until it answers. Raises TransientError, with the end of its log, if it ends or time is over."""
        wait_until(answers, timeout_s=timeout_s, what=what, failed=lambda: self.ended(log), log=log)

    @abstractmethod
    def launch(self) -> bool:
        """Start it without waiting; False if it runs already."""

    @abstractmethod
    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Until it serves. Raises TransientError, with the end of its log, if it does not come up."""

    def start(self) -> bool:
        """Start it and wait until it serves; False if it ran already."""
        launched = self.launch()
        self.wait_ready()
        return launched

    def spawn(self, command: Command) -> int:
        """Run the command, detached, output appended to its log. Returns the pid."""
        command.log.parent.mkdir(parents=True, exist_ok=True)
        with command.log.open("ab") as log:
            child: subprocess.Popen[bytes] = subprocess.Popen(
                list(command.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=command.cwd,
                env=None if command.environ is None else dict(command.environ),
                start_new_session=True,
                **account(command.user),
            )
        _children[child.pid] = child
        made = identity(child.pid)
        self._record.parent.mkdir(parents=True, exist_ok=True)
        self._record.write_text(json.dumps({"pid": child.pid, "identity": made}), encoding="utf-8")
        return child.pid

    def stop(self, *, timeout_s: float = 20.0) -> bool:
        """Ask it to end and wait; end it hard if it does not. False if it was not running."""
        pid = self.pid
        if pid is None:
            self._record.unlink(missing_ok=True)
            return False
        self._signal(pid, self._stop_signal)
        try:
            wait_until(lambda: self.pid is None, timeout_s=timeout_s, what=f"{self.name} to stop")
        except TransientError:
            self.kill()
        self._record.unlink(missing_ok=True)
        return True

    def kill(self) -> bool:
        """End it with kill -9, and wait until it is gone. False if it was not running."""
        pid = self.pid
        if pid is None:
            return False
        self._signal(pid, signal.SIGKILL)
        wait_until(lambda: self.pid is None, timeout_s=10.0, what=f"{self.name} to be gone")
        return True

    def send(self, number: int) -> None:
        """Send a signal, such as SIGSTOP, if it runs."""
        if (pid := self.pid) is not None:
            self._signal(pid, number)

    def _signal(self, pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def identity(pid: int) -> str | None:
    """What tells this process from a later one of the same pid; None if there is none, or a zombie.

    A killed process of many threads is a zombie while some of them still hold its ports: not gone yet.
    """
    try:
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (FileNotFoundError, ProcessLookupError):
        return _identity_by_ps(pid) if not Path("/proc/self").exists() else None
    state, started = fields[0], fields[19]
    return None if state in {"Z", "X"} and threads <= 1 else f"{boot} {started}"


def wait_until(
    done: Callable[[], bool],
    *,
    timeout_s: float,
    what: str,
    failed: Callable[[], str | None] = lambda: None,
    log: Path | None = None,
) -> None:
    """Look until it is so. Raises TransientError after `timeout_s`, or at once with what `failed` says.

    `log`: of whoever is waited for; its end is in the message.
    """
    deadline = time.monotonic() + timeout_s
    while not done():
        if (reason := failed()) is not None:
            raise TransientError(reason)
        if time.monotonic() > deadline:
            said = f"; the end of {log}:\n{tail(log)}" if log else ""
            raise TransientError(f"waited {timeout_s:.0f} s for {what}{said}")
        time.sleep(0.05)


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, for an error message."""
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(no log)"


def account(user: str | None) -> dict[str, Any]:
    """Popen's arguments to run as `user`; none for ourselves."""
    if user is None:
        return {}
    return {"user": user, "group": user, "extra_groups": [], "umask": 0o077}


def _reap(pid: int) -> None:
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]


def _identity_by_ps(pid: int) -> str | None:
    """The same on a system without /proc."""
    said = subprocess.run(
        ["ps", "-o", "stat=,lstart=,command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, rest = said.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else rest.strip()
