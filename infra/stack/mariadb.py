"""The optional second database: a MariaDB server of its own, over TCP on loopback, passwords for all."""

import contextlib
import json
import secrets as random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pymysql
from pymysql.connections import Connection

from core.errors import ConfigurationError
from infra.stack.accounts import made_aside, run_as, server_account
from infra.stack.config import MARIADB_DATABASE, OWNER, REPLICATOR, properties
from infra.stack.ports import LOOPBACK
from infra.stack.processes import Command, Process
from infra.stack.settings import StackSettings, write_private

ADMIN: Final = "root"
ACCOUNT: Final = "mysql"
"""The system's user that the server runs as, where root starts it: it refuses root."""

SERVER_ID: Final = 4711
CONNECTOR_SERVER_ID: Final = 4712
"""The connector is a replica to the server, and needs a number that no other has."""

_OPTIONS: Final = {
    "bind-address": LOOPBACK,
    # Relative: the server changes into its folder first, and a socket's path has a length limit.
    "socket": "mariadb.sock",
    "pid-file": "mariadb.pid",
    "server-id": str(SERVER_ID),
    "log-bin": "binlog",
    "binlog-format": "ROW",
    "binlog-row-image": "FULL",
    "binlog-expire-logs-seconds": str(7 * 86_400),
    "gtid-strict-mode": "ON",
    "character-set-server": "utf8mb4",
    "default-time-zone": "+00:00",
    "innodb-buffer-pool-size": "64M",
}
_ENVIRON: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


class MariaDb(Process):
    """One MariaDB server. `kill` is kill -9; what was committed stays."""

    def __init__(self, settings: StackSettings, data: Path, folder: Callable[[], Path]) -> None:
        super().__init__("mariadb", settings.directory / "run" / "mariadb.json")
        self._settings = settings
        self._data = data
        self._folder = folder
        self.log = settings.logs / "mariadb.log"

    def dsn(self, user: str = OWNER) -> str:
        """A URL with the password in it: for files of ours, never for a screen."""
        address = f"{LOOPBACK}:{self._settings.ports.mariadb}"
        return f"mysql://{user}:{quote(self.password(user), safe='')}@{address}/{MARIADB_DATABASE}"

    def connect(self, user: str = OWNER, database: str | None = MARIADB_DATABASE) -> "Connection[Any]":
        """A connection that commits each statement."""
        return pymysql.connect(
            host=LOOPBACK,
            port=self._settings.ports.mariadb,
            user=user,
            password=self.password(user),
            database=database,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=5,
        )

    def sql(
        self, statement: str, parameters: Sequence[Any] = (), *, user: str = OWNER
    ) -> list[tuple[Any, ...]]:
        """Run one statement, committed; return its rows, if it has any."""
        with self.connect(user) as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return list(cursor.fetchall())

    def launch(self) -> bool:
        if self.is_running():
            return False
        passwords = self._passwords()
        if not self._data.exists():
            self._install(passwords[ADMIN])
        options = {"datadir": str(self._data), "port": str(self._settings.ports.mariadb), **_OPTIONS}
        argv = [str(self._folder() / "mariadbd"), "--no-defaults", "--skip-name-resolve"]
        argv += [f"--{name}={value}" for name, value in options.items()]
        self.spawn(Command(argv, self.log, environ=_ENVIRON, user=server_account(ACCOUNT)))
        return True

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        self.wait_for(self._answers, "mariadb", self.log, timeout_s)

    def _answers(self) -> bool:
        if not self.is_running():
            return False
        with contextlib.suppress(pymysql.err.OperationalError), self.connect(ADMIN, None):
            return True
        return False

    def _install(self, password: str) -> None:
        """One login: ADMIN's, from here."""
        user = server_account(ACCOUNT)
        logins = [
            # The tool made administrators without a password.
            "DELETE FROM mysql.global_priv WHERE User <> 'mariadb.sys'",
            "FLUSH PRIVILEGES",
            f"CREATE USER '{ADMIN}'@'{LOOPBACK}' IDENTIFIED BY '{password}'",
            f"GRANT ALL PRIVILEGES ON *.* TO '{ADMIN}'@'{LOOPBACK}' WITH GRANT OPTION",
        ]
        with made_aside(self._data, user) as draft:
            common = ["--no-defaults", f"--datadir={draft}"]
            install = [str(_beside(self._folder(), "mariadb-install-db")), *common]
            install += ["--auth-root-authentication-method=normal", "--skip-test-db"]
            run_as(user, install, _ENVIRON, complaint="ERROR")
            bootstrap = [str(self._folder() / "mariadbd"), *common, "--bootstrap"]
            statements = "".join(f"{one};\n" for one in logins)
            run_as(user, bootstrap, _ENVIRON, given=statements, complaint="ERROR")

    def _passwords(self) -> dict[str, str]:
        """One random password a login, made once; for Connect and for doctor in files of their own."""
        folder = self._settings.secrets
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = folder / "mariadb.json"
        if not file.exists():
            made = {login: random.token_hex(16) for login in (ADMIN, OWNER, REPLICATOR)}
            write_private(file, json.dumps(made) + "\n")
        passwords: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
        return passwords

    def password(self, user: str) -> str:
        return self._passwords()[user]

    @property
    def client_file(self) -> Path:
        """Options of the `mariadb` client for the owner of the shop."""
        return self._settings.secrets / "mariadb.cnf"

    def write_logins(self) -> None:
        """What Connect, `tailrace doctor` and people use; the port may have changed since the last start."""
        folder = self._settings.secrets
        options = {
            "host": LOOPBACK,
            "port": str(self._settings.ports.mariadb),
            "user": OWNER,
            "password": self.password(OWNER),
            "database": MARIADB_DATABASE,
        }
        lines = "".join(f"{name} = {value}\n" for name, value in options.items())
        write_private(self.client_file, f"[client]\n{lines}")
        entries = properties({REPLICATOR: self.password(REPLICATOR)})
        write_private(folder / "mariadb.properties", entries)
        write_private(folder / "mariadb.dsn", self.dsn(REPLICATOR) + "\n")


def _beside(folder: Path, name: str) -> Path:
    """The server lies in sbin on Debian, its tools in bin; elsewhere both in one folder."""
    for place in (folder, folder.parent / "bin"):
        if (place / name).exists():
            return place / name
    found = shutil.which(name)
    if found is None:
        raise ConfigurationError(f"{name} is missing beside {folder}: install MariaDB's server package whole")
    return Path(found)
