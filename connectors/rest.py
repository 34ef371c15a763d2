"""Kafka Connect over REST: the calls we use, their retries, and errors without secrets."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import requests
import stamina

from connectors.masking import masked_text
from core.errors import ConfigurationError, PermanentError, TransientError

_BUSY: Final = frozenset({409, 429, 502, 503, 504})
"""409: the workers are rebalancing, for a second or so after each change."""


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

    @property
    def running(self) -> bool:
        """The connector and at least one task run, and none does anything else."""
        return self.state == "RUNNING" and bool(self.tasks) and all(t.state == "RUNNING" for t in self.tasks)

    @property
    def failure(self) -> str | None:
        """The trace of whatever failed; None if nothing did."""
        if self.state == "FAILED":
            return self.trace or "(no trace)"
        return next((t.trace or "(no trace)" for t in self.tasks if t.state == "FAILED"), None)


class ConnectClient:
    """One Connect cluster. Each call is tried for up to `patience` seconds while it may yet work.

    Raises TransientError when Connect is away or busy for longer, ConfigurationError when it refuses
    a configuration, PermanentError for any other refusal. No message holds a secret. Not thread-safe.
    """

    def __init__(self, url: str, *, timeout: float = 10.0, patience: float = 15.0) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._patience = patience
        self._session = requests.Session()
        # Proxies of the environment would get the secrets' references and the loopback calls.
        self._session.trust_env = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()

    def root(self) -> dict[str, Any]:
        """version, commit and kafka_cluster_id of the worker that answers."""
        return dict(self._call("GET", "/"))

    def names(self) -> list[str]:
        return list(self._call("GET", "/connectors"))

    def plugins(self) -> list[str]:
        """Connector classes installed on the worker that answers."""
        return [plugin["class"] for plugin in self._call("GET", "/connector-plugins")]

    def validate(self, config: Mapping[str, str]) -> dict[str, list[str]]:
        """What the connector itself says is wrong, by key. Opens a connection to the database."""
        plugin = config["connector.class"].rsplit(".", 1)[-1]
        body = {"name": "validation", **config}
        answer = self._call("PUT", f"/connector-plugins/{plugin}/config/validate", body)
        values = (entry["value"] for entry in answer["configs"])
        return {
            value["name"]: [masked_text(error, config) for error in value["errors"]]
            for value in values
            if value["errors"]
        }

    def config(self, name: str) -> dict[str, str] | None:
        """The configuration as Connect has it; None if there is no such connector."""
        answer = self._call("GET", f"{_path(name)}/config", missing_is_none=True)
        return None if answer is None else dict(answer)

    def put_config(self, name: str, config: Mapping[str, str]) -> None:
        """Create or replace."""
        self._call("PUT", f"{_path(name)}/config", dict(config))

    def status(self, name: str) -> ConnectorStatus | None:
        """None while there is no such connector, or none yet: it shows a moment after its creation."""
        answer = self._call("GET", f"{_path(name)}/status", missing_is_none=True)
        if answer is None:
            return None
        connector = answer["connector"]
        return ConnectorStatus(
            name=answer["name"],
            state=connector["state"],
            worker=connector["worker_id"],
            trace=connector.get("trace"),
            tasks=tuple(
                TaskStatus(task["id"], task["state"], task["worker_id"], task.get("trace"))
                for task in answer["tasks"]
            ),
        )

    def restart_failed(self, name: str) -> None:
        """Restart what failed, connector and tasks: a plain restart leaves failed tasks as they are."""
        self._call("POST", f"{_path(name)}/restart?includeTasks=true&onlyFailed=true")

    def pause(self, name: str) -> None:
        self._call("PUT", f"{_path(name)}/pause")

    def resume(self, name: str) -> None:
        self._call("PUT", f"{_path(name)}/resume")

    def stop(self, name: str) -> None:
        self._call("PUT", f"{_path(name)}/stop")

    def delete(self, name: str) -> None:
        """Remove the connector. Its offsets, slot, publication and topics stay. None there: no error."""
        self._call("DELETE", _path(name), missing_is_none=True)

    def offsets(self, name: str) -> list[dict[str, Any]]:
        """The committed offsets: a list of {partition, offset}, in the connector's own format."""
        answer = self._call("GET", f"{_path(name)}/offsets", missing_is_none=True)
        return [] if answer is None else list(answer["offsets"])

    def _call(
        self, method: str, path: str, body: Mapping[str, str] | None = None, *, missing_is_none: bool = False
    ) -> Any:
        for attempt in stamina.retry_context(
            on=TransientError, attempts=None, timeout=self._patience, wait_initial=0.1, wait_max=1.0
        ):
            with attempt:
                return self._once(method, path, body, missing_is_none=missing_is_none)
        raise AssertionError("stamina either returns or raises")

    def _once(self, method: str, path: str, body: Mapping[str, str] | None, *, missing_is_none: bool) -> Any:
        what = f"Kafka Connect, {method} {self._url}{path}"
        try:
            answer = self._session.request(method, self._url + path, json=body, timeout=self._timeout)
        except requests.RequestException as error:
            # The library's own message may quote the address with whatever stands in it.
            raise TransientError(f"{what}: {type(error).__name__}; is Connect running there?") from None
        if answer.status_code == requests.codes.not_found and missing_is_none:
            return None
        if answer.ok:
            return answer.json() if answer.content else None
        said = f"{what}: {answer.status_code}: {masked_text(_message(answer), body)}"
        if answer.status_code in _BUSY:
            raise TransientError(said)
        if answer.status_code in {400, 422}:
            raise ConfigurationError(said)
        if answer.status_code >= requests.codes.server_error:
            raise TransientError(said)
        raise PermanentError(said)


def _path(name: str) -> str:
    return f"/connectors/{quote(name, safe='')}"


def _message(answer: requests.Response) -> str:
    try:
        parsed = answer.json()
    except requests.JSONDecodeError:
        parsed = None
    text = parsed.get("message") if isinstance(parsed, dict) else None
    return str(text or answer.reason or "no message")[:2000]
