"""Which ports are taken, and by whom."""

import contextlib
import errno
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"
_LISTEN: Final = "0A"
"""A listening socket's state in /proc/net/tcp."""


def is_free(port: int) -> bool:
    """Whether we could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As every server does: without it a port in TIME_WAIT after a restart would look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


def is_open(port: int) -> bool:
    """Whether something accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1.0):
        return True
    return False


def owner(port: int, proc: Path = Path("/proc")) -> int | None:
    """The process that listens on the port; None where that cannot be known."""
    inodes = {
        inode for table in ("net/tcp", "net/tcp6") for inode in listening_inodes(_read(proc / table), port)
    }
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(descriptor.readlink()) in wanted:
                        return int(process.name)
    return None


def listening_inodes(table: str, port: int) -> list[str]:
    """The sockets that listen on the port, from the text of /proc/net/tcp."""
    rows = (line.split() for line in table.splitlines()[1:])
    return [
        row[9]
        for row in rows
        if len(row) > 9 and row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port  # noqa: PLR2004 - column
    ]


def complaint(taken: Mapping[str, tuple[int, int | None]]) -> str:
    """What to tell the user: `taken` maps the variable to the port and its owner's pid."""
    lines = [
        f"  port {port} is taken{f' by process {pid}' if pid else ''}: set {variable} to a free port"
        for variable, (port, pid) in taken.items()
    ]
    return "Nothing was started:\n" + "\n".join(lines)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
