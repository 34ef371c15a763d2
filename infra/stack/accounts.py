"""The system's accounts that database servers run as, for they refuse root."""

import hashlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from core.errors import ConfigurationError
from infra.stack.processes import account

_ELSEWHERE: Final = Path("/var/lib/tailrace-stack")


def server_account(name: str) -> str | None:
    """`name` where we are root; None for our own. Raises ConfigurationError if there is no such user."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(name).pw_name
    except KeyError:
        raise ConfigurationError(
            f"The database does not run as root, and there is no user {name}: run this as another user, or"
            " install the server from your system's packages, which make that user"
        ) from None


def data_folder(directory: Path, name: str, user: str | None) -> Path:
    """Where a server's data go: in the stack's folder, or elsewhere if its account cannot enter that."""
    if user is None:
        return directory / name
    reached = subprocess.run(["test", "-x", str(directory)], check=False, cwd="/", **account(user))
    if reached.returncode == 0:
        return directory / name
    return _ELSEWHERE / hashlib.sha256(str(directory).encode()).hexdigest()[:12] / name


@contextmanager
def made_aside(data: Path, user: str | None) -> Iterator[Path]:
    """A folder of the account to make the data in. It takes its place after the block: whole, or absent."""
    draft = data.with_name(f"{data.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True, mode=0o700)
    if user is not None:
        shutil.chown(draft, user, user)
    yield draft
    draft.rename(data)


def run_as(
    user: str | None, argv: Sequence[str], environ: Mapping[str, str], *, given: str = "", complaint: str = ""
) -> None:
    """Run a server's own tool as the account, with `given` as its input.

    Raises ConfigurationError with the end of what it said if it failed, or said the word `complaint`.
    """
    done = subprocess.run(
        argv, input=given, capture_output=True, text=True, check=False, cwd="/", env=environ, **account(user)
    )
    if done.returncode != 0 or (complaint and complaint in done.stderr):
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-5:]
        raise ConfigurationError(f"{Path(argv[0]).name} failed: {'; '.join(said)}")
