"""A Kafka Connect cluster in memory, behind `responses`: it answers as the real one was seen to."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import requests
import responses
import stamina

from connectors.preset import POSTGRES_CLASS, postgres_config

URL = "http://connect.example:8083"
CANARY = "canary-9c1d7e"
TRACE = (
    "org.apache.kafka.connect.errors.ConnectException: Error configuring an instance\n\tat x.y(Z.java:1)\n"
    f"Caused by: org.postgresql.util.PSQLException: FATAL: password authentication failed, password={CANARY}"
    "\n\tat a.b(C.java:2)"
)
OFFSET = {"partition": {"server": "shop"}, "offset": {"lsn": 9, "lsn_proc": 9, "lsn_commit": 8}}

Answer = tuple[int, dict[str, str], str]


@dataclass
class Running:
    """One connector. `looks`: task states that the next status calls show, before what is true."""

    config: dict[str, str]
    state: str = "RUNNING"
    trace: str | None = None
    looks: list[str] = field(default_factory=list)
    offsets: list[dict[str, Any]] = field(default_factory=lambda: [OFFSET])
    topics: list[str] = field(default_factory=list)
    zombie: int = 0
    """So many changes of the offsets are written over, once they were looked at, by a task that has not
    ended."""

    deaf: bool = False
    """Whether changes of the offsets are accepted and come to nothing."""


@dataclass
class Cluster:
    """`failing`: a trace with which a connector of that name fails once it is configured."""

    connectors: dict[str, Running] = field(default_factory=dict)
    plugins: list[str] = field(default_factory=lambda: [POSTGRES_CLASS])
    errors: dict[str, list[str]] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)
    busy: int = 0
    """So many calls are answered with 409 first."""

    away: int = 0
    """So many calls find nobody."""

    asked: int = 0
    """How many calls there were."""

    writes: list[str] = field(default_factory=list)

    @contextmanager
    def served(self, attempts: int = 3) -> Iterator[Self]:
        """At URL. A call is tried so often, without waiting in between."""
        with (
            responses.RequestsMock(assert_all_requests_are_fired=False) as mock,
            stamina.set_testing(True, attempts=attempts),
        ):
            for method in ("GET", "PUT", "POST", "PATCH", "DELETE"):
                mock.add_callback(method, re.compile(f"^{re.escape(URL)}/.*"), callback=self._answer)
            yield self

    def _answer(self, request: requests.PreparedRequest) -> Answer:
        self.asked += 1
        if self.away:
            self.away -= 1
            raise requests.ConnectionError("nobody")
        if self.busy:
            self.busy -= 1
            return _said(409, {"message": "rebalance"})
        path, _, query = str(request.url).removeprefix(URL).partition("?")
        body = json.loads(request.body) if request.body else None
        return self._route(str(request.method), path.strip("/").split("/"), query, body)

    def _route(  # noqa: PLR0911 - one answer a route
        self, method: str, parts: list[str], query: str, body: Any
    ) -> Answer:
        match method, parts:
            case "GET", [""]:
                return _said(200, {"version": "4.3.0", "commit": "c", "kafka_cluster_id": "k"})
            case "GET", ["health"]:
                return _said(404, {"message": "no"})
            case "GET", ["connector-plugins"]:
                return _said(200, [{"class": name, "type": "source"} for name in self.plugins])
            case "GET", ["connector-plugins", name, "config"]:
                types = {"database.password": "PASSWORD", "odd.key": "PASSWORD", "topic.prefix": "STRING"}
                found = [{"name": key, "type": kind} for key, kind in types.items()]
                return _said(200, found) if name in self.plugins else _said(404, {"message": "no"})
            case "PUT", ["connector-plugins", _, "config", "validate"]:
                return self._validation()
            case "GET", ["connectors"]:
                if not query:
                    return _said(200, list(self.connectors))
                return _said(200, {name: self._entry(name) for name in self.connectors})
            case "POST", ["connectors"]:
                self.writes.append(f"POST {body['name']} {body['initial_state']}")
                self.connectors[body["name"]] = Running(body["config"], body["initial_state"])
                return _said(201, {})
            case _, ["connectors", name, *rest]:
                return self._connector(method, name, rest, query, body)
        raise AssertionError(f"{method} {parts}")

    def _connector(self, method: str, name: str, rest: list[str], query: str, body: Any) -> Answer:
        if method == "PUT" and rest == ["config"]:
            self.writes.append(f"PUT {name}")
            known = self.connectors.setdefault(name, Running({}))
            known.config = body
            known.trace = self.failing.get(name)
            known.looks = ["UNASSIGNED", "RUNNING"]
            return _said(201, {})
        if name not in self.connectors:
            return _said(404, {"message": f"Connector {name} not found"})
        known = self.connectors[name]
        if method == "GET":
            return self._look(name, known, rest[0])
        self.writes.append(" ".join(filter(None, [method, name, *rest, query])))
        return self._change(method, name, known, rest, body)

    def _look(self, name: str, known: Running, what: str) -> Answer:
        shown: Mapping[str, Callable[[], Any]] = {
            "config": lambda: {**known.config, "name": name},
            "status": lambda: self._status(name),
            "offsets": lambda: {"offsets": known.offsets},
            "topics": lambda: {name: {"topics": known.topics}},
        }
        answer = _said(200, shown[what]())
        if what == "offsets" and known.zombie and known.offsets != [OFFSET]:
            known.zombie, known.offsets = known.zombie - 1, [OFFSET]
        return answer

    def _change(self, method: str, name: str, known: Running, rest: list[str], body: Any) -> Answer:
        match method, rest:
            case "DELETE", []:
                del self.connectors[name]
            case "PUT", ["pause"]:
                known.state = "PAUSED"
            case "PUT", ["resume"]:
                known.state, known.trace = "RUNNING", known.trace or self.failing.get(name)
            case "PUT", ["stop"]:
                known.state, known.trace = "STOPPED", None
            case "POST", ["restart"]:
                # Under a pause a task waits and does not begin; one that has failed stays so until then.
                known.trace = None if known.state == "PAUSED" else self.failing.get(name)
            case _, ["offsets"]:
                if known.state != "STOPPED":
                    return _said(400, {"message": "Connectors must be in the STOPPED state"})
                if not known.deaf:
                    kept = [] if method == "DELETE" else body["offsets"]
                    known.offsets = [entry for entry in kept if entry["offset"]]
        return _said(202, {})

    def _validation(self) -> Answer:
        configs = [
            {
                "definition": {"name": key, "type": "STRING"},
                "value": {"name": key, "value": None, "errors": errors},
            }
            for key, errors in self.errors.items()
        ]
        return _said(200, {"error_count": len(configs), "configs": configs})

    def _entry(self, name: str) -> dict[str, Any]:
        return {
            "info": {"name": name, "config": {**self.connectors[name].config, "name": name}},
            "status": self._status(name),
        }

    def _status(self, name: str) -> dict[str, Any]:
        known = self.connectors[name]
        task = known.looks.pop(0) if known.looks else "FAILED" if known.trace else known.state
        trace = {"trace": known.trace} if task == "FAILED" else {}
        return {
            "name": name,
            "connector": {"state": known.state, "worker_id": "w:8083"},
            "tasks": [] if task == "STOPPED" else [{"id": 0, "state": task, "worker_id": "w:8083", **trace}],
        }


def _said(status: int, body: Any) -> Answer:
    if status == 404:
        body = {"error_code": 404, **body}
    return status, {"content-type": "application/json"}, json.dumps(body)


def shop_config(**changed: str) -> dict[str, str]:
    """A configuration without violations."""
    config = postgres_config(
        prefix="shop",
        tables=["public.articles"],
        host="db.example",
        port=5432,
        database="shop",
        user="debezium",
        password="${file:/secrets/connect.properties:debezium}",  # noqa: S106 - a reference
        placeholder="__uv_0123456789abcdef__",
    )
    return {**config, **{key.replace("__", "."): value for key, value in changed.items()}}
