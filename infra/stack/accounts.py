"""The system's accounts that database servers run as, for they refuse root."""

import hashlib
import os
import pwd
import subprocess
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
