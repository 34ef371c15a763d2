"""Kafka Connect over REST: the calls we use."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from connectors.live import (
    ConnectorStatus,
    Health,
    LiveConnector,
    Validation,
    read_live,
    read_status,
)
from connectors.masking import masked_text
from connectors.transport import LaterError, LostError, Transport
from core.errors import ConfigurationError


class ConnectClient:
    """One Connect cluster. Each call is tried for up to `patience` seconds while it may yet work.

    `login` is the user and password of a Connect that asks for them.

    Raises TransientError when Connect is away or busy for longer, ConfigurationError when it refuses
    a configuration, PermanentError for any other refusal. No message holds a secret. Not thread-safe.
    """

    def __init__(
        self,
        url: str,
        *,
        login: tuple[str, str] | None = None,
        timeout: float = 10.0,
        patience: float = 15.0,
    ) -> None:
        self._transport = Transport(url, login=login, timeout=timeout, patience=patience)
        self.shown = self._transport.shown
        self._password_keys: dict[str, frozenset[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    def root(self) -> dict[str, Any]:
        """version, commit and kafka_cluster_id of the worker that answers."""
        return dict(self._transport.call("GET", "/"))

    def health(self) -> Health:
        """Of the worker that answers. Workers before Kafka 3.9 do not tell: they answer or do not."""
        root = self.root()
        said = self._transport.call("GET", "/health", missing_is_none=True, accept=frozenset({500, 503}))
        found = said if isinstance(said, dict) else {}
        return Health(
            status=str(found.get("status", "answering")),
            version=str(root.get("version", "?")),
            kafka_cluster_id=str(root.get("kafka_cluster_id", "?")),
        )

    def names(self) -> list[str]:
        return list(self._transport.call("GET", "/connectors"))

    def connectors(self) -> dict[str, LiveConnector]:
        """All of them, configuration and status, by one call."""
        answer = self._transport.call("GET", "/connectors?expand=status&expand=info")
        return {name: read_live(name, entry) for name, entry in sorted(answer.items())}

    def plugins(self) -> list[str]:
        """Connector classes installed on the worker that answers."""
        return [plugin["class"] for plugin in self._transport.call("GET", "/connector-plugins")]

    def password_keys(self, plugin: str) -> frozenset[str]:
        """The keys that the plugin types as PASSWORD; none if the worker does not have it. Asked once."""
        if plugin not in self._password_keys:
            path = f"/connector-plugins/{quote(plugin, safe='')}/config"
            definitions = self._transport.call("GET", path, missing_is_none=True) or []
            self._password_keys[plugin] = frozenset(d["name"] for d in definitions if d["type"] == "PASSWORD")
        return self._password_keys[plugin]

    def validate(self, config: Mapping[str, str], *, secrets: frozenset[str] = frozenset()) -> Validation:
        """What the plugin itself says is wrong. It opens a connection to the database: slow.

        Raises ConfigurationError if the worker has no such plugin, TransientError if it could not
        finish looking in time.
        """
        plugin = config["connector.class"]
        # Asked first: a validation by a plugin that is missing ends in a 500 like any other.
        installed = self.plugins()
        if plugin not in installed:
            raise ConfigurationError(
                f"{self.shown} has no plugin {plugin}; it has {', '.join(installed) or 'none'}:"
                " put its jars under a folder of plugin.path and restart the worker"
            )
        body = {"name": "validation", **config}
        path = f"/connector-plugins/{quote(plugin, safe='')}/config/validate"
        answer = self._send("PUT", path, body, config, secrets)
        typed = {e["definition"]["name"] for e in answer["configs"] if e["definition"]["type"] == "PASSWORD"}
        errors = {
            entry["value"]["name"]: tuple(
                masked_text(error, config, password_keys=typed, secrets=secrets)
                for error in entry["value"]["errors"]
            )
            for entry in answer["configs"]
            if entry["value"]["errors"]
        }
        return Validation(errors, frozenset(typed))

    def config(self, name: str) -> dict[str, str] | None:
        """The configuration as Connect has it; None if there is no such connector."""
        answer = self._transport.call("GET", f"{_path(name)}/config", missing_is_none=True)
        return None if answer is None else dict(answer)

    def put_config(
        self, name: str, config: Mapping[str, str], *, secrets: frozenset[str] = frozenset()
    ) -> None:
        """Create or replace."""
        self._send("PUT", f"{_path(name)}/config", dict(config), config, secrets)

    def create(
        self, name: str, config: Mapping[str, str], state: str, *, secrets: frozenset[str] = frozenset()
    ) -> None:
        """Create it in RUNNING, PAUSED or STOPPED: what is not to run must not even begin to.

        ConfigurationError also if one of that name exists.
        """
        body = {"name": name, "config": dict(config), "initial_state": state}
        for attempt in self._transport.attempts(lambda error: isinstance(error, LostError)):
            with attempt:
                if attempt.num > 1 and (found := self.config(name)) is not None:
                    if {key: value for key, value in found.items() if key != "name"} == dict(config):
                        return
                    raise ConfigurationError(f"connector {name} exists already: plan again")
                try:
                    self._send("POST", "/connectors", body, config, secrets)
                except LostError:
                    raise
                except LaterError as error:
                    # 409 stands for "rebalancing" and for "exists": one that exists is there to see.
                    if self.config(name) is not None:
                        raise ConfigurationError(f"connector {name} exists already: plan again") from error
                    raise
                return

    def status(self, name: str) -> ConnectorStatus | None:
        """None while there is no such connector, or none yet: it shows a moment after its creation."""
        answer = self._transport.call("GET", f"{_path(name)}/status", missing_is_none=True)
        return None if answer is None else read_status(answer)

    def topics(self, name: str) -> list[str]:
        """The topics that it has written to since its creation, or since that list was reset."""
        answer = self._transport.call("GET", f"{_path(name)}/topics", missing_is_none=True) or {}
        return sorted(answer.get(name, {}).get("topics", []))

    def restart_failed(self, name: str) -> None:
        """Restart what failed, connector and tasks: a plain restart leaves failed tasks as they are."""
        self._transport.call("POST", f"{_path(name)}/restart?includeTasks=true&onlyFailed=true")

    def restart(self, name: str) -> None:
        """Restart connector and tasks, those that run too."""
        self._transport.call("POST", f"{_path(name)}/restart?includeTasks=true&onlyFailed=false")

    def restart_task(self, name: str, task: int) -> None:
        self._transport.call("POST", f"{_path(name)}/tasks/{task}/restart")

    def pause(self, name: str) -> None:
        self._transport.call("PUT", f"{_path(name)}/pause")

    def resume(self, name: str) -> None:
        self._transport.call("PUT", f"{_path(name)}/resume")

    def stop(self, name: str) -> None:
        self._transport.call("PUT", f"{_path(name)}/stop")

    def delete(self, name: str) -> None:
        """Remove the connector. Its offsets, slot, publication and topics stay. None there: no error."""
        self._transport.call("DELETE", _path(name), missing_is_none=True)

    def offsets(self, name: str) -> list[dict[str, Any]]:
        """The committed offsets: a list of {partition, offset}, in the connector's own format."""
        answer = self._transport.call("GET", f"{_path(name)}/offsets", missing_is_none=True)
        return [] if answer is None else list(answer["offsets"])

    def alter_offsets(self, name: str, offsets: Sequence[Mapping[str, Any]]) -> None:
        """Set these; an offset of None forgets its partition. The connector must be stopped.

        Connect takes partitions that the connector never reads: check them before.
        """
        self._transport.call("PATCH", f"{_path(name)}/offsets", {"offsets": list(offsets)}, slow=True)

    def delete_offsets(self, name: str) -> None:
        """Forget all of them: it starts anew, with a snapshot. The connector must be stopped."""
        self._transport.call("DELETE", f"{_path(name)}/offsets", slow=True)

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any],
        config: Mapping[str, str],
        secrets: frozenset[str],
    ) -> Any:
        """A call with a configuration in it."""
        typed = self._password_keys.get(config.get("connector.class", ""), frozenset())
        return self._transport.call(
            method, path, body, slow=True, config=config, password_keys=typed, secrets=secrets
        )


def _path(name: str) -> str:
    return f"/connectors/{quote(name, safe='')}"
