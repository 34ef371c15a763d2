"""What Kafka Connect says of its connectors, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

State: TypeAlias = Literal["running", "paused", "stopped", "failed", "starting", "absent"]
"""A connector and its tasks in one word. `starting`: on its way, or without a task yet."""


@dataclass(frozen=True, slots=True)
class TaskStatus:
    id: int
    state: str
    worker: str
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class ConnectorStatus:
    """States as Connect names them: UNASSIGNED, RUNNING, PAUSED, FAILED, RESTARTING, STOPPED."""

    name: str
    state: str
    worker: str
    tasks: tuple[TaskStatus, ...]
    trace: str | None = None
    version: str | None = None
    """Of the connector's plugin, where Connect tells it."""

    @property
    def running(self) -> bool:
        """The connector and at least one task run, and none does anything else."""
        return self.state == "RUNNING" and bool(self.tasks) and all(t.state == "RUNNING" for t in self.tasks)

    @property
    def failure(self) -> str | None:
        """The trace of whatever failed; None if nothing did.

        A task may have failed under a connector that still says RUNNING.
        """
        if self.state == "FAILED":
            return self.trace or "(no trace)"
        return next((t.trace or "(no trace)" for t in self.tasks if t.state == "FAILED"), None)

    @property
    def failures(self) -> frozenset[tuple[int | None, str, str]]:
        """All that failed: the task, None for the connector itself, its worker and its trace."""
        found = {(t.id, t.worker, t.trace or "") for t in self.tasks if t.state == "FAILED"}
        own = {(None, self.worker, self.trace or "")} if self.state == "FAILED" else set()
        return frozenset(found | own)

    @property
    def summary(self) -> State:
        if self.failure is not None:
            return "failed"
        if self.running:
            return "running"
        if self.state == "STOPPED" and not self.tasks:
            return "stopped"
        if self.state == "PAUSED" and all(task.state == "PAUSED" for task in self.tasks):
            return "paused"
        return "starting"


@dataclass(frozen=True, slots=True)
class LiveConnector:
    """A connector as it is on Connect. No repr of its configuration: it may hold a literal secret."""

    name: str
    config: Mapping[str, str] = field(repr=False)
    """Without `name`."""

    status: ConnectorStatus | None
    """None for a moment after its creation."""

    @property
    def state(self) -> State:
        return "starting" if self.status is None else self.status.summary


@dataclass(frozen=True, slots=True)
class Health:
    """A worker. `healthy`, `starting`, `unhealthy`; `answering` where it is too old to say more."""

    status: str
    version: str
    kafka_cluster_id: str


@dataclass(frozen=True, slots=True)
class Validation:
    """The worker's own judgement of a configuration; the errors are masked."""

    errors: Mapping[str, tuple[str, ...]]
    password_keys: frozenset[str]


def read_live(name: str, entry: Mapping[str, Any]) -> LiveConnector:
    """From what `GET /connectors?expand=status&expand=info` says of one."""
    config = {key: value for key, value in entry["info"]["config"].items() if key != "name"}
    status = entry.get("status")
    return LiveConnector(name, config, None if status is None else read_status(status))


def read_status(answer: Mapping[str, Any]) -> ConnectorStatus:
    """From what `GET /connectors/<name>/status` says."""
    connector = answer["connector"]
    return ConnectorStatus(
        name=answer["name"],
        state=connector["state"],
        worker=connector["worker_id"],
        trace=connector.get("trace"),
        version=connector.get("version"),
        tasks=tuple(
            TaskStatus(task["id"], task["state"], task["worker_id"], task.get("trace"))
            for task in answer["tasks"]
        ),
    )
