"""Vectors that were paid for, kept to be used again: by hash of encoder and text.

Shared by documents, renamed keys and generations. Only a cache: a file that cannot be read is set aside,
a write that fails is a warning, and the index is complete without it.
"""

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from core.clock import Clock
from core.errors import ConfigurationError
from core.telemetry import logger
from embed.model import Vector

log = logger(__name__)

T = TypeVar("T")

ROW_BYTES: Final = 128
"""Of one row beside its vector: key, time, and its entries in two indexes."""

EVICTED: Final = 0.1
"""Share of the bound that one eviction frees, so that not every write evicts."""

_QUERY: Final = 500
"""Keys of one statement; SQLite takes 32,766 values."""

_HOUR_MS: Final = 3_600_000
"""Use is noted to the hour: a hit then writes at most once an hour."""

_SCHEMA: Final = """
PRAGMA page_size = 16384;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA busy_timeout = 5000;
CREATE TABLE IF NOT EXISTS vectors (
    key BLOB NOT NULL UNIQUE, hour INTEGER NOT NULL, size INTEGER NOT NULL, vector BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS vectors_by_hour ON vectors (hour, size);
"""


class VectorStore:
    """At most about `max_bytes` of vectors in the SQLite file at `path`, in memory without one.

    Least recently used go first, in batches. May be called from several threads, and processes may share
    the file. Survives kill -9 at any moment.

    Raises ConfigurationError if the file cannot be made or opened.
    """

    def __init__(self, path: Path | None, max_bytes: int, clock: Clock) -> None:
        self._path, self._max_bytes, self._clock = path, max_bytes, clock
        self._lock = threading.Lock()
        self._bytes = 0
        self._connection = self._open()

    def get(self, fingerprint: str, texts: Sequence[str]) -> dict[str, Vector]:
        """The vectors of those texts that are stored."""
        keys = {vector_key(fingerprint, text): text for text in texts}
        found = self._guarded("read", lambda connection: self._read(connection, list(keys))) or {}
        return {keys[key]: vector for key, vector in found.items()}

    def put(self, fingerprint: str, vectors: Mapping[str, Vector]) -> None:
        """Store these, by text. A failure (a full disk) is logged, and costs a later embedding."""
        hour = self._hour()
        rows = []
        for text, vector in vectors.items():
            blob = np.ascontiguousarray(vector, np.float32).tobytes()
            rows.append((vector_key(fingerprint, text), hour, len(blob) + ROW_BYTES, blob))
        if rows:
            self._guarded("write", lambda connection: self._write(connection, rows))

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _hour(self) -> int:
        return self._clock.now_ms() // _HOUR_MS

    def _guarded(self, what: str, act: Callable[[sqlite3.Connection], T]) -> T | None:
        with self._lock:
            try:
                with self._connection:  # one transaction
                    return act(self._connection)
            except sqlite3.OperationalError as error:  # full, locked, gone: it may pass
                log.warning("vector store skipped", operation=what, reason=str(error))
            except sqlite3.DatabaseError as error:
                self._connection.close()
                self._set_aside(error)
                self._connection = self._open()
            return None

    def _read(self, connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        found: dict[bytes, Vector] = {}
        aged: list[bytes] = []
        now = self._hour()
        for some in (keys[at : at + _QUERY] for at in range(0, len(keys), _QUERY)):
            marks = ",".join("?" * len(some))
            rows = connection.execute(
                f"SELECT key, hour, vector FROM vectors WHERE key IN ({marks})",  # noqa: S608 - marks only
                some,
            )
            for key, hour, blob in rows:
                if len(blob) % 4 == 0:
                    found[key] = np.frombuffer(blob, np.float32)
                if hour < now:
                    aged.append(key)
        connection.executemany("UPDATE vectors SET hour = ? WHERE key = ?", [(now, key) for key in aged])
        return found

    def _write(self, connection: sqlite3.Connection, rows: Sequence[tuple[bytes, int, int, bytes]]) -> None:
        connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)", rows)
        self._bytes += sum(size for _, _, size, _ in rows)
        if self._bytes <= self._max_bytes:
            return
        size = max(size for _, _, size, _ in rows)
        # What others wrote or replaced counts too: measure before anything is thrown away.
        excess = _stored(connection) - self._max_bytes
        if excess > 0:
            connection.execute(
                "DELETE FROM vectors WHERE rowid IN (SELECT rowid FROM vectors ORDER BY hour, rowid LIMIT ?)",
                [int(excess + self._max_bytes * EVICTED) // size + 1],
            )
        self._bytes = _stored(connection)

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.OperationalError as error:
            raise ConfigurationError(
                f"vector store {self._path}: {error}: make the folder writable, or name another file"
            ) from error
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        made = sqlite3.connect(self._path or ":memory:", check_same_thread=False)
        try:
            made.executescript(_SCHEMA)
            self._bytes = _stored(made)
        except sqlite3.DatabaseError:
            made.close()
            raise
        return made

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        log.warning("vector store set aside: it will be filled anew", path=str(self._path), reason=str(error))
        if self._path is None:
            return
        self._path.replace(self._path.with_name(self._path.name + ".broken"))
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


def vector_key(fingerprint: str, text: str) -> bytes:
    """Of a text's vector in the file."""
    return blake2b(f"{fingerprint}\0{text}".encode(), digest_size=20).digest()


def _stored(connection: sqlite3.Connection) -> int:
    with closing(connection.execute("SELECT COALESCE(SUM(size), 0) FROM vectors")) as answer:
        return int(answer.fetchone()[0])
