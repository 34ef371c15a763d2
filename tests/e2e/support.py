"""What the end-to-end tests share: asking the service, waiting, and knowing that everything has arrived."""

import contextlib
import json
import math
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import httpx2
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.stack import Ports, Stack, StackSettings
from infra.stack.config import TABLES
from infra.stack.processes import _children as children
from infra.stack.processes import tail
from infra.stack.settings import REPOSITORY
from tests.ports import free_ports

HASHING: Final = {"kind": "hashing", "dimensions": 64}
"""An encoder that costs nothing: what is under test here is which rows are in the index."""

MARKERS: Final = range(9_000_001, 9_000_033)
"""Rows that only mark the end of a load: that many that every partition of four has some."""

ARRIVAL_SECONDS: Final = 120.0
"""Longest wait for everything to arrive once the load has stopped."""


class Unavailable(Exception):  # noqa: N818 - a state of the service, not a failure of the test
    """The service does not answer, or says that it cannot now."""


class Api:
    """The query service, over HTTP as any client sees it."""

    def __init__(self, url: str, *, timeout: float = 20.0) -> None:
        self._client = httpx2.Client(base_url=url, timeout=timeout, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def search(self, query: str, **fields: Any) -> dict[str, Any]:
        return self._found("POST", "/v1/search", {"query": query, "profile": "support", **fields})

    def chat(self, question: str, **fields: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": question}]
        return self._found(
            "POST", "/v1/chat/completions", {"model": "support", "messages": messages, "tailrace": fields}
        )

    def freshness(self) -> dict[str, Any]:
        return self._found("GET", "/v1/freshness")

    def document(self, document: str, key: object) -> dict[str, Any] | None:
        """None where the service says that there is none."""
        path = f"/v1/documents/{document}/{quote(str(key), safe='')}"
        answer = self._ask("GET", path)
        return None if answer.status_code == 404 else self._json(answer)

    def pages(self, document: str) -> Iterator[dict[str, Any]]:
        """A line of every document, page after page."""
        after: str | None = None
        while True:
            rest = "" if after is None else f"&after={quote(after, safe='')}"
            page = self._found("GET", f"/v1/documents/{document}?limit=100{rest}")
            yield from page["data"]
            after = page["after"]
            if after is None:
                return

    def keys(self, document: str) -> list[str]:
        return [one["key"] for one in self.pages(document)]

    def state(self, view: str, key: object) -> dict[str, Any]:
        return self._found("GET", f"/v1/state/{view}/{quote(str(key), safe='')}")

    def ready(self) -> int:
        """The status code of /health/ready."""
        return self._ask("GET", "/health/ready", patient=True).status_code

    def counter(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that have these labels; 0 where nothing was counted."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = self._ask("GET", "/metrics").text.splitlines()
        series = (line.rpartition(" ") for line in lines if line.startswith((f"{name}{{", f"{name} ")))
        return math.fsum(float(value) for head, _, value in series if all(one in head for one in wanted))

    def _found(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._json(self._ask(method, path, body))

    @staticmethod
    def _json(answer: httpx2.Response) -> dict[str, Any]:
        assert answer.is_success, f"{answer.request.url}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, patient: bool = False
    ) -> httpx2.Response:
        try:
            answer = self._client.request(method, path, json=body)
        except httpx2.HTTPError as error:
            raise Unavailable(f"{path}: {error!r}") from error
        if answer.status_code == 503 and not patient:
            raise Unavailable(f"{path}: {answer.text}")
        return answer


@contextlib.contextmanager
def one_stack(folder: Any, encoder: Mapping[str, Any] | None = None) -> Iterator[Stack]:
    """A stack of its own that is not started yet; stopped and removed at the end.

    Its logs are copied to the folder that the environment names in E2E_LOGS, if it does.
    """
    jars = REPOSITORY / ".tailrace" / "stack" / "jars"
    made = Stack(StackSettings(folder / "stack", Ports(*free_ports(5)), jars=jars, encoder=encoder))
    try:
        yield made
    finally:
        made.down()
        if (kept := os.environ.get("E2E_LOGS")) and made.settings.logs.exists():
            shutil.copytree(made.settings.logs, Path(kept) / folder.name, dirs_exist_ok=True)
        made.clean()


def say(text: str) -> None:
    """What was compared and hit; shown by `pytest -s`, and beside a failure."""
    print(text)  # noqa: T201 - its job


def eventually(true: Callable[[], bool], *, within_s: float, what: str | Callable[[], str]) -> float:
    """Seconds until it was so; an unavailable service is one that is not so yet."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(Unavailable):
            if true():
                return time.monotonic() - began
        if time.monotonic() - began > within_s:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {within_s:.0f} s: {said}")
        time.sleep(0.02)


def position(stack: Stack) -> str:
    """Where the database is now: everything committed before is at or below."""
    return str(stack.sql("SELECT pg_current_wal_lsn()::text")[0][0])


def lsn(text: str) -> int:
    """A position as a number, by Postgres' own spelling."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def wait_arrived(stack: Stack, api: Api, within_s: float = ARRIVAL_SECONDS) -> float:
    """Until everything committed by now can be found: markers in every partition, and no lag.

    The markers are written in one transaction over all tables, each after everything else in its
    table's topic. Returns the seconds it took.
    """
    nonce = f"mark {time.time_ns()}"
    with stack.postgres.connect() as connection, connection.transaction():
        connection.execute(
            "INSERT INTO articles SELECT id, %(n)s, %(n)s, 'marker', 'en', true, now()"
            " FROM generate_series(%(a)s::bigint, %(z)s::bigint) id"
            " ON CONFLICT (id) DO UPDATE SET title = excluded.title, body = excluded.body",
            {"n": nonce, "a": MARKERS[0], "z": MARKERS[-1]},
        )
        connection.execute(
            "INSERT INTO products SELECT id, %(n)s, %(n)s, 'marker', 1, 1, now()"
            " FROM generate_series(%(a)s::bigint, %(z)s::bigint) id"
            " ON CONFLICT (id) DO UPDATE SET name = excluded.name, description = excluded.description",
            {"n": nonce, "a": MARKERS[0], "z": MARKERS[-1]},
        )
        connection.execute(
            "INSERT INTO orders SELECT id, id, 1, %(n)s, null, 1, now()"
            " FROM generate_series(%(a)s::bigint, %(z)s::bigint) id"
            " ON CONFLICT (id) DO UPDATE SET status = excluded.status",
            {"n": nonce, "a": MARKERS[0], "z": MARKERS[-1]},
        )
        connection.execute(
            "INSERT INTO customers SELECT id, %(n)s, 'e', 'c', now()"
            " FROM generate_series(%(a)s::bigint, %(z)s::bigint) id"
            " ON CONFLICT (id) DO UPDATE SET name = excluded.name",
            {"n": nonce, "a": MARKERS[0], "z": MARKERS[-1]},
        )
    began = time.monotonic()

    def shown(document: str, key: int) -> bool:
        found = api.document(document, key)
        return found is not None and found["manifest"]["title"] == nonce

    def ordered(key: int) -> bool:
        rows = api.state("orders_by_customer", key)["rows"]
        return any(row["status"] == nonce for row in rows)

    waiting: list[tuple[Callable[..., bool], tuple[Any, ...]]] = [
        *((shown, (document, key)) for document in ("articles", "products") for key in MARKERS),
        *((ordered, (key,)) for key in MARKERS),
    ]
    for there, arguments in waiting:
        left = within_s - (time.monotonic() - began)
        eventually(
            lambda there=there, arguments=arguments: there(*arguments),  # type: ignore[misc]
            within_s=left,
            what=lambda arguments=arguments: f"marker {arguments}; {api.freshness()}",  # type: ignore[misc]
        )
    eventually(
        lambda: all(api.freshness()[lag] == 0 for lag in ("index_lag_ms", "state_lag_ms")),
        within_s=max(5.0, within_s - (time.monotonic() - began)),
        what=lambda: f"the lag is not 0: {api.freshness()}",
    )
    return time.monotonic() - began


@contextlib.contextmanager
def consumer(stack: Stack) -> Iterator[Consumer]:
    made = Consumer(
        {
            "bootstrap.servers": stack.brokers,
            "group.id": "test-reader",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "log_level": 0,
            "fetch.wait.max.ms": 10,  # what is asked of it next waits behind an open fetch
        }
    )
    try:
        yield made
    finally:
        made.close()


def read_topic(stack: Stack, topic: str) -> Iterator[Any]:
    """Every message of a topic that is there now, each partition in order."""
    with consumer(stack) as reader:
        partitions = reader.list_topics(topic, timeout=10).topics[topic].partitions
        for number in sorted(partitions):
            yield from _read_partition(reader, topic, number)


def _read_partition(reader: Consumer, topic: str, number: int) -> Iterator[Any]:
    low, high = reader.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
    if low == high:
        return
    reader.assign([TopicPartition(topic, number, low)])
    deadline = time.monotonic() + 60.0
    while (at := max(low, reader.position([TopicPartition(topic, number)])[0].offset)) < high:
        assert time.monotonic() < deadline, f"{topic}[{number}] cannot be read up to {high}"
        # Not more than there can be: it would wait for them.
        for message in reader.consume(min(1000, high - at), 0.5):
            error = message.error()
            assert error is None, error
            offset = message.offset()
            assert offset is not None
            if offset < high:
                yield message


def raw_end(stack: Stack, table: str) -> int:
    """The offset after the last record of a raw topic."""
    with consumer(stack) as reader:
        topic = TopicPartition(f"{stack.settings.prefix}.{table}", 0)
        return int(reader.get_watermark_offsets(topic, timeout=10)[1])


def committed(stack: Stack, group: str) -> dict[tuple[str, int], int]:
    """What a consumer group has committed: topic and partition to the next offset."""
    admin = AdminClient({"bootstrap.servers": stack.brokers, "log_level": 0})
    found = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(10)
    return {(one.topic, one.partition): one.offset for one in found.topic_partitions if one.offset >= 0}


def lag(stack: Stack, group: str) -> int:
    """Records that a group has yet to commit, of the partitions it has committed any of."""
    with consumer(stack) as reader:
        return sum(
            reader.get_watermark_offsets(TopicPartition(*where), timeout=10)[1] - offset
            for where, offset in committed(stack, group).items()
        )


def groups(stack: Stack) -> dict[str, str]:
    """The consumer groups of the worker: what each is for."""
    app = stack.settings.app
    return {
        "resolve": f"{app}-resolve",
        "articles": f"{app}-index-articles-g1",
        "products": f"{app}-index-products-g1",
    }


@dataclass(frozen=True, slots=True)
class Launched:
    """A worker that will kill itself, and how it ended."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def gone(self) -> bool:
        return self.process.poll() is not None

    def signal(self) -> int | None:
        """The signal that ended it; None if it ended otherwise."""
        code = self.process.poll()
        return -code if code is not None and code < 0 else None

    def said(self) -> str:
        return f"exit {self.process.poll()}\n{tail(self.log)}"


def launch(stack: Stack, failpoint: str) -> Launched:
    """Start tailrace so that it kills itself at that passing of a failpoint; does not wait."""
    os.environ["TAILRACE_FAILPOINT"] = failpoint
    try:
        assert stack.tailrace.launch()
    finally:
        del os.environ["TAILRACE_FAILPOINT"]
    # Kept by whoever started it: how it ended is known to its parent alone.
    pid = json.loads((stack.settings.directory / "run" / "tailrace.json").read_text(encoding="utf-8"))["pid"]
    return Launched(children[pid], stack.tailrace.log)


def members(stack: Stack, group: str) -> int:
    """Members of a consumer group, as the broker knows them."""
    admin = AdminClient({"bootstrap.servers": stack.brokers, "log_level": 0})
    return len(admin.describe_consumer_groups([group])[group].result(10).members)


def at_work(stack: Stack, group: str) -> int:
    """Those of them that have partitions."""
    admin = AdminClient({"bootstrap.servers": stack.brokers, "log_level": 0})
    found = admin.describe_consumer_groups([group])[group].result(10).members
    return sum(bool(one.assignment and one.assignment.topic_partitions) for one in found)


def long_text(seed: int, words: int = 900) -> str:
    """A text that Postgres keeps out of line; words that appear nowhere else."""
    made: list[str] = []
    state = seed * 2_654_435_761 + 1
    for number in range(words):
        state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
        made.append(
            f"{state >> 28:09x}" + (".\n\n" if number % 60 == 59 else "." if number % 12 == 11 else "")
        )
    return " ".join(made).replace("\n ", "\n")


def tables() -> Sequence[str]:
    """The captured tables."""
    return TABLES
