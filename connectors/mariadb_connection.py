"""The connection to a MariaDB or MySQL server, by a URL of which no message shows anything."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import DictCursor

from core.errors import ConfigurationError, TransientError

SCHEMES: Final = ("mysql://", "mariadb://")
_PORT: Final = 3306
_REFUSED: Final = frozenset({1044, 1045, 1049, 1130, 1251, 1698})
"""Error numbers of a login that no patience mends: wrong user, password, host, database or plugin."""

DENIED: Final = frozenset({1142, 1143, 1044})
"""Error numbers of a command that the login may not give on a table, a column, a database."""

_OPTIONS: Final = frozenset({"sslmode", "sslrootcert"})
_TLS_MODES: Final = ("disable", "prefer", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True, repr=False)
class _Address:
    """No repr: it holds a password."""

    host: str
    port: int
    user: str
    password: str
    database: str | None
    sslmode: str
    sslrootcert: str | None


def is_mariadb_dsn(dsn: str) -> bool:
    """Whether this connection string is a URL of MariaDB or MySQL."""
    return dsn.strip().lower().startswith(SCHEMES)


def host_of(dsn: str) -> str:
    """The server's name or address. ConfigurationError for a URL that is none."""
    return _address(dsn).host


@contextlib.contextmanager
def connected(
    dsn: str, timeout_seconds: float = 5.0, *, read_only: bool = False
) -> "Iterator[Connection[DictCursor]]":
    """A connection that commits each statement.

    `dsn` is `mysql://user:password@host:port/database`, or the same with `mariadb://`.
    The password is percent-encoded; the database may be left out; `?sslmode=` is disable, prefer (the
    default), verify-ca or verify-full, with `&sslrootcert=FILE`. Raises TransientError if the server
    cannot be reached or asked, ConfigurationError for a URL that is none or a login that is refused. No
    message holds the URL: it may hold a password.
    """
    address = _address(dsn)
    tls: dict[str, Any] = {}
    if address.sslmode == "disable":
        tls = {"ssl_disabled": True}
    elif address.sslmode.startswith("verify"):
        tls = {
            "ssl_verify_cert": True,
            "ssl_verify_identity": address.sslmode == "verify-full",
            "ssl_ca": address.sslrootcert,
        }
    seconds = max(1, round(timeout_seconds))
    where = f"{address.host}:{address.port}"
    try:
        connection = pymysql.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            database=address.database,
            charset="utf8mb4",
            connect_timeout=seconds,
            read_timeout=seconds,
            write_timeout=seconds,
            autocommit=True,
            init_command="SET SESSION TRANSACTION READ ONLY" if read_only else None,
            cursorclass=DictCursor,
            **tls,
        )
        with connection:
            yield connection
    except pymysql.err.MySQLError as error:
        number, what = said(error)
        if number in _REFUSED:
            raise ConfigurationError(f"{where} refused the login of {address.user}: {what}") from None
        raise TransientError(f"{where} could not be asked: {what}") from None
    except (OSError, ValueError, RuntimeError) as error:
        # A certificate file that is not there, a server that speaks another protocol.
        raise TransientError(f"{where} could not be asked: {type(error).__name__}: {error}") from None


def said(error: BaseException) -> tuple[int, str]:
    """The error's number, 0 if it has none, and what to show of it."""
    match error.args:
        case (int(number), *rest):
            return number, f"{' '.join(map(str, rest))} ({number})"
        case rest:
            return 0, " ".join(map(str, rest))


def _address(dsn: str) -> _Address:
    why = (
        "the URL cannot be read: write mysql://user:password@host:3306/database, signs in it as %40 and so on"
    )
    try:
        parts = urlsplit(dsn.strip())
        port = parts.port or _PORT
        options = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise ConfigurationError(why) from None
    if not is_mariadb_dsn(dsn) or not parts.hostname or not parts.username:
        raise ConfigurationError(why)
    if unknown := sorted(options.keys() - _OPTIONS):
        raise ConfigurationError(f"the URL has options that are not known: {', '.join(unknown)[:80]}")
    sslmode = options.get("sslmode", ["prefer"])[0]
    if sslmode not in _TLS_MODES:
        raise ConfigurationError(f"the URL's sslmode is none of {', '.join(_TLS_MODES)}")
    return _Address(
        parts.hostname,
        port,
        unquote(parts.username),
        unquote(parts.password or ""),
        unquote(parts.path.strip("/")) or None,
        sslmode,
        options.get("sslrootcert", [None])[0],
    )


def quoted(at: tuple[str, ...]) -> str:
    """Names of a statement, joined by dots."""
    return ".".join("`" + name.replace("`", "``") + "`" for name in at)
