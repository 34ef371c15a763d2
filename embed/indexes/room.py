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


class Room:
    """`ask` raises TransientError while the disk of `path` has less than `reserve` bytes free."""

    def __init__(self, path: Path, reserve: int = RESERVE, free: Callable[[Path], int] | None = None) -> None:
        self._path, self._reserve, self._free = path, reserve, free or _free

    def ask(self) -> None:
        """Before each write. A microsecond or two."""
        found = self._free(self._path)
        if found < self._reserve:
            raise TransientError(
                f"the disk of {self._path} has {found >> 20} MB free and a write needs {self._reserve >> 20}:"
                " make room; nothing is lost, indexing goes on by itself",
                retry_after=5.0,
            )


def _free(path: Path) -> int:
    return shutil.disk_usage(path).free
