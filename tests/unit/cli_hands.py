"""The command line, called in this process: as from a shell, without its half second of start."""

from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from tailrace.cli import run


@dataclass(frozen=True, slots=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def tailrace(*arguments: str, folder: Path | None = None) -> Done:
    said, told = StringIO(), StringIO()
    with chdir(folder or "."), redirect_stdout(said), redirect_stderr(told):
        code = run(arguments)
    return Done(code, said.getvalue(), told.getvalue())
