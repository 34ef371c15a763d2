"""A new epoch of a raw topic: every version made from now on outranks every older one.

A kill may fall between any two steps, so the record says first that a resync has begun: no worker
starts until its last step, the record without that mark. Running it again opens yet another epoch.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from core.clock import SystemClock
from core.consumer import away, opening
from core.errors import ConfigurationError, TransientError
from core.failpoint import failpoint
from core.keys import TableId
from core.settings import KafkaLog, Settings, Source
from core.state import Truncate, encode_state
from core.state_reader import StateReader
from core.topics import raw_topic, resolve_group, sources_topic, state_topic
from core.version import epoch_of, version
from ingest.record import RawRecord
from ingest.registry import read_registry, write_registry
from ingest.snapshots import NewestSnapshot
from ingest.sources import Observed, SourceRecord, decode_source, encode_source, resynced
from ingest.topics_admin import TopicsAdmin
from tailrace.configuration import load
from tailrace.preparation import identity_of, observe

SPARE_SECONDS: Final = 5.0
"""Beyond a worker's session: the broker ends it at its own next look."""


PASS_BYTES: Final = 4 << 20
SILENCE_MS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Resync:
    """What will be written."""

    app: str
    brokers: Sequence[str]
    table: TableId
    record: SourceRecord
    start: int
    """Where the worker reads on: at the newest snapshot, or at the first record."""
    partitions: int
    session_seconds: float
    said: str


def plan_resync(config: Path, topic: str) -> Resync:
    """Look, and say what would be done. Raises ConfigurationError for a topic that is not configured."""
    settings = load(config).settings
    if not isinstance(settings.log, KafkaLog):
        raise ConfigurationError("log.kind is embedded: each start is a new epoch already")
    tables = _raw_topics(settings)
    if topic not in tables:
        raise ConfigurationError(
            f"{topic} is no raw topic of this configuration: {', '.join(sorted(tables))}"
        )
    admin = TopicsAdmin(settings.log.brokers)
    table = tables[topic]
    found = observe(settings, admin, topic, table, identity_of(table.source, settings.sources[table.source]))
    records = asyncio.run(read_registry(settings.log.brokers, sources_topic(settings.app)))
    value = records.get(topic.encode())
    known = decode_source(value) if value is not None else None
    # Every record is read for it, which takes a while: only where nothing else tells.
    written = 0
    if known is None and not found.state_empty:
        written = asyncio.run(written_epoch(settings.log.brokers, state_topic(settings.app, table)))
    record = resynced(known, found, written)
    begins = asyncio.run(newest_snapshot(settings.log.brokers, found, settings.sources[table.source], table))
    start, of = (found.start, "") if begins is None else (begins, ", from the newest snapshot on,")
    said = (
        f"{topic}: epoch {record.epoch} begins; records {start} to {found.end}{of} are read again, and rows"
        f" of {table} that they do not tell of are gone"
    )
    if start == found.start > 0:
        said += (
            f"\n{topic} begins at {start}: records before it have been deleted, and rows that only they told"
            " of would be missing. Have the connector take a new snapshot first"
        )
    return Resync(
        settings.app,
        settings.log.brokers,
        tables[topic],
        record,
        start,
        settings.ingest.state_partitions,
        settings.ingest.session_seconds,
        said,
    )


async def newest_snapshot(
    brokers: Sequence[str], found: Observed, source: Source, table: TableId
) -> int | None:
    """The offset at which the newest first snapshot in the raw topic begins. Reads every record of it.

    Raises TransientError if the broker does not answer.
    """
    newest, at = NewestSnapshot(source, table), found.start
    async with opening(brokers, [found.topic], fetch_bytes=PASS_BYTES) as consumer:
        (partition,) = consumer.assignment()
        consumer.seek(partition, at)
        while at < found.end:
            heard = at
            for records in (await consumer.getmany(timeout_ms=SILENCE_MS)).values():
                for one in records:
                    newest.take(
                        RawRecord(found.topic, 0, one.offset, one.timestamp, one.key, one.value, one.headers)
                    )
            at = await consumer.position(partition)  # behind holes too
            if at == heard:
                raise away(brokers, [found.topic], f"no record for {SILENCE_MS / 1000:.0f} s")
        await consumer.stop()
    return newest.start


async def written_epoch(brokers: Sequence[str], topic: str) -> int:
    """The newest epoch of which a state topic tells. Raises as StateReader does."""
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    reader = StateReader(brokers, [topic], on_rows=lambda *_: None, on_error=failed.set_exception)
    await reader.start()
    reading = asyncio.ensure_future(reader.caught_up())
    try:
        await asyncio.wait({reading, failed}, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            failed.result()
        await reading
    finally:
        reading.cancel()
        await reader.stop()
    return epoch_of(reader.tables[topic].newest)


async def _truncate(step: Resync) -> None:
    topic = state_topic(step.app, step.table)
    mark = Truncate(version(step.record.epoch, 0), resolved_at=SystemClock().now_ms())
    key, value = encode_state(mark)
    producer = AIOKafkaProducer(bootstrap_servers=list(step.brokers), acks="all")
    try:
        await producer.start()
        for partition in range(step.partitions):
            await producer.send_and_wait(topic, value, key, partition=partition)
    except KafkaError as error:
        raise away(step.brokers, [topic], repr(error)) from error
    finally:
        await producer.stop()


async def open_epoch(step: Resync) -> None:
    """Write it. TransientError if the broker does not answer, or a worker runs: run it again."""
    group = resolve_group(step.app)
    await _left(step, group)  # before the mark: nothing has changed yet
    sources = sources_topic(step.app)
    await write_registry(step.brokers, sources, [encode_source(replace(step.record, resyncing=True))])
    failpoint("resync_marked")
    await _truncate(step)
    failpoint("resync_truncated")
    TopicsAdmin(step.brokers).reset(group, step.record.topic, {0: step.start})
    failpoint("resync_reset")
    await write_registry(step.brokers, sources, [encode_source(step.record)])


async def _left(step: Resync, group: str) -> None:
    """Until no worker is in the group: one that was just stopped is, for as long as its session."""
    admin = TopicsAdmin(step.brokers)
    deadline = time.monotonic() + step.session_seconds + SPARE_SECONDS
    while members := admin.members(group):
        if time.monotonic() > deadline:
            raise TransientError(
                f"{members} workers are in group {group}: stop them all, and run this again;"
                " nothing was changed"
            )
        await asyncio.sleep(0.5)


def _raw_topics(settings: Settings) -> dict[str, TableId]:
    return {
        raw_topic(settings.sources[table.source].prefix, table.table): table for table in settings.tables()
    }
