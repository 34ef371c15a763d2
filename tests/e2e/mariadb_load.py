"""One writer on MariaDB: what a busy shop does to its rows, in transactions, the same load each time."""

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

from infra.stack import Stack
from tests.e2e.support import eventually

FIRST_KEY: Final = 100_000


class Edits:
    """One writer: inserts, updates, REPLACE, deletes and changes of key, in transactions, until stopped."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self.committed: list[float] = []
        """When (s since 1970) each transaction was committed."""

    @contextlib.contextmanager
    def running(self) -> Iterator["Edits"]:
        self._stop.clear()
        thread = threading.Thread(target=self._guard)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join(30)
        if self._failure is not None:
            raise self._failure

    def wait(self, more: int) -> None:
        wanted = len(self.committed) + more
        eventually(
            lambda: len(self.committed) >= wanted or self._failure is not None, within_s=30, what="commits"
        )

    def _guard(self) -> None:
        try:
            self._write()
        except BaseException as error:  # noqa: BLE001 - raised again where the test is
            self._failure = error

    def _write(self) -> None:
        rng = random.Random(11)  # noqa: S311 - the same load each time
        with self._stack.mariadb.connect() as connection, connection.cursor() as cursor:
            while not self._stop.is_set():
                cursor.execute("BEGIN")
                for _ in range(rng.choice((1, 1, 2, 4))):
                    number = len(self.committed)
                    for statement, parameters in _edit(rng, number):
                        cursor.execute(statement, parameters)
                cursor.execute("COMMIT")
                self.committed.append(time.time())
                self._stop.wait(0.005)


_UPSERT: Final = (
    "INSERT INTO articles VALUES (%s, %s, %s, 'care', 'en', 1, NOW(6)) ON DUPLICATE KEY UPDATE"
    " title = VALUES(title), body = VALUES(body), published = %s, updated_at = NOW(6)"
)


def _edit(rng: random.Random, number: int) -> list[tuple[str, list[Any]]]:
    key, kind = FIRST_KEY + rng.randrange(300), rng.random()
    said = [f"Note {number}", f"Note {number} of {key}: keep it dry."]
    if kind < 0.1:
        return [("DELETE FROM articles WHERE id = %s", [key])]
    if kind < 0.2:
        moved = FIRST_KEY + 1000 + rng.randrange(300)
        return [
            ("DELETE FROM articles WHERE id = %s", [moved]),
            ("UPDATE articles SET id = %s WHERE id = %s", [moved, key]),
        ]
    if kind < 0.4:
        order = FIRST_KEY + rng.randrange(100)
        values = [order, order % 30, f"step {number}", f"{number}.50"]
        return [
            (
                "REPLACE INTO orders VALUES (%s, %s, 201, %s, '2026-12-01', %s, NOW(6))",
                values,
            )
        ]
    if kind < 0.6:
        return [("REPLACE INTO articles VALUES (%s, %s, %s, 'care', 'en', 1, NOW(6))", [key, *said])]
    return [
        (
            _UPSERT,
            [key, *said, int(rng.random() < 0.9)],
        )
    ]
