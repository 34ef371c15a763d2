"""What is known of a MariaDB (or MySQL) server that is to be captured, and what is wanted of it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MariaDbColumn:
    name: str
    type: str
    """DATA_TYPE of information_schema: `varchar`, `inet6`."""

    full_type: str
    """COLUMN_TYPE: `bigint(20) unsigned`, `bit(8)`."""

    default: str | None = None

    @property
    def compressed(self) -> bool:
        return "COMPRESSED" in self.full_type.upper()


@dataclass(frozen=True, slots=True)
class MariaDbTable:
    """`kind` is TABLE_TYPE: BASE TABLE, SYSTEM VERSIONED, SEQUENCE, VIEW."""

    name: str
    kind: str
    key: tuple[str, ...]
    """The primary key, or the first unique key without nullable columns; empty without either."""

    readable: bool
    columns: tuple[MariaDbColumn, ...]
    cascades: tuple[str, ...] = ()
    """Foreign keys of this table by which the server itself changes its rows: name and rule."""


@dataclass(frozen=True, slots=True)
class MariaDbFacts:
    is_mariadb: bool
    """False for MySQL."""

    version: tuple[int, int]
    user: str
    """Who looked, as the server knows it: `debezium@%`."""

    log_bin: bool
    binlog_format: str
    binlog_row_image: str
    retention_seconds: int
    """0 keeps binlogs for ever."""

    server_id: int
    gtid_position: str
    """gtid_binlog_pos; of MySQL gtid_executed. "" if nothing was ever written under a GTID."""

    privileges: frozenset[str]
    """Global ones of the login and its role."""

    signal_writable: bool
    """The login may INSERT into the signal table."""

    signal_exists: bool
    beat_lacks: frozenset[str]
    """What the login may not do with the heartbeat table, of what the statement takes."""

    unlogged: frozenset[str]
    """Wanted databases that the server leaves out of the binlog."""

    tables: Mapping[str, MariaDbTable]
    dangerous: tuple[str, ...]
    """`database.table.column (type)` anywhere on the server that stops the connector, captured or not."""

    gtid_strict: bool = True
    """gtid_strict_mode; MySQL knows no other."""


@dataclass(frozen=True, slots=True)
class MariaDbWanted:
    """What the configuration asks of the database. `columns`: those that are indexed, filtered or shown."""

    tables: tuple[str, ...]
    """`database.table`."""

    columns: Mapping[str, frozenset[str]]
    signal_table: str | None = None
    heartbeat_table: str | None = None
    """The table that heartbeat.action.query writes."""

    heartbeat_needs: frozenset[str] = frozenset({"SELECT", "INSERT", "UPDATE"})
    """Rights on it that the statement takes."""

    server_id: int | None = None
    """The connector's database.server.id."""

    user: str | None = None
    """The connector's database.user; the connection's own by default."""
