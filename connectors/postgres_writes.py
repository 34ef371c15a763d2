"""The only things that we write into a source: a signal, and what a deleted connector leaves behind."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from connectors.snapshots import Signal
from core.errors import ConfigurationError, PermanentError, TransientError

_IN_USE = "55006"
"""object_in_use: a slot that somebody reads."""

_SHORT_S = 5


def send_signal(dsn: str, table: str, signal: Signal) -> str:
    """Write it where the connector listens; the LSN that its commit is at, or below.

    `table` is `schema.table`. The row is taken away again in the same transaction where that is
    allowed: the connector reads the log, not the table, which so stays empty. Raises PermanentError if
    the login may not write there.
    """
    row = sql.SQL("INSERT INTO {} (id, type, data) VALUES (%s, %s, %s)").format(_name(table))
    with _connected(dsn) as connection, connection.transaction():
        connection.execute(row, [signal.id, signal.type, signal.data])
        try:
            with connection.transaction():
                connection.execute(sql.SQL("DELETE FROM {} WHERE id = %s").format(_name(table)), [signal.id])
        except psycopg.errors.InsufficientPrivilege:
            pass
    with _connected(dsn) as connection:
        found = connection.execute("SELECT pg_current_wal_lsn()::text").fetchone()
    if found is None:
        raise AssertionError("a SELECT without FROM gives one row")
    return str(found[0])


def drop_slot(dsn: str, slot: str) -> bool:
    """Drop the replication slot; False if there is none. TransientError while somebody reads it."""
    with _connected(dsn) as connection:
        try:
            found = connection.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s",
                [slot],
            )
            return found.fetchone() is not None
        except psycopg.Error as error:
            if error.sqlstate == _IN_USE:
                raise TransientError(f"slot {slot} is still read: {error}") from error
            raise


def drop_publication(dsn: str, publication: str) -> bool:
    """Drop it; False if there is none. PermanentError if it belongs to another role."""
    with _connected(dsn) as connection:
        known = connection.execute("SELECT 1 FROM pg_publication WHERE pubname = %s", [publication])
        if known.fetchone() is None:
            return False
        connection.execute(sql.SQL("DROP PUBLICATION {}").format(sql.Identifier(publication)))
        return True


def _name(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split(".", 1))


@contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """No message holds the dsn: it may hold a password."""
    try:
        with psycopg.connect(
            dsn, autocommit=True, connect_timeout=_SHORT_S, options=f"-c statement_timeout={_SHORT_S * 1000}"
        ) as connection:
            yield connection
    except psycopg.errors.InsufficientPrivilege as error:
        raise PermanentError(
            f"the database refuses: {error}: name a login that may with --database '${{env:NAME}}'"
        ) from error
    except psycopg.ProgrammingError as error:
        if error.sqlstate is None:
            raise ConfigurationError(
                "the connection string cannot be read: write `host=… port=… dbname=… user=…` or a URL"
            ) from None
        raise PermanentError(f"the database refuses: {error}") from error
    except psycopg.OperationalError as error:
        raise TransientError(f"the database could not be asked: {error}") from error
    except psycopg.Error as error:
        raise PermanentError(f"the database refuses: {error}") from error
