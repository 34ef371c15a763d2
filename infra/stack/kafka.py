"""The broker and the Connect worker: two Java programs from one folder of jars."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from connectors.rest import ConnectClient
from core.errors import ConfigurationError, TailraceError
from infra.stack import ports
from infra.stack.config import connect_properties, log4j_properties, properties, server_properties
from infra.stack.jars import plugin_path
from infra.stack.processes import Command, Process
from infra.stack.settings import StackSettings

_HEAP: Final = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Ready in 1.3 s and about 0.2 GB each; with less heap a loaded broker runs out."""

_PROVIDERS: Final = "-Dorg.apache.kafka.automatic.config.providers="
"""Which classes may resolve `${…}` in a client's configuration: none, or the one that we use."""

_FILE_PROVIDER: Final = "org.apache.kafka.common.config.provider.FileConfigProvider"


class Broker(Process):
    """Kafka, one node, no ZooKeeper. `kill` is kill -9; what was acknowledged stays."""

    def __init__(self, settings: StackSettings, cluster_id: str, java: Callable[[], Path]) -> None:
        super().__init__("broker", settings.directory / "run" / "broker.json")
        self._settings = settings
        self._cluster_id = cluster_id
        self._java = java
        self._data = settings.directory / "kafka"
        self.log = settings.logs / "broker.log"

    def launch(self) -> bool:
        if self.is_running():
            return False
        self._data.mkdir(parents=True, exist_ok=True)
        file = _configure(self._settings, "server", server_properties(self._settings, self._data))
        if not (self._data / "meta.properties").exists():
            self._format(file)
        self.spawn(
            Command(_java(self._java(), self._settings, "kafka.Kafka", file, _PROVIDERS + "none"), self.log)
        )
        return True

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        self.wait_for(self._answers, "the broker", self.log, timeout_s)

    def _answers(self) -> bool:
        if not ports.is_open(self._settings.ports.kafka):
            return False
        address = f"{ports.LOOPBACK}:{self._settings.ports.kafka}"
        try:
            AdminClient({"bootstrap.servers": address, "log_level": 0}).list_topics(timeout=2.0)
        except KafkaException:
            return False
        return True

    def _format(self, file: Path) -> None:
        java = _java(self._java(), self._settings, "kafka.tools.StorageTool", None, _PROVIDERS + "none")
        argv = [*java, "format", "-t", self._cluster_id, "-c", str(file)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")
        if done.returncode != 0:
            raise ConfigurationError(
                f"Kafka's folder {self._data} could not be formatted: {done.stderr.strip()}"
            )


class Connect(Process):
    """Kafka Connect, one distributed worker; with MariaDB's connector among its plugins if asked."""

    def __init__(self, settings: StackSettings, java: Callable[[], Path], *, mariadb: bool = False) -> None:
        super().__init__("connect", settings.directory / "run" / "connect.json")
        self._settings = settings
        self._mariadb = mariadb
        self._java = java
        self.url = f"http://{ports.LOOPBACK}:{settings.ports.connect}"
        self.log = settings.logs / "connect.log"

    def launch(self) -> bool:
        if self.is_running():
            return False
        file = _configure(
            self._settings, "connect", connect_properties(self._settings, mariadb=self._mariadb)
        )
        main = "org.apache.kafka.connect.cli.ConnectDistributed"
        self.spawn(
            Command(_java(self._java(), self._settings, main, file, _PROVIDERS + _FILE_PROVIDER), self.log)
        )
        return True

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        self.wait_for(self._answers, "Connect", self.log, timeout_s)

    def has_mariadb(self) -> bool:
        """Whether it was started with MariaDB's connector among its plugins."""
        file = self._settings.directory / "conf" / "connect.properties"
        path = plugin_path(self._settings.jars_folder, mariadb=True)
        return file.exists() and f"plugin.path={path}\n" in file.read_text(encoding="utf-8")

    def _answers(self) -> bool:
        if not ports.is_open(self._settings.ports.connect):
            return False
        try:
            with ConnectClient(self.url, timeout=2.0, patience=0.1) as client:
                client.names()
        except TailraceError:
            return False
        return True


def _java(java: Path, settings: StackSettings, main: str, file: Path | None, option: str) -> list[str]:
    classpath = f"{settings.jars_folder / 'broker'}/*"
    log4j = f"-Dlog4j2.configurationFile={_configure(settings, 'log4j2', log4j_properties())}"
    return [str(java), *_HEAP, log4j, option, "-cp", classpath, main, *([str(file)] if file else [])]


def _configure(settings: StackSettings, name: str, entries: dict[str, str]) -> Path:
    file = settings.directory / "conf" / f"{name}.properties"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(properties(entries), encoding="utf-8")
    return file
