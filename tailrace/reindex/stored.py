"""Which texts have a vector in the store of this machine: read beside its owner, who notices nothing."""

import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Final

from embed.store import vector_key

_QUERY: Final = 500
"""Keys of one statement."""


class StoredTexts:
    """`path` may be None or name no file, as where the worker runs on another machine: then none is there.

    Unlike VectorStore it makes no file, notes no use, evicts nothing and sets nothing aside.
    """

    def __init__(self, path: Path | None, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        self._connection: sqlite3.Connection | None = None
        if path is not None and path.is_file():
            try:
                made = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
            except sqlite3.Error:
                return
            self._connection = made

    @property
    def there(self) -> bool:
        return self._connection is not None

    def known(self, texts: Collection[str]) -> set[str]:
        """Those of these texts that are stored."""
        if self._connection is None or not texts:
            return set()
        keys = {vector_key(self._fingerprint, text): text for text in texts}
        found: set[str] = set()
        ordered = list(keys)
        try:
            for at in range(0, len(ordered), _QUERY):
                some = ordered[at : at + _QUERY]
                marks = ",".join("?" * len(some))
                asked = f"SELECT key FROM vectors WHERE key IN ({marks})"  # noqa: S608 - marks only
                with closing(self._connection.execute(asked, some)) as rows:
                    found.update(keys[key] for (key,) in rows)
        except sqlite3.Error:  # a cache: what cannot be read is not there
            self.close()
            return set()
        return found

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
