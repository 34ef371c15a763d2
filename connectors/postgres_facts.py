"""What is known of a Postgres database that is to be captured, and what is wanted of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


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
class Partition:
    """One that holds rows. Its own identity counts, and is not inherited."""

    name: str
    identity: str
    identity_key: tuple[str, ...] = ()


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

    identity_key: tuple[str, ...] = ()
    """Columns of the index that REPLICA IDENTITY USING INDEX names; empty once that index is gone."""

    partitions: tuple[Partition, ...] = ()
    schema_usable: bool = True
    """The connector's role has USAGE on its schema."""

    rows_hidden: bool = False
    """Row-level security holds for the connector's role, and no policy shows it every row."""


@dataclass(frozen=True, slots=True)
class HeartbeatTable:
    name: str
    """`schema.table`, also where the statement leaves the schema out."""

    lacks: frozenset[str]
    """Rights that the statement needs and the connector's role does not have."""

    schema_usable: bool = True


@dataclass(frozen=True, slots=True)
class Publication:
    name: str
    tables: frozenset[str]
    publishes: frozenset[str]
    """Of insert, update, delete, truncate."""

    via_root: bool
    all_tables: bool = False
    filters: Mapping[str, str] = field(default_factory=dict)
    """The condition of rows, by table; of those that have one."""

    columns: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Published columns, by table; before Postgres 15 there is no choice of them."""


@dataclass(frozen=True, slots=True)
class Slot:
    name: str
    plugin: str
    active: bool
    wal_status: str | None
    """reserved, extended, unreserved or lost."""

    retained_bytes: int
    database: str | None = None


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
    heartbeat: HeartbeatTable | None = None
    """None if there is no such table, or none is wanted."""

    database: str | None = None
    """The one that was looked at."""

    host: str | None = None
    """Where it was found."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the configuration asks of the database. `columns`: those that are indexed, filtered or shown."""

    tables: tuple[str, ...]
    columns: Mapping[str, frozenset[str]]
    slot: str
    publication: str
    role: str | None = None
    """The connector's database.user; the connection's own by default."""

    database: str | None = None
    """The connector's database.dbname."""

    heartbeat_table: str | None = None
    """What heartbeat.action.query writes, as it spells it."""

    heartbeat_needs: frozenset[str] = frozenset({"SELECT", "INSERT", "UPDATE"})
    """Rights on it that the statement takes."""

    autocreate: str = "disabled"
    """publication.autocreate.mode: `disabled`, or by whom and of what the publication is made."""

    signal_table: str | None = None
    replica_identity_full: bool = False
