"""The whole stack: what is started, in which order, and what is said about it."""

import fcntl
import os
import secrets
import subprocess
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from connectors.deploy import deploy
from connectors.preset import derived_name
from connectors.rest import ConnectClient, ConnectorStatus
from connectors.spec import read_spec, write_spec
from core.errors import ConfigurationError, TailraceError
from infra.stack import jars, ports, shop, tools
from infra.stack.config import OWNER, connector_spec, tailrace_yaml
from infra.stack.kafka import Broker, Connect
from infra.stack.postgres import Postgres, cluster_folder
from infra.stack.processes import Process
from infra.stack.service import Tailrace
from infra.stack.settings import REPOSITORY, Memory, Ports, StackSettings, remove

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PieceStatus:
    name: str
    up: bool
    pid: int | None
    where: str
    log: str
    detail: str = ""


class Stack:
    """One local stack. Every method may be called from any process at any time; `up` mends what is down."""

    def __init__(self, settings: StackSettings, say: Say = lambda _: None) -> None:
        self.settings = settings
        self._say = say
        self._tools: tools.Tools | None = None
        settings.directory.mkdir(parents=True, exist_ok=True)
        self.memory = Memory.read(settings.directory) or _remember(settings)
        self.postgres = Postgres(settings, self.memory.cluster, lambda: self._found().postgres)
        self.broker = Broker(settings, self.memory.kafka_cluster_id, lambda: self._found().java)
        self.connect = Connect(settings, lambda: self._found().java)
        self.tailrace = Tailrace(settings)

    @property
    def brokers(self) -> str:
        return f"{ports.LOOPBACK}:{self.settings.ports.kafka}"

    @property
    def connect_url(self) -> str:
        return self.connect.url

    @property
    def http_url(self) -> str:
        return self.tailrace.url
