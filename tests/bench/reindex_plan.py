"""`tailrace reindex plan` on a real broker: how long it takes, and how near it comes to the build.

A topic of 100,000 rows of ten chunks is planned by sample and exactly, as the command, process start
included. Minutes are compared on a small topic, which is planned and built in turns.
"""

import asyncio
import itertools
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import yaml
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from core.keys import RowKey
from core.settings import Cut, Settings
from core.state import StateRow, encode_state
from core.topics import generations_topic, required_topics, state_topic
from embed.encoder import Encoder, PausingEncoder
from embed.pace import PacedEncoder, Spent, Turns
from ingest.generations import Frozen, Generation, Report, encode_record
from tailrace.reindex.planning import plan_reindex
from tailrace.reindex.rates import RECORD_SECONDS
from tests.bench.path import DOCUMENT, TABLE, articles, default_model, ingest_path
from tests.bench.replay import Cheap
from tests.bench.rounds import quiet_rounds

ROWS: Final = 100_000
SMALL: Final = 256
"""Two batches."""

BATCH: Final = 128
ROUNDS: Final = 3
POOL: Final = 300
PARAGRAPHS: Final = 35
"""Of a text at most; half of it on average: ten chunks."""

CHILD: Final = "import typer; from tailrace.cli.reindex_plan import plan; typer.run(plan)"

Records = Iterator[tuple[bytes, bytes]]


def run(brokers: Sequence[str], rows: int = ROWS, rounds: int = ROUNDS) -> dict[str, object]:
    """Seconds of both plans, how far the sample is from the whole, and minutes planned for one built."""
    encoder = default_model().encoder()
    chance = random.Random(31)  # noqa: S311 - the same rows every time
    pool = [str(one["body"]) for one in articles(chance, POOL, most_paragraphs=PARAGRAPHS)]
    try:
        with TemporaryDirectory(prefix="tailrace-bench-") as folder:
            found = _large(list(brokers), Path(folder), encoder, pool, rows)
            return {**found, **_small(list(brokers), Path(folder), encoder, pool, rounds)}
    finally:
        encoder.close()


def records(pool: Sequence[str], rows: int) -> Records:
    """Rows whose paragraphs are all different, from texts of which there are few."""
    for number in range(rows):
        paragraphs = pool[number % len(pool)].split("\n\n")
        body = "\n\n".join(f"{text} {number}-{place}." for place, text in enumerate(paragraphs))
        columns: dict[str, Any] = {"id": number, "title": f"Article {number}", "body": body, "category": "a"}
        yield encode_state(StateRow(RowKey.of({"id": number}), number + 1, columns))


@contextmanager
def topics(
    brokers: list[str], folder: Path, made: Records, encoder: PausingEncoder, fingerprint: str = ""
) -> Iterator[Settings]:
    """An app of its own, whose state topic holds these records.

    Its live generation has another cut, and vectors of this encoder unless another fingerprint is given.
    """
    app = f"plan{time.time_ns() // 1_000_000}"
    (folder / app).mkdir()
    settings = Settings.model_validate(
        {
            "app": app,
            "log": {"kind": "kafka", "brokers": brokers},
            "index": {"kind": "edge", "path": str(folder / app / "index")},
            "sources": {"shop": {"prefix": app, "tables": ["public.articles"]}},
            "documents": {"articles": DOCUMENT.model_dump(mode="json")},
        }
    )
    admin = AdminClient({"bootstrap.servers": ",".join(brokers), "log_level": 0})
    specs = required_topics(settings)
    new = [NewTopic(one.name, one.partitions, 1, config=dict(one.configs())) for one in specs]
    for future in admin.create_topics(new).values():
        future.result(30)
    try:
        old = DOCUMENT.model_copy(update={"cut": Cut(min_tokens=40, max_tokens=160)})
        rows = _fill(brokers, state_topic(app, TABLE), settings.ingest.state_partitions, made)
        _say_live(
            brokers,
            settings,
            Frozen(old, settings.encoder, fingerprint or encoder.fingerprint, encoder.dimensions),
            rows,
        )
        yield settings
    finally:
        for future in admin.delete_topics([one.name for one in specs]).values():
            future.result(30)


