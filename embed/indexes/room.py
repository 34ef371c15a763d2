"""Room on the disk of an embedded index.

It maps its files into memory, and a write into a mapped page that the disk has no room for is no
error: the kernel kills the process (SIGBUS). So room is asked for before each write, and a lack of
it is something to wait for.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from core.errors import TransientError

RESERVE: Final = 192 << 20
"""Bytes: more than one write of at most 200 points and one flush have been seen to take, segments
of 32 MiB and their copies included."""

OPENING: Final = 64 << 20
"""Bytes: opening applies what was written and not flushed; for 4,000 points that took 23 MB. Less than
`RESERVE`, so that who had to wait for room can start again, answer, and drop what is not needed."""


class Room:
    """`ask` raises TransientError while the disk of `path` has fewer than `reserve` bytes free."""

    def __init__(self, path: Path, free: Callable[[Path], int] | None = None) -> None:
        self._path, self._free = path, free or _free

    def ask(self, reserve: int = RESERVE) -> None:
        """Before each write. A microsecond or two."""
        found = self._free(self._path)
        if found < reserve:
            raise TransientError(
                f"the disk of {self._path} has {found >> 20} MB free and a write needs {reserve >> 20}:"
                " make room; nothing is lost, indexing goes on by itself",
                retry_after=5.0,
            )


def _free(path: Path) -> int:
    return shutil.disk_usage(path).free
