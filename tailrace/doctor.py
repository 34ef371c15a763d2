"""Looks at each component that the configuration names, and says what is wrong and how to mend it.

Each look is on its own: one that fails does not hide the next.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import httpx2

from connectors.checks import Check
from connectors.inspect import inspect
from connectors.preset import MARIADB_CLASS, MYSQL_CLASS, derived_name, violations
from connectors.rest import ConnectClient
from core.addresses import shown_url
from core.errors import ConfigurationError, TailraceError
from core.secret import Secret
from core.settings import (
    EdgeIndex,
    HashingEncoderSettings,
    KafkaLog,
    Llm,
    QdrantIndex,
    Settings,
)
from core.topics import alias_name, required_topics
from embed.indexes.room import RESERVE
from ingest.topic_plan import plan_topics
from ingest.topics_admin import TopicsAdmin
from tailrace.adapters import build_index, load_encoders
from tailrace.connect import explained
from tailrace.connect_databases import columns_used
from tailrace.connector_names import connector_name

HTTP_SECONDS: Final = 5.0


def examine(settings: Settings) -> Iterator[Check]:
    """One check after the other, in the order of the way of a change."""
    deployed: dict[str, dict[str, str]] = {}
    looks: dict[str, Callable[[], Iterator[Check]]] = {
        "log": lambda: _log(settings),
        "connect": lambda: _connect(settings, deployed),
        "databases": lambda: _databases(settings, deployed),
        "encoder": lambda: _encoder(settings),
        "index": lambda: _index(settings),
        "llms": lambda: _llms(settings),
    }
    for name, look in looks.items():
        try:
            yield from look()
        except TailraceError as error:
            yield Check(name, "fail", str(error), "see the message")


def _log(settings: Settings) -> Iterator[Check]:
    if not isinstance(settings.log, KafkaLog):
        yield Check("log", "ok", "embedded: in this process, gone at exit")
        return
    brokers = ", ".join(settings.log.brokers)
    try:
        live = TopicsAdmin(settings.log.brokers).live()
    except TailraceError as error:
        yield Check("broker", "fail", str(error), f"start Kafka at {brokers}, or correct log.brokers")
        return
    yield Check("broker", "ok", f"{brokers} answers, {len(live)} topics")
    wrong = plan_topics(required_topics(settings), live)
    for change in wrong:
        yield Check(
            f"topic {change.topic}",
            "fail" if change.needed else "warn",
            change.what,
            "run `tailrace topics apply`",
        )
    if not wrong:
        yield Check("topics", "ok", f"{len(required_topics(settings))} as they must be")


def _connect(settings: Settings, deployed: dict[str, dict[str, str]]) -> Iterator[Check]:
    """`deployed` is filled with what Connect runs, by source."""
    if settings.connect is None:
        if isinstance(settings.log, KafkaLog):
            yield Check(
                "connect",
                "warn",
                "no connect.url: answers cannot name a database position",
                "set connect.url to Kafka Connect's REST address",
            )
        return
    asked = settings.connect
    client = ConnectClient(asked.url, login=asked.login(), timeout=asked.timeout_seconds, patience=1.0)
    with client:
        version = client.root().get("version", "?")
        yield Check("connect", "ok", f"{client.shown} answers, version {version}")
        plugins = client.plugins()
        debezium = [name for name in plugins if name.startswith("io.debezium.")]
        yield (
            Check("connect plugins", "ok", ", ".join(debezium))
            if debezium
            else Check(
                "connect plugins",
                "fail",
                "no Debezium connector is installed",
                "put the connector's jars under a folder of plugin.path and restart Connect",
            )
        )
        for name, source in settings.sources.items():
            if source.connector is None:
                continue
            try:
                connector = connector_name(source.connector)
            except ConfigurationError as error:
                yield Check(
                    f"connector of {name}", "fail", str(error), "mend the file, or name the connector"
                )
                continue
            config = client.config(connector)
            yield from _connector(client, connector, config)
            if config is not None:
                deployed[name] = config
                yield from _deployed(f"connector {connector}", config, name, settings)


def _connector(client: ConnectClient, connector: str, config: Mapping[str, str] | None) -> Iterator[Check]:
    title = f"connector {connector}"
    status = client.status(connector)
    if config is None or status is None:
        yield Check(title, "fail", "is not deployed", "deploy it, or correct sources.*.connector")
    elif status.running:
        yield Check(title, "ok", "RUNNING with all tasks")
    elif (found := explained(client, connector, config, status.failure)) is not None:
        fix = f"mend the cause, then `tailrace connect restart {connector}`"
        yield Check(title, "fail", found.cause, found.hint or fix)
    else:
        held = status.state in {"PAUSED", "STOPPED"}
        fix = (
            f"`tailrace connect resume {connector}`" if held else "wait; if it stays so, see the worker's log"
        )
        yield Check(title, "fail", f"is {status.summary}", fix)


def _deployed(title: str, config: dict[str, str], source: str, settings: Settings) -> Iterator[Check]:
    for violation in violations(config, hosts=settings.connect.hosts if settings.connect else None):
        yield Check(f"{title}: {violation.key}", "warn", violation.why, f"set {violation.want}")
    wanted = settings.sources[source]
    equal = {"topic.prefix": wanted.prefix}
    if config.get("connector.class") not in {MARIADB_CLASS, MYSQL_CLASS}:  # their rows come whole
        equal["unavailable.value.placeholder"] = wanted.placeholder
    for key, value in equal.items():
        if config.get(key) != value:
            yield Check(
                f"{title}: {key}",
                "fail",
                f"is {config.get(key)!r}, and sources.{source} says {value!r}",
                "make them equal: records would be misread",
            )


def _databases(settings: Settings, deployed: dict[str, dict[str, str]]) -> Iterator[Check]:
    for name, source in settings.sources.items():
        if source.database is None:
            continue
        derived = derived_name(source.prefix)
        config = deployed.get(name, {"slot.name": derived, "publication.name": derived})
        if name not in deployed and settings.connect is not None and source.connector is not None:
            yield Check(
                f"database of {name}",
                "warn",
                f"the configuration of {source.connector} is not known: its slot and publication are looked"
                f" for as {derived!r}",
                "see the checks of Connect above",
            )
        indexed = {table: columns_used(settings, f"{name}.{table}") for table in source.tables}
        yield from inspect(
            Secret(source.database).reveal(),
            config,
            indexed=indexed,
            replica_identity_full=source.replica_identity_full,
        )


def _encoder(settings: Settings) -> Iterator[Check]:
    began = time.perf_counter()
    encoders = load_encoders(settings.encoder)
    vector = encoders.query.encode(["Is anybody there?"], kind="query")
    took = time.perf_counter() - began
    said = f"{settings.encoder.kind}: {vector.shape[1]} dimensions, first vector after {took:.2f} s"
    if isinstance(settings.encoder, HashingEncoderSettings):
        yield Check("encoder", "warn", f"{said}; it knows words, not meanings", "use openvino")
    else:
        yield Check("encoder", "ok", said)


def index_room(path: Path, free: int) -> Check:
    """Of the embedded index at `path`, on whose disk so many bytes are free."""
    said = f"the disk of {path} has {free >> 20} MB free"
    if free < RESERVE:
        wanting = f"{said} and a write needs {RESERVE >> 20}: indexing waits, and nothing is lost"
        return Check("index room", "fail", wanting, "make room; indexing then goes on by itself")
    return Check("index room", "ok", said)


def _free(path: Path) -> int:
    """Of its disk, or of where its folder would be made."""
    return shutil.disk_usage(next(one for one in (path, *path.parents) if one.exists())).free


def _index(settings: Settings) -> Iterator[Check]:
    if isinstance(settings.index, EdgeIndex):
        yield index_room(path := Path(settings.index.path).absolute(), _free(path))
    if isinstance(settings.index, EdgeIndex) and (running := _running(settings)) is not None:
        yield running
        return
    index = build_index(settings.index)
    try:
        place = (
            str(settings.index.path)
            if isinstance(settings.index, EdgeIndex)
            else shown_url(settings.index.url)
            if isinstance(settings.index, QdrantIndex)
            else "memory"
        )
        yield Check(
            "index", "ok", f"{settings.index.kind} at {place}, {len(index.collections())} collection(s)"
        )
        dimensions = load_encoders(settings.encoder).query.dimensions
        for document in settings.documents:
            collection = index.alias(alias_name(settings.app, document))
            if collection is None:
                yield Check(
                    f"document {document}", "warn", "has no generation yet", "the first worker makes it"
                )
                continue
            found = index.open(collection)
            counts = found.counts()
            held = f"{collection}: {counts.documents} documents, {counts.chunks} chunks"
            if found.dimensions == dimensions:
                yield Check(f"document {document}", "ok", held)
            else:
                yield Check(
                    f"document {document}",
                    "warn",
                    f"{held}; its vectors have {found.dimensions} dimensions, the encoder gives {dimensions}",
                    "the configured encoder waits for a reindex",
                )
    finally:
        index.close()


def _running(settings: Settings) -> Check | None:
    """What the service says that owns the embedded index; None if none answers."""
    url = f"http://{settings.serve.host}:{settings.serve.port}/health/ready"
    try:
        answer = httpx2.get(url, timeout=HTTP_SECONDS, trust_env=False)
    except httpx2.HTTPError:
        return None
    if answer.is_success:
        return Check("index", "ok", f"owned by the running service, which is ready ({url})")
    return Check("index", "warn", f"owned by the running service, which is not ready yet ({url})", "wait")


def _llms(settings: Settings) -> Iterator[Check]:
    for llm in settings.llms:
        yield _llm(llm)


def _llm(llm: Llm) -> Check:
    headers = {"authorization": f"Bearer {Secret(llm.api_key).reveal()}"} if llm.api_key else {}
    name, url = f"llm {llm.name}", f"{llm.base_url.rstrip('/')}/models"
    shown = shown_url(url)
    try:
        answer = httpx2.get(url, headers=headers, timeout=HTTP_SECONDS)
    except httpx2.HTTPError as error:
        return Check(name, "fail", f"{shown}: {error!r}", "start it, or correct llms.*.base_url")
    if not answer.is_success:
        return Check(name, "fail", f"{shown}: HTTP {answer.status_code}", "check base_url and api_key")
    try:
        names = [str(model["id"]) for model in answer.json()["data"]]
    except (ValueError, LookupError, TypeError):
        return Check(
            name, "fail", f"{shown}: no list of models", "check base_url: it ends where /models follows"
        )
    if llm.model not in names:
        return Check(name, "warn", f"{shown} does not list {llm.model!r}", f"one of {', '.join(names)}")
    return Check(name, "ok", f"{shown_url(llm.base_url)} offers {llm.model}")
