"""The only thing that we write into a MariaDB source: a signal."""

from typing import Final

import pymysql

from connectors.mariadb_connection import DENIED, connected, quoted, said
from connectors.snapshots import Signal
from core.errors import PermanentError

_NO_PATIENCE: Final = DENIED | {1054, 1146, 1290}
"""Error numbers that no second try mends: no right, no such column or table, a server that is read-only."""


def send_mariadb_signal(dsn: str, table: str, signal: Signal) -> str:
    """Write it where the connector listens; the GTID under which it was committed.

    `table` is `database.table`. The row is taken away again in the same transaction where that is
    allowed: the connector reads the binlog, not the table. Raises PermanentError if the login may not
    write there, or if the server logs nothing; TransientError and ConfigurationError as `connected` does.
    """
    name = quoted(table.partition(".")[::2])
    with connected(dsn) as connection, connection.cursor() as cursor:
        connection.begin()
        try:
            cursor.execute(
                f"INSERT INTO {name} (id, type, data) VALUES (%s, %s, %s)",  # noqa: S608 - quoted as an identifier
                [signal.id, signal.type, signal.data],
            )
            try:
                cursor.execute(f"DELETE FROM {name} WHERE id = %s", [signal.id])  # noqa: S608 - the same
            except pymysql.err.MySQLError as error:
                if said(error)[0] not in DENIED:
                    raise
            connection.commit()
        except pymysql.err.MySQLError as error:
            number, what = said(error)
            if number not in _NO_PATIENCE:
                raise
            raise PermanentError(
                f"the database refuses: {what}: name a login that may with --database '${{env:NAME}}'"
            ) from None
        cursor.execute("SELECT @@last_gtid AS gtid")
        row = cursor.fetchone()
    gtid = row["gtid"] if row else ""
    if not gtid:
        raise PermanentError("the server gave the signal no GTID: it keeps no binlog of this table")
    return str(gtid)
