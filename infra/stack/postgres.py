"""The database: a cluster of its own, over TCP on loopback, with a password for every role."""

import contextlib
import secrets as random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.conninfo import make_conninfo

from infra.stack.accounts import made_aside, run_as, server_account
from infra.stack.config import ADMIN, DATABASE, OWNER, REPLICATOR, properties
from infra.stack.ports import LOOPBACK
from infra.stack.processes import Command, Process, wait_until
from infra.stack.settings import StackSettings, write_private

_OPTIONS: Final = {
    "wal_level": "logical",
    # A connector that stays away must not fill the disk of the database: past this its slot is lost.
    "max_slot_wal_keep_size": "1GB",
    "max_replication_slots": "10",
    "max_wal_senders": "10",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    # No socket file: its path has a length limit, and its folder would need a place of its own.
    "unix_socket_directories": "",
    "listen_addresses": LOOPBACK,
}
ACCOUNT: Final = "postgres"
"""The system's user that the server runs as, where root starts it."""


class Postgres(Process):
    """One Postgres server. As root it runs as the user postgres, since it refuses root."""

    def __init__(self, settings: StackSettings, cluster: Path, folder: Callable[[], Path]) -> None:
        # Fast shutdown: sessions are ended, nothing is lost.
        super().__init__("postgres", settings.directory / "run" / "postgres.json", stop_signal=signal.SIGINT)
        self._settings = settings
        self._cluster = cluster
        self._folder = folder
        self.log = settings.logs / "postgres.log"

    def dsn(self, user: str = OWNER, database: str = DATABASE) -> str:
        """A connection string without the password: it names our passfile."""
        return make_conninfo(
            host=LOOPBACK,
            port=self._settings.ports.pg,
            dbname=database,
            user=user,
            passfile=str(self._settings.secrets / "pgpass"),
        )

    def connect(self, user: str = OWNER, database: str = DATABASE) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection that commits each statement."""
        return psycopg.connect(self.dsn(user, database), autocommit=True, connect_timeout=5)

    def launch(self) -> bool:
        if self.is_running():
            return False
        passwords = self._passwords()
        if not (self._cluster / "PG_VERSION").exists():
            self._initdb(passwords[ADMIN])
        self._start()
        return True

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        def failed() -> str | None:
            reason = self.ended(self.log)
            if reason is not None and "still in use" in reason:
                # After kill -9 its last sessions take a moment to notice and let go of the memory.
                self._start()
                return None
            return reason

        wait_until(self._answers, timeout_s=timeout_s, what="postgres", failed=failed, log=self.log)

    def _answers(self) -> bool:
        if not self.is_running():
            return False
        with contextlib.suppress(psycopg.OperationalError), self.connect(ADMIN, "postgres"):
            return True
        return False

    def _start(self) -> None:
        argv = [
            str(self._folder() / "postgres"),
            "-D",
            str(self._cluster),
            "-p",
            str(self._settings.ports.pg),
        ]
        for name, value in _OPTIONS.items():
            argv += ["-c", f"{name}={value}"]
        self.spawn(Command(argv, self.log, environ=_ENVIRON, user=server_account(ACCOUNT)))

    def _initdb(self, password: str) -> None:
        user = server_account(ACCOUNT)
        with made_aside(self._cluster, user) as draft:
            handed = draft.with_name("pg.password")
            write_private(handed, password + "\n")
            if user is not None:
                shutil.chown(handed, user, user)
            argv = [str(self._folder() / "initdb"), "-D", str(draft), "-U", ADMIN, f"--pwfile={handed}"]
            argv += ["--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", "-N"]
            try:
                run_as(user, argv, _ENVIRON)
            finally:
                handed.unlink(missing_ok=True)

    def _passwords(self) -> dict[str, str]:
        """One random password a role, made once, for libpq (pgpass) and for Connect (properties)."""
        folder = self._settings.secrets
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        passfile = folder / "pgpass"
        if not passfile.exists():
            made = {role: random.token_hex(16) for role in (ADMIN, OWNER, REPLICATOR)}
            # Any port: it may change between two starts.
            lines = [f"{LOOPBACK}:*:*:{role}:{password}\n" for role, password in made.items()]
            write_private(passfile, "".join(lines))
        passwords = dict(
            line.split(":")[3:5] for line in passfile.read_text(encoding="utf-8").splitlines() if line
        )
        write_private(folder / "connect.properties", properties({REPLICATOR: passwords[REPLICATOR]}))
        write_private(folder / "doctor.dsn", self.dsn(REPLICATOR) + "\n")
        return passwords

    def password(self, role: str) -> str:
        return self._passwords()[role]


_ENVIRON: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
