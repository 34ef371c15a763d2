"""What is known of a Postgres database that is to be captured, and what is wanted of it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Role:
    name: str
    superuser: bool
    replication: bool


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str
    """As format_type prints it without its modifier: `text`, `numeric[]`."""

    generated: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """`identity` is pg_class.relreplident: d(efault), f(ull), n(othing), i(ndex)."""

    name: str
    identity: str
    primary_key: tuple[str, ...]
    deferrable_key: bool
    partitioned: bool
    readable: bool
    """The connector's role may SELECT from it."""

    columns: tuple[Column, ...]
    writable: bool = True
    """The connector's role may INSERT into it: asked of the signal table only."""


@dataclass(frozen=True, slots=True)
class Publication:
    name: str
    tables: frozenset[str]
    publishes: frozenset[str]
    """Of insert, update, delete, truncate."""

    via_root: bool
    all_tables: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    name: str
    plugin: str
    active: bool
    wal_status: str | None
    """reserved, extended, unreserved or lost."""

    retained_bytes: int


@dataclass(frozen=True, slots=True)
class Facts:
    version: int
    """Major: 15."""

    wal_level: str
    slot_wal_keep_mb: int
    """max_slot_wal_keep_size; -1 is without limit."""

    slots_free: int
    role: Role | None
    """The connector's; None if there is no such role."""

    tables: Mapping[str, Table]
    publication: Publication | None
    slot: Slot | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the configuration asks of the database. `columns`: those that are indexed, filtered or shown."""

    tables: tuple[str, ...]
    columns: Mapping[str, frozenset[str]]
    slot: str
    publication: str
    role: str | None = None
    """The connector's database.user; the connection's own by default."""

    heartbeat_table: str | None = None
    signal_table: str | None = None
    replica_identity_full: bool = False
