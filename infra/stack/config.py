"""The files that the pieces read, as pure functions of the settings. All listen on loopback only."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import yaml

from connectors.preset import postgres_config
from connectors.presets.base import Relational
from connectors.presets.mariadb import mariadb_config
from connectors.spec import ConnectorSpec, spec_of
from core.settings import Settings
from infra.stack.jars import plugin_path
from infra.stack.ports import LOOPBACK
from infra.stack.settings import Memory, StackSettings

DATABASE: Final = "shop"
OWNER: Final = "shop"
"""The role that owns the shop's tables and writes its rows."""

REPLICATOR: Final = "debezium"
"""The connector's role: replication and reading, no superuser."""

ADMIN: Final = "postgres"
TABLES: Final = ("public.articles", "public.products", "public.customers", "public.orders")
HEARTBEAT: Final = "public.debezium_heartbeat"
SIGNAL: Final = "public.debezium_signal"
MARIADB_DATABASE: Final = "shop"
MARIADB_TABLES: Final = tuple(f"{MARIADB_DATABASE}.{name}" for name in ("articles", "products", "orders"))
MARIADB_SIGNAL: Final = f"{MARIADB_DATABASE}.debezium_signal"
MARIADB_HEARTBEAT: Final = f"{MARIADB_DATABASE}.debezium_heartbeat"

_OVERRIDES: Final = ("linger.ms", "batch.size", "compression.type", "buffer.memory", "max.request.size")
"""What connectors may set of their own clients: speed, never a login or a class."""


def server_properties(settings: StackSettings, log_dirs: Path) -> dict[str, str]:
    """A broker that is its own controller."""
    ports = settings.ports
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{LOOPBACK}:{ports.kafka_controller}",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{ports.kafka},CONTROLLER://{LOOPBACK}:{ports.kafka_controller}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{ports.kafka}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(log_dirs),
        # One broker: each of these is 3, or 50 partitions, by default.
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        # A missing topic must be an error, not a new topic with the wrong policy.
        "auto.create.topics.enable": "false",
        # 128 MiB of heap by default, taken at start.
        "log.cleaner.dedupe.buffer.size": "4194304",
    }


def connect_properties(settings: StackSettings, *, mariadb: bool = False) -> dict[str, str]:
    """One distributed Connect worker that reads secrets from our secrets folder and nowhere else."""
    group = f"{settings.app}-connect"
    converter = "org.apache.kafka.connect.json.JsonConverter"
    return {
        "bootstrap.servers": f"{LOOPBACK}:{settings.ports.kafka}",
        "group.id": group,
        "listeners": f"http://{LOOPBACK}:{settings.ports.connect}",
        "rest.advertised.host.name": LOOPBACK,
        "rest.advertised.port": str(settings.ports.connect),
        "plugin.path": plugin_path(settings.jars_folder, mariadb=mariadb),
        "plugin.discovery": "service_load",
        "key.converter": converter,
        "value.converter": converter,
        "key.converter.schemas.enable": "false",
        "value.converter.schemas.enable": "false",
        "config.storage.topic": f"{group}.configs",
        "offset.storage.topic": f"{group}.offsets",
        "status.storage.topic": f"{group}.status",
        "config.storage.replication.factor": "1",
        "offset.storage.replication.factor": "1",
        "status.storage.replication.factor": "1",
        "offset.storage.partitions": "1",
        "status.storage.partitions": "1",
        "offset.flush.interval.ms": str(settings.offset_flush_interval_ms),
        # A worker killed with -9 is replaced after the session.
        "scheduled.rebalance.max.delay.ms": "0",
        "session.timeout.ms": "6000",
        "heartbeat.interval.ms": "2000",
        "config.providers": "file",
        "config.providers.file.class": "org.apache.kafka.common.config.provider.FileConfigProvider",
        "config.providers.file.param.allowed.paths": str(settings.secrets),
        "connector.client.config.override.policy": "Allowlist",
        "connector.client.config.override.allowlist": ",".join(_OVERRIDES),
    }


def log4j_properties() -> dict[str, str]:
    """Warnings and errors, to the process's log file."""
    return {
        "appender.console.type": "Console",
        "appender.console.name": "console",
        "appender.console.layout.type": "PatternLayout",
        "appender.console.layout.pattern": "%d{ISO8601} %p %c: %m%n",
        "rootLogger.level": "warn",
        "rootLogger.appenderRef.console.ref": "console",
    }


def properties(entries: Mapping[str, str]) -> str:
    r"""As a Java properties file: `\` and line breaks escaped."""
    escaped = ((key, value.replace("\\", "\\\\").replace("\n", "\\n")) for key, value in entries.items())
    return "".join(f"{key}={value}\n" for key, value in escaped)


