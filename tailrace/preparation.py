"""What happens between reading the configuration and starting work, in an order that a crash survives.

Topics are checked, raw topics compared with what is known of them, generations planned and made.
Records are written after the thing they speak of exists: a collection without a record is made
again, a record without a collection is a new generation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.keys import TableId
from core.settings import KafkaLog, Settings
from core.telemetry import logger
from core.topics import (
    alias_name,
    generations_topic,
    raw_topic,
    required_topics,
    resolve_group,
    sources_topic,
    state_topic,
)
from embed.index import Index
from ingest.generations import (
    Frozen,
    Generation,
    decode_generation,
    dropped,
    encode_generation,
    plan_generations,
)
from ingest.registry import read_registry, write_registry
from ingest.sources import Observed, decode_source, encode_source, settle
from ingest.topics_admin import TopicsAdmin, plan_topics, refuse_wrong_topics

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a worker may start with."""

    epochs: Mapping[str, int]
    """By raw topic."""
    generations: tuple[Generation, ...]
    said: tuple[str, ...]


def check_topics(settings: Settings) -> None:
    """Raises ConfigurationError that names every wrong topic. The embedded log makes its own."""
    if isinstance(settings.log, KafkaLog):
        live = TopicsAdmin(settings.log.brokers).live()
        refuse_wrong_topics(plan_topics(required_topics(settings), live))


async def settle_sources(settings: Settings, brokers: Sequence[str]) -> dict[str, int]:
    """Epochs by raw topic, after each was found to be the topic we know."""
    admin = TopicsAdmin(brokers)
    recorded = await read_registry(brokers, sources_topic(settings.app))
    epochs, fresh = {}, []
    for table in settings.tables():
        topic = raw_topic(settings.sources[table.source].prefix, table.table)
        value = recorded.get(topic.encode())
        known = decode_source(value) if value is not None else None
        record = settle(known, observe(settings, admin, topic, table))
        if known is None:
            fresh.append(encode_source(record))
        epochs[topic] = record.epoch
    await write_registry(brokers, sources_topic(settings.app), fresh)
    return epochs


async def read_epochs(settings: Settings, brokers: Sequence[str]) -> dict[str, int]:
    """Epochs as workers have recorded them; topics that no worker has read yet are left out."""
    recorded = await read_registry(brokers, sources_topic(settings.app))
    found = {record.topic: record.epoch for record in map(decode_source, recorded.values())}
    topics = [raw_topic(settings.sources[t.source].prefix, t.table) for t in settings.tables()]
    return {topic: found[topic] for topic in topics if topic in found}


def observe(settings: Settings, admin: TopicsAdmin, topic: str, table: TableId) -> Observed:
    """One raw topic and what was made of it, as they are now."""
    state = state_topic(settings.app, table)
    bounds = admin.bounds([topic, state])
    mine = [b for (name, _), b in bounds.items() if name == topic]
    live = admin.describe(topic)
    return Observed(
        topic=topic,
        topic_id=live.topic_id,
        partitions=live.partitions,
        start=mine[0].start,
        end=mine[0].end,
        committed=admin.committed(resolve_group(settings.app)).get((topic, 0)),
        state_empty=all(b.end == 0 for (name, _), b in bounds.items() if name == state),
    )


async def settle_generations(
    settings: Settings,
    brokers: Sequence[str],
    index: Index,
    frozen: Mapping[str, Frozen],
) -> tuple[tuple[Generation, ...], tuple[str, ...]]:
    """Generations to run, made where they did not exist, and what to tell the operator."""
    topic = generations_topic(settings.app)
    recorded = await recorded_generations(settings.app, brokers)
    plan = plan_generations(frozen, recorded, index.collections(), settings.app)
    for generation in plan.make:
        collection = generation.collection(settings.app)
        index.create(collection, generation.frozen.dimensions)
        index.point(alias_name(settings.app, generation.document), collection)
    await write_registry(brokers, topic, [encode_generation(generation) for generation in plan.make])
    for generation in plan.drop:
        index.drop(generation.collection(settings.app))
    await write_registry(brokers, topic, [encode_generation(dropped(g)) for g in plan.drop])
    return plan.run, plan.said


async def recorded_generations(app: str, brokers: Sequence[str]) -> list[Generation]:
    """Every generation ever recorded, in order of its number."""
    values = (await read_registry(brokers, generations_topic(app))).values()
    return sorted((decode_generation(v) for v in values), key=lambda g: (g.document, g.number))


def forget_strays(app: str, index: Index, run: Sequence[Generation]) -> None:
    """Drop collections of ours that no running generation owns: what a log that is gone left behind."""
    owned = {generation.collection(app) for generation in run}
    for name in index.collections():
        if name.startswith(f"{app}-") and name not in owned:
            log.warning("dropping a collection that no generation owns", collection=name)
            index.drop(name)