def _fill(brokers: list[str], topic: str, partitions: int, made: Records) -> dict[int, int]:
    """Records by partition."""
    producer = Producer(
        {"bootstrap.servers": ",".join(brokers), "linger.ms": 20, "batch.size": 1 << 18, "log_level": 0}
    )
    counts = dict.fromkeys(range(partitions), 0)
    for number, (key, value) in enumerate(made):
        while True:
            try:
                producer.produce(topic, value, key, number % partitions)
                break
            except BufferError:
                producer.poll(0.1)
        counts[number % partitions] += 1
        producer.poll(0)
    assert producer.flush(60) == 0
    return counts


def _say_live(brokers: list[str], settings: Settings, frozen: Frozen, rows: dict[int, int]) -> None:
    total = sum(rows.values())
    producer = Producer({"bootstrap.servers": ",".join(brokers), "log_level": 0})
    for record in (
        Generation("articles", 1, "running", frozen),
        Report("articles", 1, "bench", 1, documents=total, chunks=12 * total, offsets=rows),
    ):
        key, value = encode_record(record)
        producer.produce(generations_topic(settings.app), value, key, 0)
    assert producer.flush(30) == 0


def _large(
    brokers: list[str], folder: Path, encoder: PausingEncoder, pool: Sequence[str], rows: int
) -> dict[str, object]:
    made = records(pool, rows)
    some = list(itertools.islice(records(pool, rows), 50))
    with topics(brokers, folder, made, encoder) as settings:
        file = folder / "tailrace.yaml"
        file.write_text(yaml.safe_dump(settings.model_dump(mode="json")), encoding="utf-8")
        sampled, sample_s = _command(file)
        exact, exact_s = _command(file, "--exact")
    documents = exact["estimate"]["documents"]["value"]
    assert documents == rows
    return {
        "sample, s": sample_s,
        "exact, s": exact_s,
        "rows": rows,
        "chunks of a row": exact["estimate"]["chunks"]["value"] / documents,
        "bytes of a row": sum(len(value) for _, value in some) / len(some),
        "tokens, sample by exact": _by(sampled, exact, "tokens"),
        "chunks, sample by exact": _by(sampled, exact, "written"),
        "texts, sample by exact": _by(sampled, exact, "texts"),
    }


def _by(sampled: dict[str, Any], exact: dict[str, Any], name: str) -> float:
    return float(sampled["estimate"][name]["value"] / exact["estimate"][name]["value"])


def _command(file: Path, *more: str) -> tuple[dict[str, Any], float]:
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, "articles", "--config", str(file), "--json", *more],
        check=True,
        capture_output=True,
        timeout=600,
    )
    return json.loads(done.stdout), time.perf_counter() - began


def _small(
    brokers: list[str], folder: Path, encoder: PausingEncoder, pool: Sequence[str], rounds: int
) -> dict[str, object]:
    """Planned by built seconds: with all texts embedded, and of the rest alone."""
    made = list(records(pool, SMALL))
    with topics(brokers, folder, iter(made), encoder, "another model") as settings:

        def play(_number: int) -> tuple[float, float]:
            planned = asyncio.run(plan_reindex(settings, "articles"))
            assert planned.seconds is not None
            assert planned.estimate is not None
            assert planned.rates is not None
            paced = PacedEncoder(encoder, Turns(background=lambda: True), Spent())
            rest = planned.rates.row * SMALL + planned.rates.chunk * planned.estimate.written.value
            # A record's way through Faust is not built here.
            way = RECORD_SECONDS * SMALL
            return (planned.seconds.value - way) / _build(paced, made), (rest - way) / _build(
                Cheap(encoder), made
            )

        played = quiet_rounds(play, rounds)
    return {
        "minutes, planned by built": statistics.median(one for one, _ in played.results),
        "minutes, planned by built, nothing to embed": statistics.median(one for _, one in played.results),
        "rounds": [[round(one, 3), round(two, 3)] for one, two in played.results],
        "rounds repeated": played.repeated,
        "rounds under load": played.noisy,
    }


def _build(encoder: Encoder, made: Sequence[tuple[bytes, bytes]]) -> float:
    """Seconds, into an index of its own."""
    with ingest_path(encoder) as path:
        began = time.perf_counter()
        for at in range(0, len(made), BATCH):
            path.index(made[at : at + BATCH])
        return time.perf_counter() - began
