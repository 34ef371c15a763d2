"""The resolve stage alone on a real broker: raw events of 1 KB to acknowledged state records.

One worker without index agents starts over a backlog. The clock runs from the first batch that it
has resolved to the last that stands in the state topic, so that joining the group does not count.
"""

import asyncio
import json
import math
import time
from collections.abc import Sequence
from typing import Any, Final

import uvloop
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from core.settings import Settings
from core.state_reader import StateReader
from core.topics import required_topics, state_topic
from core.version import version
from embed.pace import Priority
from ingest.worker import Worker

EVENTS: Final = 100_000
KEYS: Final = 20_000
DEADLINE_SECONDS: Final = 90.0
LOOK_SECONDS: Final = 0.05


def run(brokers: Sequence[str], events: int = EVENTS) -> dict[str, object]:
    """`events/s`, `lost` (keys whose newest event is not their row) and the CPU time of one event."""
    return uvloop.run(_run(list(brokers), events))


def _settings(app: str, brokers: list[str]) -> Settings:
    return Settings.model_validate(
        {
            "app": app,
            "log": {"kind": "kafka", "brokers": brokers},
            "index": {"kind": "memory"},
            "encoder": {"kind": "hashing"},
            "sources": {"shop": {"prefix": app, "tables": ["public.articles"]}},
        }
    )


def _event(number: int) -> tuple[bytes, bytes]:
    row = {"id": number % KEYS, "title": f"Article {number}", "body": f"{number:08d} " * 60, "stock": number}
    source = {
        "version": "3.6.3.Final",
        "connector": "postgresql",
        "name": "shop",
        "ts_ms": 1_780_000_000_000 + number,
        "snapshot": "false",
        "db": "shop",
        "sequence": json.dumps([str(number * 100 + 50), str(number * 100 + 99)]),
        "schema": "public",
        "table": "articles",
        "txId": number,
        "lsn": number * 100 + 99,
    }
    value = {"before": None, "after": row, "source": source, "op": "u", "ts_ms": 1_780_000_000_000 + number}
    return json.dumps({"id": number % KEYS}).encode(), json.dumps(value).encode()


async def _fill(brokers: list[str], topic: str, events: int) -> int:
    """Bytes of one value, on average."""
    producer = AIOKafkaProducer(bootstrap_servers=brokers, max_batch_size=1 << 19, linger_ms=20)
    await producer.start()
    size = 0
    for first in range(0, events, 5000):
        sent = []
        for number in range(first, min(first + 5000, events)):
            key, value = _event(number)
            size += len(value)
            sent.append(await producer.send(topic, value, key, partition=0))
        await asyncio.gather(*sent)
    await producer.stop()
    return size // events


async def _run(brokers: list[str], events: int) -> dict[str, object]:
    app = f"bench{int(time.time())}"
    settings = _settings(app, brokers)
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    specs = required_topics(settings)
    try:
        await admin.create_topics(
            [NewTopic(one.name, one.partitions, 1, topic_configs=dict(one.configs())) for one in specs]
        )
        (raw,) = (one.name for one in specs if one.name == f"{app}.public.articles")
        size = await _fill(brokers, raw, events)
        return {"bytes of an event": size, **await _play(settings, brokers, raw, events)}
    finally:
        await admin.delete_topics([one.name for one in specs])
        await admin.close()


async def _play(settings: Settings, brokers: list[str], raw: str, events: int) -> dict[str, Any]:
    state = state_topic(settings.app, settings.tables()[0])
    failed: list[BaseException] = []
    worker = Worker(settings, brokers, {raw: 0}, [], on_fatal=failed.append, priority=Priority())
    try:
        joining = time.perf_counter()
        await worker.start()
        first, last = await _reached(worker, state, 1, failed), version(0, events - 1)
        joined, cpu = time.perf_counter(), time.process_time()
        await _reached(worker, state, last, failed)
        took, used = time.perf_counter() - joined, time.process_time() - cpu
    finally:
        await worker.stop()
    done = last - first
    return {
        "events/s": done / took,
        "cpu us an event": used / done * 1e6,
        "join, s": joined - joining,
        "events": done,
        "lost": await _lost(brokers, state, events),
    }


async def _reached(worker: Worker, state: str, wanted: int, failed: list[BaseException]) -> int:
    """The version that stands in every state partition, once it is `wanted` or more."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            table = worker.table(state)
            marks = [table.progress[n].version for n in table.progress]
            if failed:
                raise failed[0]
            reached = min(marks, default=-math.inf)
            if reached >= wanted:
                return int(reached)
            await asyncio.sleep(LOOK_SECONDS)


async def _lost(brokers: list[str], state: str, events: int) -> int:
    """By a reader of its own, from the first record on."""
    failed: list[BaseException] = []
    reader = StateReader(brokers, [state], on_rows=lambda *_: None, on_error=failed.append)
    await reader.start()
    await reader.caught_up()
    found = {row.key.columns[0][1]: row for row in reader.tables[state].rows()}
    await reader.stop()
    lost = 0
    for key in range(min(KEYS, events)):
        newest = key + (events - 1 - key) // KEYS * KEYS
        row = found.get(key)
        lost += row is None or row.version != version(0, newest) or row.columns["stock"] != newest
    return lost