def connector_spec(settings: StackSettings, memory: Memory) -> ConnectorSpec:
    """The shop's connector: the preset, fast because it is local."""
    config = postgres_config(
        prefix=settings.prefix,
        tables=TABLES,
        database=DATABASE,
        placeholder=memory.placeholder,
        heartbeat_table=HEARTBEAT,
        signal_table=SIGNAL,
        sslmode="disable",
        **_local(settings, settings.ports.pg, "connect.properties"),
    )
    return spec_of(settings.app, config, accept=_ACCEPTED)


def mariadb_connector_spec(settings: StackSettings, *, server_id: int) -> ConnectorSpec:
    """The connector of the shop in MariaDB; `server_id` is its own, as a replica of the server."""
    config = mariadb_config(
        prefix=settings.mariadb_source,
        tables=MARIADB_TABLES,
        server_id=server_id,
        history_servers=f"{LOOPBACK}:{settings.ports.kafka}",
        signal_table=MARIADB_SIGNAL,
        heartbeat_table=MARIADB_HEARTBEAT,
        sslmode="disable",
        keep_alive_ms=1000,
        **_local(settings, settings.ports.mariadb, "mariadb.properties"),
    )
    return spec_of(settings.mariadb_connector, config, accept=_ACCEPTED)


_ACCEPTED: Final = {"no-tls": "database and connector are on one machine and talk over loopback"}


def _local(settings: StackSettings, port: int, logins: str) -> Relational:
    """What is the same for both. `logins`: the file with the password."""
    return {
        "host": LOOPBACK,
        "port": port,
        "user": REPLICATOR,
        "password": f"${{file:{settings.secrets / logins}:{REPLICATOR}}}",
        "poll_interval_ms": settings.poll_interval_ms,
        "heartbeat_interval_ms": settings.heartbeat_interval_ms,
        "linger_ms": 0,
    }


def tailrace_yaml(settings: StackSettings, memory: Memory) -> str:
    """The configuration that `tailrace dev` runs on this stack. Raises pydantic's error if it is none."""
    source = settings.prefix
    tree: dict[str, Any] = {
        "app": settings.app,
        "log": {"kind": "kafka", "brokers": [f"{LOOPBACK}:{settings.ports.kafka}"]},
        "index": {"kind": "edge", "path": str(settings.directory / "index")},
        "connect": {"url": f"http://{LOOPBACK}:{settings.ports.connect}"},
        "sources": {
            source: {
                "connector": settings.app,
                "prefix": settings.prefix,
                "tables": list(TABLES),
                "placeholder": memory.placeholder,
                "database": f"${{file:{settings.secrets / 'doctor.dsn'}}}",
            }
        },
        "documents": {
            "articles": {
                "table": f"{source}.public.articles",
                "title": "{{ title }}",
                "text": "{{ body }}",
                "where": "published",
                "metadata": ["category", "lang"],
            },
            "products": {
                "table": f"{source}.public.products",
                "title": "{{ name }}",
                "text": "{{ description }}",
                "metadata": ["category"],
            },
        },
        "state": {
            "orders_by_customer": {
                "table": f"{source}.public.orders",
                "by": ["customer_id"],
                "order_by": "-updated_at",
                "limit": 5,
            }
        },
        "profiles": {
            "support": {"documents": ["articles", "products"], "state": ["orders_by_customer"], "top_k": 6}
        },
        "serve": {"host": LOOPBACK, "port": settings.ports.http},
        "ingest": {
            "vector_store": str(settings.directory / "vectors.db"),
            "session_seconds": 6.0,
            # The index has one owner, so there is one worker: killed and restarted it is the same member,
            # and need not wait for its own session to end.
            "instance": "stack",
        },
    }
    if settings.encoder is not None:
        tree["encoder"] = dict(settings.encoder)
    if memory.mariadb is not None:
        _add_mariadb(tree, settings)
    Settings.model_validate(tree)
    head = "# Made by `make up`, again at each start: copy it before you change it.\n"
    return head + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=110)


def _add_mariadb(tree: dict[str, Any], settings: StackSettings) -> None:
    """The shop's tables in MariaDB as a source of their own, with a profile that answers from them."""
    source = settings.mariadb_source
    documents, orders = ["mariadb-articles", "mariadb-products"], "mariadb-orders"
    tree["sources"][source] = {
        "connector": settings.mariadb_connector,
        "prefix": source,
        "tables": list(MARIADB_TABLES),
        "database": f"${{file:{settings.secrets / 'mariadb.dsn'}}}",
    }
    for name, like, table in zip(documents, ("articles", "products"), MARIADB_TABLES, strict=False):
        tree["documents"][name] = {**deepcopy(tree["documents"][like]), "table": f"{source}.{table}"}
    # MariaDB's BOOLEAN is a small number.
    tree["documents"][documents[0]]["where"] = "published == 1"
    orders_table = f"{source}.{MARIADB_TABLES[-1]}"
    tree["state"][orders] = {**deepcopy(tree["state"]["orders_by_customer"]), "table": orders_table}
    tree["profiles"]["mariadb"] = {"documents": documents, "state": [orders], "top_k": 6}
