"""The folder of an embedded index: who owns it, and small files that are never half written."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import ConfigurationError, TransientError


class Ownership:
    """The lock of one folder, held until `release` or the end of the process, however it ends.

    Raises ConfigurationError, with the owner's process id, if somebody else has it.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / "owner.lock").open("a+", encoding="ascii")
        except OSError as error:
            raise ConfigurationError(
                f"{folder}: the embedded index cannot be kept here: {error.strerror}; set index.path"
            ) from error
        try:
            # flock, not lockf: it also refuses a second open by this process.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            owner = self._file.read().strip() or "unknown"
            self._file.close()
            who = "this process" if owner == str(os.getpid()) else f"process {owner}"
            raise ConfigurationError(
                f"{folder}: the embedded index is already open in {who}, and one process owns it: stop that"
                " one, run worker and service in one process (`tailrace dev`), or use `index: {kind: qdrant}`"
            ) from error
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        self._file.close()


def read_json(path: Path) -> Any:
    """The file's value; None if there is no file. ConfigurationError if it cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error}): restore the index folder, or delete it and reindex"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Replace the file: on return it is durable, and at no time half written."""
    draft = path.with_name(path.name + ".draft")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


@contextmanager
def awaiting_room(folder: Path) -> Iterator[None]:
    """What the system refuses to write below `folder` is waited for: TransientError."""
    try:
        yield
    except OSError as error:
        raise TransientError(
            f"{folder}: cannot be written ({error.strerror or error}): make room on its disk, or let this"
            " process write there; nothing is lost, it goes on by itself",
            retry_after=5.0,
        ) from error


def sync_folder(folder: Path) -> None:
    """Make renames in this folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
