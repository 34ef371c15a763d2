"""A plan against the embedded broker, beside what a build of the same records then does."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
import typer
import yaml
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner

from core.clock import SystemClock
from core.keys import RowKey, TableId
from core.settings import Settings
from core.state import Progress, Removed, StateRow, Truncate, encode_state, encode_tombstone
from core.topics import generations_topic, required_topics, state_topic
from embed.cutter import Cutter
from embed.encoder import HashingEncoder, Kind
from embed.indexes import bm25
from embed.memory_index import MemoryCollection, MemoryIndex
from embed.model import Change, Removal, Vector
from embed.pipeline import Pipeline
from embed.render import Renderer
from embed.store import VectorStore
from ingest.embedded_log import EmbeddedLog
from ingest.generations import Frozen, Generation, Record, Report, encode_record
from tailrace.cli.reindex_plan import plan
from tailrace.reindex.planning import ReindexPlan, plan_reindex

TABLE = TableId("shop", "public.articles")
PARTITIONS = 2
ROWS = 1200
BATCH = 128

OLD: dict[str, Any] = {
    "table": str(TABLE),
    "title": "{{ title }}",
    "text": "{{ body }}",
    "where": "published",
    "cut": {"min_tokens": 5, "max_tokens": 20},
}
CHANGES: dict[str, tuple[str, dict[str, Any], int]] = {
    "another cut": ("recut", {**OLD, "cut": {"min_tokens": 6, "max_tokens": 34}}, 32),
    "another template": ("recut", {**OLD, "text": "{{ title }}\n\n{{ body }}"}, 32),
    "another encoder": ("reembed", OLD, 48),
    "metadata": ("metadata", {**OLD, "metadata": ["id"]}, 32),
}


@dataclass
class Topic:
    """What stands in the state topic, by partition, and who is live at its end."""

    brokers: list[str]
    records: dict[int, list[tuple[bytes, bytes | None, list[tuple[str, bytes]], Any]]]

    def batches(self) -> Iterator[tuple[int, list[Any]]]:
        """As an index worker receives them: some of each partition in turn."""
        longest = max(map(len, self.records.values()))
        for at in range(0, longest, BATCH):
            for partition, records in self.records.items():
                yield partition, [record for *_, record in records[at : at + BATCH]]


def body(chance: Random) -> str:
    words = ["order", "return", "refund", "parcel", "account", "invoice", "carrier", "delay", "stock"]
    made = [
        "Contact our service for help with this article." if chance.random() < 0.1
        else " ".join([*chance.choices(words, k=9), f"{chance.randrange(10**6)}."]).capitalize()
        for _ in range(chance.randint(1, 12))
    ]  # fmt: skip
    return " ".join(made)


def history(chance: Random) -> Iterator[tuple[int, StateRow | Truncate | Progress | Removed]]:
    """Rows that a truncate ended, drafts, edits, graves, expired graves, and progress between."""
    version = 0

    def row(number: int, *, deleted: bool = False) -> StateRow:
        nonlocal version
        version += 1
        columns: dict[str, Any] = {
            "id": number, "title": f"No {number}", "body": body(chance), "published": number % 10 != 3,
        }  # fmt: skip
        return StateRow(RowKey.of({"id": number}), version, columns, deleted=deleted)

    for number in range(9000, 9400):
        yield number % PARTITIONS, row(number)
    version += 1
    for partition in range(PARTITIONS):
        yield partition, Truncate(version)
    for number in range(ROWS):
        yield number % PARTITIONS, row(number)
        if number % 50 == 0:
            yield number % PARTITIONS, Progress(version)
    for number in chance.sample(range(ROWS), ROWS // 20):
        yield number % PARTITIONS, row(number)
    for number in chance.sample(range(ROWS), ROWS // 20):
        grave = row(number, deleted=True)
        yield number % PARTITIONS, grave
        if number % 3 == 0:
            yield number % PARTITIONS, Removed(grave.key, grave.version)


@pytest.fixture(scope="module")
def topic() -> Iterator[Topic]:
    settings = settings_of([], OLD, 32, Path())
    log = EmbeddedLog()
    brokers = log.start(required_topics(settings))
    records: dict[int, list[Any]] = {partition: [] for partition in range(PARTITIONS)}
    for partition, record in history(Random(4)):  # noqa: S311 - the same rows every time
        made = encode_tombstone(record) if isinstance(record, Removed) else (*encode_state(record), [])
        records[partition].append((*made, record))
    made_topic = Topic(brokers, records)
    asyncio.run(fill(made_topic))
    try:
        yield made_topic
    finally:
        log.stop()


async def fill(topic: Topic) -> None:
    name = state_topic("shop", TABLE)
    producer = AIOKafkaProducer(bootstrap_servers=topic.brokers)
    await producer.start()
    for partition, records in topic.records.items():
        sent = [
            await producer.send(name, value, key, partition=partition, headers=headers)
            for key, value, headers, _ in records
        ]
        await asyncio.gather(*sent)
    await producer.stop()


async def record(topic: Topic, *records: Record) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=topic.brokers)
    await producer.start()
    for one in records:
        key, value = encode_record(one)
        await producer.send_and_wait(generations_topic("shop"), value, key, partition=0)
    await producer.stop()


def settings_of(brokers: Sequence[str], document: dict[str, Any], dimensions: int, folder: Path) -> Settings:
    return Settings.model_validate(
        {
            "app": "shop",
            "log": {"kind": "kafka", "brokers": list(brokers)} if brokers else {"kind": "embedded"},
            "index": {"kind": "memory"},
            "encoder": {"kind": "hashing", "dimensions": dimensions},
            "sources": {"shop": {"prefix": "shop", "tables": ["public.articles"]}},
            "documents": {"articles": document},
            "ingest": {"state_partitions": PARTITIONS, "vector_store": str(folder / "vectors.db")},
        }
    )


class CountingEncoder(HashingEncoder):
    texts = tokens = 0

    def encode(self, texts: Sequence[str], *, kind: Kind) -> Vector:
        self.texts += len(texts)
        self.tokens += sum(self.count(texts))
        return super().encode(texts, kind=kind)


@dataclass
class Built:
    collection: MemoryCollection
    encoder: CountingEncoder
    reused: int = 0


def build(
    topic: Topic, settings: Settings, folder: Path, index: MemoryIndex, *old: MemoryCollection
) -> Built:
    """A generation as the index stage builds it, batch by batch from the first record on."""
    document = settings.documents["articles"]
    encoder = CountingEncoder(settings.encoder.dimensions)  # type: ignore[union-attr]
    name = f"built-{len(index.collections())}"
    index.create(name, encoder.dimensions)
    collection = index.open(name)
    assert isinstance(collection, MemoryCollection)
    made = Built(collection, encoder)
    store = VectorStore(folder / "vectors.db", 1 << 28, SystemClock())
    cutter = Cutter(document.cut, encoder.count, encoder.max_tokens)
    donors = [one for one in old if one.dimensions == encoder.dimensions]
    pipeline = Pipeline("articles", collection, encoder, store, cutter, bm25.documents, donors=lambda: donors)
    renderer = Renderer("articles", document)
    dead_below = {  # as a worker has them from the table of rows, before it meets the first
        partition: max((one.version for *_, one in records if isinstance(one, Truncate)), default=0)
        for partition, records in topic.records.items()
    }
    for partition, records in topic.batches():
        changes: list[Change] = []
        newest = {one.key.canonical: one for one in records if isinstance(one, StateRow)}
        for one in newest.values():
            below = dead_below[partition]
            change = renderer.render(one)
            if one.version < below:
                change = Removal("articles", change.key, change.canonical, below, None, "", 0)
            changes.append(change)
        made.reused += pipeline.apply(changes).reused
        for one in records:
            if isinstance(one, Truncate):
                pipeline.truncate(one.version, "", 0)
    store.close()
    return made


def frozen_of(settings: Settings) -> Frozen:
    encoder = HashingEncoder(settings.encoder.dimensions)  # type: ignore[union-attr]
    return Frozen(settings.documents["articles"], settings.encoder, encoder.fingerprint, encoder.dimensions)


@pytest.mark.parametrize(
    "change, reported",
    [
        ("another cut", True),
        ("another template", False),
        ("another encoder", True),
        ("another encoder", False),
        ("metadata", True),
    ],
)
def test_a_plan_is_near_to_what_the_build_does(
    topic: Topic, change: str, reported: bool, tmp_path: Path
) -> None:
    means, document, dimensions = CHANGES[change]
    old = settings_of(topic.brokers, OLD, 32, tmp_path)
    new = settings_of(topic.brokers, document, dimensions, tmp_path)
    index = MemoryIndex()
    before = build(topic, old, tmp_path, index)
    counts = before.collection.counts()
    offsets = {partition: len(records) for partition, records in topic.records.items()} if reported else {}
    live = Generation("articles", 1, "running", frozen_of(old))
    report = Report(
        "articles", 1, "w", 1, documents=counts.documents, chunks=counts.chunks, bytes=10**6, offsets=offsets
    )

    async def look() -> tuple[ReindexPlan, ReindexPlan]:
        await record(topic, live, report)
        sampled = await plan_reindex(new, "articles", rows=700)
        return sampled, await plan_reindex(new, "articles", exact=True)

    sampled, exact = asyncio.run(look())
    built = build(topic, new, tmp_path, index, before.collection)
    now = built.collection.counts()
    assert (now.documents, now.chunks) != (0, 0)
    for made, source in ((sampled, None), (exact, "every record")):
        assert made.meaning == means
        assert made.looked is not None
        assert made.estimate is not None
        wanted = source or ("the worker's report" if reported else "the sample's density")
        assert made.looked.counted == wanted
        rel = 0.10 if source is None else 0.02
        found = made.estimate
        assert found.documents.value == pytest.approx(now.documents, rel=rel)
        assert found.chunks.value == pytest.approx(now.chunks, rel=rel)
        assert found.texts.value == pytest.approx(built.encoder.texts, rel=rel)
        assert found.tokens.value == pytest.approx(built.encoder.tokens, rel=rel)
        assert made.seconds is not None
        assert made.disk is not None
        assert made.disk.measured is reported
    assert exact.estimate is not None
    assert (exact.estimate.documents.value, exact.estimate.chunks.value) == (now.documents, now.chunks)


def test_the_command_tells_people_and_programs(topic: Topic, tmp_path: Path) -> None:
    old = settings_of(topic.brokers, OLD, 32, tmp_path)
    asyncio.run(record(topic, Generation("articles", 1, "running", frozen_of(old))))
    new = settings_of(topic.brokers, CHANGES["another cut"][1], 32, tmp_path).model_dump(mode="json")
    file = tmp_path / "tailrace.yaml"
    file.write_text(yaml.safe_dump(new), encoding="utf-8")
    app = typer.Typer()
    app.command()(plan)
    shown = CliRunner().invoke(app, ["articles", "--config", str(file)])
    assert shown.exit_code == 0, shown.output
    assert "documents.articles.cut.max_tokens  20" in shown.stdout
    assert "tokens to embed" in shown.stdout
    assert "tailrace reindex start articles" in shown.stderr
    told = CliRunner().invoke(app, ["articles", "--config", str(file), "--json", "--sample", "200"])
    found = json.loads(told.stdout)
    assert found["meaning"] == "recut"
    assert found["estimate"]["tokens"]["value"] > 0
    assert found["estimate"]["tokens"]["error"] > 0


def test_without_a_generation_the_worker_makes_the_first(tmp_path: Path) -> None:
    settings = settings_of([], OLD, 32, tmp_path)
    log = EmbeddedLog()
    try:
        brokers = log.start(required_topics(settings))
        made = asyncio.run(plan_reindex(settings_of(brokers, OLD, 32, tmp_path), "articles"))
    finally:
        log.stop()
    assert (made.meaning, made.estimate) == ("first", None)
