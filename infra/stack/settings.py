"""What one local stack is: a folder, its ports, and what is remembered of them."""

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Self

from core.errors import ConfigurationError

REPOSITORY: Final = Path(__file__).resolve().parents[2]
MARKER: Final = "stack.json"
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback only, all of them. Each can be set by the environment variable of its name."""

    pg: int = 15432
    kafka: int = 19092
    kafka_controller: int = 19093
    connect: int = 18083
    http: int = 8000
    mariadb: int = 13306

    @staticmethod
    def variable(name: str) -> str:
        """The environment variable that sets the port `name`."""
        return f"TAILRACE_{name.upper()}_PORT"

    @classmethod
    def names(cls) -> list[str]:
        return [item.name for item in fields(cls)]

    def __str__(self) -> str:
        return ", ".join(f"{name} {getattr(self, name)}" for name in self.names())


@dataclass(frozen=True, slots=True)
class StackSettings:
    """One stack. Two of them with folders and ports of their own do not meet."""

    directory: Path
    ports: Ports = field(default_factory=Ports)
    app: str = "shop"
    """`app` of the generated tailrace.yaml, and the name of the connector."""

    prefix: str = "shop"
    """Debezium's topic.prefix; slot and publication are named after it."""

    jars: Path | None = None
    """Jars that another stack may have fetched already; `<directory>/jars` by default."""

    poll_interval_ms: int = 10
    """Debezium's poll.interval.ms: 10 takes about a tenth of a core, and a change 16 ms."""

    heartbeat_interval_ms: int = 500
    """How often the connector writes its heartbeat row: bounds how old a known position is."""

    offset_flush_interval_ms: int = 500
    """How often Connect commits offsets: the other half of that bound."""

    mariadb: bool = False
    """Whether `up` starts MariaDB, too, with a shop and a connector of its own."""

    encoder: Mapping[str, Any] | None = None
    """`encoder` of the generated tailrace.yaml; the program's default without it."""

    @property
    def mariadb_source(self) -> str:
        """Debezium's topic.prefix of MariaDB's connector, and the source's name in tailrace.yaml."""
        return f"{self.prefix}-mariadb"

    @property
    def mariadb_connector(self) -> str:
        """The name of MariaDB's connector on Connect."""
        return f"{self.app}-mariadb"

    @property
    def jars_folder(self) -> Path:
        return self.jars or self.directory / "jars"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def secrets(self) -> Path:
        return self.directory / "secrets"

    @property
    def config_path(self) -> Path:
        """The generated tailrace.yaml."""
        return self.directory / "tailrace.yaml"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The stack of this checkout: variables first, then what its folder remembers, then the defaults.

        Raises ConfigurationError for a port that is none, or that two of them would have.
        """
        directory = Path(environ.get("TAILRACE_STACK_DIR", REPOSITORY / ".tailrace" / "stack")).absolute()
        memory = Memory.read(directory)
        ports = memory.ports if memory else Ports()
        chosen = {
            name: _port(Ports.variable(name), environ[Ports.variable(name)])
            for name in Ports.names()
            if environ.get(Ports.variable(name))
        }
        made = replace(ports, **chosen)
        _different(made)
        return cls(directory=directory, ports=made)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a stack must not choose again: written once into its folder, which it marks as ours."""

    ports: Ports
    cluster: Path
    """Folder of the Postgres cluster."""

    placeholder: str
    """Debezium's unavailable.value.placeholder: random, so that no user can have typed it."""

    kafka_cluster_id: str
    mariadb: Path | None = None
    """MariaDB's data folder; None for a stack that never had one."""

    @staticmethod
    def read(directory: Path) -> "Memory | None":
        """None for a folder that is no stack's. Raises ConfigurationError for one of a newer format."""
        try:
            raw = json.loads((directory / MARKER).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if raw["format"] != _FORMAT:
            raise ConfigurationError(
                f"{directory / MARKER} has format {raw['format']}, this program writes {_FORMAT}:"
                " use the program that made it, or name another folder in TAILRACE_STACK_DIR"
            )
        return Memory(
            Ports(**raw["ports"]),
            Path(raw["cluster"]),
            raw["placeholder"],
            raw["kafka_cluster_id"],
            Path(raw["mariadb"]) if raw.get("mariadb") else None,
        )

    def write(self, directory: Path) -> None:
        raw = {
            "what": "A local Tailrace stack. `make clean-stack` removes this folder.",
            "format": _FORMAT,
            "ports": {name: getattr(self.ports, name) for name in Ports.names()},
            "cluster": str(self.cluster),
            "placeholder": self.placeholder,
            "kafka_cluster_id": self.kafka_cluster_id,
            **({"mariadb": str(self.mariadb)} if self.mariadb else {}),
        }
        write_private(directory / MARKER, json.dumps(raw, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """A file that only its owner reads, there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def remove(directory: Path) -> list[Path]:
    """Delete a stack's folder and its databases' data; return what was removed.

    Raises ConfigurationError for a folder without our marker: it may be somebody's.
    """
    memory = Memory.read(directory)
    if memory is None:
        if not directory.exists():
            return []
        raise ConfigurationError(f"{directory} has no {MARKER}: it was not made by `up` and is left alone")
    removed = []
    for data in filter(None, (memory.cluster, memory.mariadb)):
        if not data.is_relative_to(directory) and (data.parent / MARKER).exists():
            shutil.rmtree(data.parent)
            removed.append(data.parent)
    shutil.rmtree(directory)
    return [*removed, directory]


def _different(ports: Ports) -> None:
    names: dict[int, str] = {}
    for name in Ports.names():
        port = getattr(ports, name)
        if port in names:
            raise ConfigurationError(
                f"{Ports.variable(names[port])} and {Ports.variable(name)} are both {port}:"
                " each needs a port of its own"
            )
        names[port] = name


def _port(variable: str, text: str) -> int:
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:  # noqa: PLR2004 - the unprivileged ports
        raise ConfigurationError(f"{variable}={text!r} is no port: write a number from 1024 to 65535")
    return int(text)
