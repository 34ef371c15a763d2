"""The whole stack: what is started, in which order, and what is known of it."""

import fcntl
import secrets
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from connectors.deploy import deploy
from connectors.diff import OWNER_KEY
from connectors.hints import cause
from connectors.live import ConnectorStatus
from connectors.positions import committed_position
from connectors.rest import ConnectClient
from connectors.spec import ConnectorSpec, read_spec, write_spec
from core.errors import ConfigurationError, TailraceError
from infra.stack import jars, mariadb, ports, postgres, shop, shop_mariadb, tools
from infra.stack.accounts import data_folder, server_account
from infra.stack.config import connector_spec, mariadb_connector_spec, tailrace_yaml
from infra.stack.kafka import Broker, Connect
from infra.stack.mariadb import MariaDb
from infra.stack.postgres import Postgres
from infra.stack.processes import Process, wait_until
from infra.stack.service import Tailrace, apply_topics
from infra.stack.settings import Memory, Ports, StackSettings, remove, write_private


@dataclass(frozen=True, slots=True)
class PieceStatus:
    name: str
    up: bool
    pid: int | None
    where: str
    detail: str = ""


class Stack:
    """One local stack: the code behind `make up`, and the handle of the end-to-end tests.

    The pieces (`postgres`, `mariadb`, `broker`, `connect`, `tailrace`) can be started, stopped and
    killed one by one; `up` starts whatever is down: MariaDB only if the settings ask for it. Any
    process may hold a handle to the same folder.
    """

    def __init__(self, settings: StackSettings, say: Callable[[str], None] = lambda _: None) -> None:
        self.settings = settings
        self._say = say
        self._tools: tools.Tools | None = None
        self._open(Memory.read(settings.directory) or _fresh(settings, located=False))

    def _open(self, memory: Memory) -> None:
        settings = self.settings
        self.memory = memory
        self.postgres = Postgres(settings, memory.cluster, lambda: self._found().postgres)
        self.broker = Broker(settings, memory.kafka_cluster_id, lambda: self._found().java)
        self.mariadb = MariaDb(
            settings, memory.mariadb or settings.directory / "mariadb", self._mariadb_folder
        )
        self.connect = Connect(settings, lambda: self._found().java, mariadb=memory.mariadb is not None)
        self.tailrace = Tailrace(settings)

    @property
    def pieces(self) -> tuple[Process, ...]:
        """In the order in which they are started; MariaDB is among them once it was asked for."""
        second = [self.mariadb] if self.memory.mariadb is not None else []
        return (self.postgres, *second, self.broker, self.connect, self.tailrace)

    @property
    def brokers(self) -> str:
        return f"{ports.LOOPBACK}:{self.settings.ports.kafka}"

    @property
    def connect_url(self) -> str:
        return self.connect.url

    @property
    def http_url(self) -> str:
        return self.tailrace.url

    @property
    def connector(self) -> str:
        """The connector's name on Connect."""
        return self.settings.app

    def dsn(self) -> str:
        """The shop's database as the owner of its tables."""
        return self.postgres.dsn()

    def sql(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement as the owner of the shop's tables, committed; return its rows, if it has any."""
        with self.postgres.connect() as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def up(
        self, *, with_tailrace: bool = True, before_connector: Callable[[], None] = lambda: None
    ) -> list[str]:
        """Start what is down, in order, and wait until all serve and the first snapshot is in Kafka.

        `before_connector` is called when the tables are there and before the connector is looked at:
        what it writes is in a first snapshot, what it keeps writing meets it. Returns what was changed.
        Raises ConfigurationError, before anything is started, for a taken port or a missing program.
        """
        self.settings.directory.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._remember()
            self._check_ports(with_tailrace=with_tailrace)
            changed = self._start_stores()
            changed += self._fill()
            before_connector()
            changed += self._deploy(with_tailrace=with_tailrace)
            if with_tailrace:
                changed += self._start_tailrace()
            return changed

    def down(self) -> list[str]:
        """Stop what runs, last started first. Returns what was stopped. The data stay."""
        if not self.settings.directory.exists():
            return []
        with self._locked():
            stopped = []
            for piece in reversed(self.pieces):
                if piece.is_running():
                    self._say(f"stopping {piece.name}")
                    piece.stop()
                    stopped.append(piece.name)
            return stopped

    def clean(self) -> list[str]:
        """Delete the folder and the cluster. Raises ConfigurationError while anything runs."""
        running = [piece.name for piece in self.pieces if piece.is_running()]
        if running:
            raise ConfigurationError(f"{', '.join(running)} still running: `make down` first")
        return [str(path) for path in remove(self.settings.directory)]

    def status(self) -> list[PieceStatus]:
        """Each piece, and the connector, as they are now."""
        where = {
            "postgres": f"{ports.LOOPBACK}:{self.settings.ports.pg}",
            "mariadb": f"{ports.LOOPBACK}:{self.settings.ports.mariadb}",
            "broker": self.brokers,
            "connect": self.connect_url,
            "tailrace": self.http_url,
        }
        # Stopped MariaDB is no fault where nobody asked for it; one that was started and died is.
        second = self.settings.mariadb or self.mariadb.was_started()
        pieces = [piece for piece in self.pieces if second or piece is not self.mariadb]
        found = [PieceStatus(p.name, p.is_running(), p.pid, where[p.name]) for p in pieces]
        connectors = [self._connector_status("connector", self.connector)]
        if second:
            name = self.settings.mariadb_connector
            connectors.append(self._connector_status("connector of MariaDB", name))
        return [*found[:-1], *connectors, found[-1]]

    def _connector_status(self, title: str, name: str) -> PieceStatus:
        where = f"{self.connect_url}/connectors/{name}"
        if not self.connect.is_running():
            return PieceStatus(title, False, None, where, "Connect is down")
        try:
            with ConnectClient(self.connect_url, patience=2.0) as client:
                status = client.status(name)
        except TailraceError as error:
            return PieceStatus(title, False, None, where, str(error))
        if status is None:
            return PieceStatus(title, False, None, where, "not deployed")
        detail = cause(status.failure) if status.failure else status.state
        return PieceStatus(title, status.running, None, where, detail)

    def _start_stores(self) -> list[str]:
        databases: list[Process] = [self.postgres, *([self.mariadb] if self.settings.mariadb else [])]
        if self.settings.mariadb and self.connect.is_running() and not self.connect.has_mariadb():
            self._say("stopping connect: it must find MariaDB's connector at its start")
            self.connect.stop()
        stores = (*databases, self.broker, self.connect)
        down = [piece.name for piece in stores if not piece.is_running()]
        if down:
            folder, wanted = self.settings.jars_folder, self.memory.mariadb is not None
            jars.fetch(folder, self._found().mvn, self._say, mariadb=wanted)
            self._say(f"starting {', '.join(down)}")
        for database in databases:
            database.launch()
        self.broker.start()
        self.connect.launch()
        for database in databases:
            database.wait_ready()
        return [f"started {name}" for name in down]

    def _fill(self) -> list[str]:
        loaded = shop.prepare(self.postgres, self.settings.prefix)
        if self.settings.mariadb:
            loaded += shop_mariadb.prepare(self.mariadb)
        if loaded:
            self._say(f"loaded {loaded} rows of the sample shop")
        return [f"loaded {loaded} rows"] if loaded else []

    def _deploy(self, *, with_tailrace: bool) -> list[str]:
        write_private(self.settings.config_path, tailrace_yaml(self.settings, self.memory))
        if with_tailrace and not self.tailrace.is_running():
            apply_topics(self.settings.config_path)
        self.connect.wait_ready()
        changed = self._deploy_one("connector.yaml", connector_spec(self.settings, self.memory))
        if self.settings.mariadb:
            spec = mariadb_connector_spec(self.settings, server_id=mariadb.CONNECTOR_SERVER_ID)
            changed += self._deploy_one("connector-mariadb.yaml", spec)
        return changed

    def _deploy_one(self, file_name: str, made: ConnectorSpec) -> list[str]:
        file = self.settings.directory / file_name
        write_spec(made, file)
        spec = read_spec(file)
        with ConnectClient(self.connect_url, patience=30.0) as client:
            known = client.config(spec.name)
            status = client.status(spec.name)
            wanted = {**spec.full_config(), "name": spec.name}
            if known is not None and OWNER_KEY in known:  # since somebody applied our file
                wanted[OWNER_KEY] = known[OWNER_KEY]
            if known == wanted and status is not None and status.running:
                return []
            self._say(f"deploying the connector {spec.name}")
            deploy(client, spec)
            wait_until(
                lambda: committed_position(client.offsets(spec.name)) is not None,
                timeout_s=120.0,
                what=f"the first snapshot of {spec.name}",
                failed=lambda: _failure(client.status(spec.name)),
                log=self.connect.log,
            )
        # Connect of a second start finds its connector again by itself: that is no change.
        return [] if known == wanted else [f"deployed the connector {spec.name}"]

    def _start_tailrace(self) -> list[str]:
        if self.tailrace.is_running():
            self.tailrace.wait_ready()
            return []
        self._say("starting tailrace: worker and query service")
        self.tailrace.start()
        return ["started tailrace"]

    def _mariadb_folder(self) -> Path:
        folder = self._found().mariadb
        if folder is None:
            raise ConfigurationError(tools.how_to_get(["mariadb"]))
        return folder

    def _found(self) -> tools.Tools:
        if self._tools is None:
            version = self.memory.cluster / "PG_VERSION"
            major = int(version.read_text(encoding="ascii")) if version.exists() else None
            wanted = self.settings.mariadb or self.memory.mariadb is not None
            self._tools = tools.find(
                need_mvn=not jars.complete(self.settings.jars_folder, mariadb=wanted),
                say=self._say,
                cluster_major=major,
                need_mariadb=self.settings.mariadb,
            )
        return self._tools

    def _check_ports(self, *, with_tailrace: bool) -> None:
        chosen = self.settings.ports
        needed = {
            "pg": self.postgres,
            "kafka": self.broker,
            "kafka_controller": self.broker,
            "connect": self.connect,
            **({"http": self.tailrace} if with_tailrace else {}),
            **({"mariadb": self.mariadb} if self.settings.mariadb else {}),
        }
        taken = {
            Ports.variable(name): (port, ports.owner(port))
            for name, piece in needed.items()
            if not piece.is_running() and not ports.is_free(port := getattr(chosen, name))
        }
        if taken:
            raise ConfigurationError(ports.complaint(taken))

    def _remember(self) -> None:
        """Write the folder's memory on its first start, and after that only ports that were changed."""
        known = Memory.read(self.settings.directory)
        if known is None:
            self._found()  # what is installed here brings its account
            known = _fresh(self.settings, located=True)
            self._settle(known, known.cluster, postgres.ACCOUNT)
        if self.settings.mariadb and known.mariadb is None:
            self._found()
            at = data_folder(self.settings.directory, "mariadb", server_account(mariadb.ACCOUNT))
            known = replace(known, mariadb=at)
            self._settle(known, at, mariadb.ACCOUNT)
        self._open(known)
        if known.ports == self.settings.ports:
            return
        running = [piece.name for piece in self.pieces if piece.is_running()]
        if running:
            raise ConfigurationError(
                f"{', '.join(running)} run on the ports {known.ports}: `make down` before you change them"
            )
        self._open(replace(known, ports=self.settings.ports))
        self.memory.write(self.settings.directory)

    def _settle(self, memory: Memory, data: Path, user: str) -> None:
        """Remember where a database's data go, before they are made."""
        if not data.is_relative_to(self.settings.directory):
            self._say(f"the user {user} cannot enter {self.settings.directory}: the database goes to {data}")
            data.parent.mkdir(parents=True, exist_ok=True)
            memory.write(data.parent)
        memory.write(self.settings.directory)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One `up` or `down` at a time."""
        with (self.settings.directory / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _failure(status: ConnectorStatus | None) -> str | None:
    """Why there is no snapshot to wait for: a task may fail after it was seen running."""
    return (
        None if status is None or status.failure is None else f"the connector failed: {cause(status.failure)}"
    )


def _fresh(settings: StackSettings, *, located: bool) -> Memory:
    at = settings.directory
    return Memory(
        ports=settings.ports,
        cluster=data_folder(at, "pg", server_account(postgres.ACCOUNT)) if located else at / "pg",
        placeholder=f"__uv_{secrets.token_hex(8)}__",
        kafka_cluster_id="t" + urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:],
    )
