"""Kafka Connect over REST: the calls we use, their retries, and errors without secrets."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import requests
import stamina

from connectors.live import (
    ConnectorStatus,
    Health,
    LiveConnector,
    Validation,
    read_live,
    read_status,
)
from connectors.masking import masked_text
from core.addresses import secrets_of, shown_url
from core.errors import ConfigurationError, PermanentError, TransientError

_BUSY: Final = frozenset({409, 429, 502, 503, 504})
"""409: the workers are rebalancing, for a second or so after each change."""

_PROXY: Final = frozenset({502, 504})
"""Of a proxy, whose worker may have taken the call."""

_SLOW_SECONDS: Final = 100.0
"""For calls that make the worker connect to the database; Connect itself gives them up after 90 s."""


class _LaterError(TransientError):
    """Worth another try at once; what is raised in the end is a TransientError like others."""


class _LostError(_LaterError):
    """The call was sent, and its answer never came: whether it was taken is not known."""


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
        self.url = url.rstrip("/")
        self.shown = shown_url(self.url)
        self._timeout = timeout
        self._patience = patience
        self._session = requests.Session()
        # Proxies of the environment would get the secrets' references and the loopback calls.
        self._session.trust_env = False
        self._session.auth = login
        self._secrets = secrets_of(self.url) | ({login[1]} if login else set())
        self._password_keys: dict[str, frozenset[str]] = {}

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

    def health(self) -> Health:
        """Of the worker that answers. Workers before Kafka 3.9 do not tell: they answer or do not."""
        root = self.root()
        said = self._call("GET", "/health", missing_is_none=True, accept=frozenset({500, 503}))
        found = said if isinstance(said, dict) else {}
        return Health(
            status=str(found.get("status", "answering")),
            version=str(root.get("version", "?")),
            kafka_cluster_id=str(root.get("kafka_cluster_id", "?")),
            message=str(found.get("message", "")),
        )

    def names(self) -> list[str]:
        return list(self._call("GET", "/connectors"))

    def connectors(self) -> dict[str, LiveConnector]:
        """All of them, configuration and status, by one call."""
        answer = self._call("GET", "/connectors?expand=status&expand=info")
        return {name: read_live(name, entry) for name, entry in sorted(answer.items())}

    def plugins(self) -> list[str]:
        """Connector classes installed on the worker that answers."""
        return [plugin["class"] for plugin in self._call("GET", "/connector-plugins")]

    def password_keys(self, plugin: str) -> frozenset[str]:
        """The keys that the plugin types as PASSWORD; none if the worker does not have it. Asked once."""
        if plugin not in self._password_keys:
            path = f"/connector-plugins/{quote(plugin, safe='')}/config"
            definitions = self._call("GET", path, missing_is_none=True) or []
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
        answer = self._call("PUT", path, body, slow=True, secrets=secrets)
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
        answer = self._call("GET", f"{_path(name)}/config", missing_is_none=True)
        return None if answer is None else dict(answer)

    def put_config(
        self, name: str, config: Mapping[str, str], *, secrets: frozenset[str] = frozenset()
    ) -> None:
        """Create or replace."""
        self._call("PUT", f"{_path(name)}/config", dict(config), slow=True, secrets=secrets)

    def create(
        self, name: str, config: Mapping[str, str], state: str, *, secrets: frozenset[str] = frozenset()
    ) -> None:
        """Create it in RUNNING, PAUSED or STOPPED: what is not to run must not even begin to.

        ConfigurationError also if one of that name exists.
        """
        body = {"name": name, "config": dict(config), "initial_state": state}
        for attempt in self._attempts(lambda error: isinstance(error, _LostError)):
            with attempt:
                if attempt.num > 1 and (found := self.config(name)) is not None:
                    if {key: value for key, value in found.items() if key != "name"} == dict(config):
                        return
                    raise ConfigurationError(f"connector {name} exists already: plan again")
                try:
                    self._call("POST", "/connectors", body, slow=True, secrets=secrets)
                except _LostError:
                    raise
                except _LaterError as error:
                    # 409 stands for "rebalancing" and for "exists": one that exists is there to see.
                    if self.config(name) is not None:
                        raise ConfigurationError(f"connector {name} exists already: plan again") from error
                    raise
                return

    def status(self, name: str) -> ConnectorStatus | None:
        """None while there is no such connector, or none yet: it shows a moment after its creation."""
        answer = self._call("GET", f"{_path(name)}/status", missing_is_none=True)
        return None if answer is None else read_status(answer)

    def topics(self, name: str) -> list[str]:
        """The topics that it has written to since its creation, or since that list was reset."""
        answer = self._call("GET", f"{_path(name)}/topics", missing_is_none=True) or {}
        return sorted(answer.get(name, {}).get("topics", []))

    def restart_failed(self, name: str) -> None:
        """Restart what failed, connector and tasks: a plain restart leaves failed tasks as they are."""
        self._call("POST", f"{_path(name)}/restart?includeTasks=true&onlyFailed=true")

    def restart(self, name: str) -> None:
        """Restart connector and tasks, those that run too."""
        self._call("POST", f"{_path(name)}/restart?includeTasks=true&onlyFailed=false")

    def restart_task(self, name: str, task: int) -> None:
        self._call("POST", f"{_path(name)}/tasks/{task}/restart")

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

    def alter_offsets(self, name: str, offsets: Sequence[Mapping[str, Any]]) -> None:
        """Set these; an offset of None forgets its partition. The connector must be stopped.

        Connect takes partitions that the connector never reads: check them before.
        """
        self._call("PATCH", f"{_path(name)}/offsets", {"offsets": list(offsets)}, slow=True)

    def delete_offsets(self, name: str) -> None:
        """Forget all of them: it starts anew, with a snapshot. The connector must be stopped."""
        self._call("DELETE", f"{_path(name)}/offsets", slow=True)

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        missing_is_none: bool = False,
        slow: bool = False,
        accept: frozenset[int] = frozenset(),
        secrets: frozenset[str] = frozenset(),
    ) -> Any:
        timeout = max(self._timeout, _SLOW_SECONDS) if slow else self._timeout
        # The other methods do the same a second time; a POST does it again.
        again = method != "POST"
        for attempt in self._attempts(
            lambda error: isinstance(error, _LaterError) and (again or not isinstance(error, _LostError))
        ):
            with attempt:
                answer = self._send(method, path, body, timeout)
                if missing_is_none and _is_missing(answer):
                    return None
                if answer.ok or answer.status_code in accept:
                    return _content(answer)
                raise self._refusal(method, path, body, answer, secrets)
        raise AssertionError("stamina either returns or raises")

    def _attempts(self, on: Callable[[Exception], bool]) -> Iterable[stamina.Attempt]:
        return stamina.retry_context(
            on=on, attempts=None, timeout=self._patience, wait_initial=0.1, wait_max=1.0
        )

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout: float
    ) -> requests.Response:
        try:
            return self._session.request(method, self.url + path, json=body, timeout=timeout)
        except requests.ReadTimeout:
            raise TransientError(
                f"{self._what(method, path)}: no answer within {timeout:.0f} s: is the worker overloaded,"
                " or the database that it is to look at out of its reach?"
            ) from None
        except requests.RequestException as error:
            # The library's own message may quote the address with whatever stands in it.
            said = f"{self._what(method, path)}: {type(error).__name__}; is Connect running there?"
            if not _was_sent(error):
                raise _LaterError(said) from None
            raise _LostError(said + ("" if method == "GET" else " It may have been taken.")) from None

    def _refusal(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        answer: requests.Response,
        secrets: frozenset[str],
    ) -> Exception:
        flat = (body or {}).get("config", body) or {}
        known = {key: value for key, value in flat.items() if isinstance(value, str)}
        typed = self._password_keys.get(known.get("connector.class", ""), frozenset())
        message = masked_text(_message(answer), known, password_keys=typed, secrets=secrets | self._secrets)
        said = f"{self._what(method, path)}: {answer.status_code}: {message}"
        if answer.status_code in _BUSY:
            return _LostError(said) if answer.status_code in _PROXY else _LaterError(said)
        if answer.status_code == requests.codes.not_found and not _is_missing(answer):
            return _LaterError(f"{said}: the worker is starting, or that is not Connect")
        if answer.status_code in {400, 422}:
            return ConfigurationError(said)
        if "timed out" in message:
            return TransientError(f"{said}; can the worker reach the database, and does it answer?")
        if answer.status_code >= requests.codes.server_error:
            return _LostError(said)
        return PermanentError(said)

    def _what(self, method: str, path: str) -> str:
        return f"Kafka Connect, {method} {self.shown}{path}"


def _was_sent(error: requests.RequestException) -> bool:
    """Whether the worker may have the call: not if there was no connection to send it on."""
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    refused = type(reason).__name__ in {"NewConnectionError", "NameResolutionError"}
    return not (refused or isinstance(error, requests.ConnectTimeout))


def _path(name: str) -> str:
    return f"/connectors/{quote(name, safe='')}"


def _content(answer: requests.Response) -> Any:
    try:
        return answer.json() if answer.content else None
    except requests.JSONDecodeError:
        raise TransientError(
            f"Kafka Connect, {shown_url(answer.url)}: the answer is no JSON: is Connect there?"
        ) from None


def _is_missing(answer: requests.Response) -> bool:
    """Whether Connect itself says so: while it starts, its web server knows none of its addresses."""
    return answer.status_code == requests.codes.not_found and "error_code" in _body(answer)


def _body(answer: requests.Response) -> dict[str, Any]:
    try:
        parsed = answer.json()
    except requests.JSONDecodeError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {}


def _message(answer: requests.Response) -> str:
    text = _body(answer).get("message")
    return str(text or answer.reason or "no message")[:2000]
