"""The values that each template takes. A field's docstring is its meaning in messages and documents."""

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from connectors.presets.base import DEFAULTS
from connectors.presets.postgres import HEARTBEAT_TABLE, SIGNAL_TABLE


class Values(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    prefix: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}$")
    """Debezium's topic.prefix: the first part of every topic's name; never changed later."""

    user: str
    """The connector's role in the database."""

    password: str
    """A reference: `${file:…}` of Connect, or `${env:NAME}`."""

    replication: PositiveInt = DEFAULTS["replication"]
    """Replication factor of the topics that Connect makes."""

    retention_ms: int = DEFAULTS["retention_ms"]
    """How long records stay, in milliseconds: a worker away for longer loses changes."""

    schemas: bool = DEFAULTS["schemas"]
    """Whether records carry their schema, five to ten times their size."""

    heartbeat_interval_ms: PositiveInt = DEFAULTS["heartbeat_interval_ms"]
    """Between two heartbeats, in milliseconds."""


class Relational(Values):
    tables: list[str] = Field(min_length=1)
    """What is captured, each as `schema.table` (MariaDB and MySQL: `database.table`)."""

    host: str
    """The database's address, as Connect reaches it."""

    poll_interval_ms: PositiveInt = DEFAULTS["poll_interval_ms"]
    """The longest that a change waits in the connector, in milliseconds."""


class PostgresValues(Relational):
    port: PositiveInt = 5432
    """The database's port."""

    database: str
    """The database's name."""

    placeholder: str
    """Stands for unchanged long text: a random token that nobody types, such as `__uv_7f3a91c2d0__`."""

    heartbeat_table: str = HEARTBEAT_TABLE
    """Written at each beat, so that an idle database's slot moves on."""

    signal_table: str = SIGNAL_TABLE
    """Where snapshots are asked for."""

    sslmode: str = "verify-full"
    """As libpq spells it."""

    linger_ms: int = Field(default=DEFAULTS["linger_ms"], ge=0)
    """The longest that the connector's producer waits for a fuller batch, in milliseconds."""

    exclude_columns: list[str] = []
    """Columns that never leave the database, each as `schema.table.column`."""


class OutboxValues(PostgresValues):
    tables: list[str] = Field(default=["public.outbox"], min_length=1, max_length=1)
    """The outbox table."""

    topics: str = Field(default="outbox.event", pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}$")
    """The first part of the topics' names: `<topics>.<aggregatetype>`."""


class BinlogValues(Relational):
    port: PositiveInt = 3306
    """The database's port."""

    server_id: int = Field(ge=1, le=2**32 - 1)
    """A number that no server and no other replica of this primary has."""

    history_servers: str
    """Kafka's addresses as Connect reaches them, for the schema history."""

    history_topic: str | None = None
    """The schema history's topic, which the connector makes and keeps for ever; `<prefix>.schema-history`."""

    signal_table: str
    """Where snapshots are asked for, as `database.table`."""

    linger_ms: int = Field(default=DEFAULTS["linger_ms"], ge=0)
    """The longest that the connector's producer waits for a fuller batch, in milliseconds."""

    exclude_columns: list[str] = []
    """Columns that never leave the database, each as `database.table.column`."""


class MariaDbValues(BinlogValues):
    sslmode: str = "verify-full"
    """disable, trust, verify-ca or verify-full."""


class MySqlValues(BinlogValues):
    sslmode: str = "verify_identity"
    """disabled, preferred, required, verify_ca or verify_identity."""


class MongoDbValues(Values):
    collections: list[str] = Field(min_length=1)
    """What is captured, each as `database.collection`."""

    connection_string: str
    """`mongodb://host:27017/?replicaSet=rs0`: hosts and options, without a user."""

    signal_collection: str
    """Where snapshots are asked for, as `database.collection`."""

    tls: bool = True
    """Whether the connection is encrypted."""


class SqlServerValues(Relational):
    port: PositiveInt = 1433
    """The database's port."""

    databases: list[str] = Field(min_length=1)
    """The databases whose tables are captured."""

    history_servers: str
    """Kafka's addresses as Connect reaches them, for the schema history."""

    history_topic: str | None = None
    """The schema history's topic; `<prefix>.schema-history`."""

    signal_table: str
    """Where snapshots are asked for, as `database.schema.table`."""

    encrypt: bool = True
    """Whether the connection is encrypted and the server's certificate verified."""
