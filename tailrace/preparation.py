"""What happens between reading the configuration and starting work, in an order that a crash survives.

Topics are checked, raw topics compared with what is known of them, generations planned and made.
What a kill between two writes leaves, the next start completes: a generation is recorded, then its
collection made, then the pointer to it written, and the alias follows the pointer. A record whose group
has never committed is one whose collection is yet to be made. What does not answer is left to the keeper.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from connectors.identity import Identity
from connectors.mariadb import read_mariadb_identity
from connectors.mariadb_connection import is_mariadb_dsn
from connectors.postgres import read_identity
from core.errors import ConfigurationError, TransientError
from core.keys import TableId
from core.secret import Secret
from core.settings import KafkaLog, QdrantIndex, Settings, Source
from core.telemetry import logger
from core.topics import (
    alias_name,
    generations_topic,
    index_group,
    raw_topic,
    required_topics,
    resolve_group,
    sources_topic,
    state_topic,
)
from embed.index import Index
from ingest.generation_plan import owned_collections
from ingest.generations import Frozen, Generation, Record, Registry, dropped, encode_record, lost
from ingest.registry import RegistryTail, read_registry, write_registry
from ingest.sources import Observed, decode_source, doubt, encode_source, settle
from ingest.start_plan import Found, plan_generations
from ingest.topic_plan import plan_topics, refuse_wrong_topics
from ingest.topics_admin import TopicsAdmin
from tailrace.rewind import make

log = logger(__name__)

_AFTER_A_FAILOVER: Final = (
    "nothing where the connector's slot was kept (Postgres 17: slot.failover); else a new snapshot by the"
    " connector, then `tailrace resync` for this topic"
)


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
    """Epochs by raw topic, after each was found to be the topic we know, of the database we know."""
    admin, sources = TopicsAdmin(brokers), sources_topic(settings.app)
    recorded = await read_registry(brokers, sources)
    wanted = {table.source for table in settings.tables()}
    asked = [asyncio.to_thread(identity_of, name, settings.sources[name]) for name in sorted(wanted)]
    identities = dict(zip(sorted(wanted), await asyncio.gather(*asked), strict=True))
    epochs, fresh = {}, []
    for table in settings.tables():
        topic = raw_topic(settings.sources[table.source].prefix, table.table)
        value = recorded.get(topic.encode())
        known = decode_source(value) if value is not None else None
        found = observe(settings, admin, topic, table, identities[table.source])
        record = settle(known, found)
        if (doubtful := doubt(known, found)) is not None:
            log.warning(doubtful, topic=topic, todo=_AFTER_A_FAILOVER)
        if record != known:
            fresh.append(encode_source(record))
        epochs[topic] = record.epoch
    # A resync may have begun since: its record is not to be overwritten.
    now = await read_registry(brokers, sources) if fresh else {}
    await write_registry(brokers, sources, [one for one in fresh if now.get(one[0]) == recorded.get(one[0])])
    return epochs


def identity_of(name: str, source: Source) -> Identity:
    """The database behind this source, now. Unknown where it cannot be asked: a worker needs none."""
    if source.database is None:
        log.info(
            "that the database is still the same cannot be told",
            source=name,
            todo=f"set sources.{name}.database",
        )
        return Identity()
    try:
        dsn = Secret(source.database).reveal()
        return read_mariadb_identity(dsn) if is_mariadb_dsn(dsn) else read_identity(dsn)
    except (TransientError, ConfigurationError) as error:
        log.warning("that the database is still the same cannot be told", source=name, why=str(error))
        return Identity()


async def read_epochs(settings: Settings, brokers: Sequence[str]) -> dict[str, int]:
    """Epochs as workers have recorded them; topics that no worker has read yet are left out."""
    recorded = await read_registry(brokers, sources_topic(settings.app))
    found = {record.topic: record.epoch for record in map(decode_source, recorded.values())}
    topics = [raw_topic(settings.sources[t.source].prefix, t.table) for t in settings.tables()]
    return {topic: found[topic] for topic in topics if topic in found}


def observe(
    settings: Settings, admin: TopicsAdmin, topic: str, table: TableId, identity: Identity
) -> Observed:
    """One raw topic of this database, and what was made of it, as they are now."""
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
        server=identity.server,
        timeline=identity.timeline,
    )


async def settle_generations(
    settings: Settings, brokers: Sequence[str], index: Index, frozen: Mapping[str, Frozen], now: int
) -> tuple[tuple[Generation, ...], tuple[str, ...]]:
    """Those that answer, made where they did not exist, and what to tell the operator. `now`: Unix ms.

    One of the others that cannot be made or opened here is no reason to stop them.
    """
    app, topic = settings.app, generations_topic(settings.app)
    registry = await read_generations(app, brokers)
    stored = index.collections()
    covered = _covered(app, brokers, registry, stored)
    gone = {
        (one.document, one.number)
        for one in registry.running()
        if one.collection(app) not in stored and covered.get((one.document, one.number))
    }
    if isinstance(settings.index, QdrantIndex):
        refuse_elsewhere(app, gone, TopicsAdmin(brokers).members)
    plan = plan_generations(frozen, Found(registry, stored, gone, app, now, covered))
    await write_registry(brokers, topic, [encode_record(one) for one in plan.make])
    pointed = {(pointer.document, pointer.live) for pointer in plan.point}
    for one in plan.run:
        if (one.document, one.number) in pointed:
            await make(settings, brokers, index, one)
    wishes: list[Record] = [*plan.point, *map(dropped, plan.drop), *map(lost, plan.lose)]
    await write_registry(brokers, topic, [encode_record(one) for one in wishes])
    registry = await read_generations(app, brokers)
    answering = [found for name in frozen if (found := registry.answering(name)) is not None]
    for one in answering:
        await make(settings, brokers, index, one)
    _point_and_drop(app, index, registry, frozen)
    return tuple(answering), tuple(plan.said)


def _covered(
    app: str, brokers: Sequence[str], registry: Registry, stored: Sequence[str]
) -> dict[tuple[str, int], int]:
    """How far each group has read the log, of documents that lack a collection.

    A group that has come somewhere would not read the log again from its beginning.
    """
    doubtful = {one.document for one in registry.running() if one.collection(app) not in stored}
    if not doubtful:
        return {}
    admin = TopicsAdmin(brokers)
    return {
        (one.document, one.number): sum(admin.committed(index_group(app, one.document, one.number)).values())
        for one in registry.generations
        if one.document in doubtful and one.status != "dropped"
    }


def refuse_elsewhere(app: str, gone: Collection[tuple[str, int]], members: Callable[[str], int]) -> None:
    """Another process has what is not found here: a start that built it anew would take half of its rows.

    `gone`: generations (document, number); `members`: consumers of a group. Only where the index is a
    server: a folder has one owner, whose own session may not have ended yet. Raises ConfigurationError.
    """
    for document, number in sorted(gone):
        found = members(index_group(app, document, number))
        if found:
            raise ConfigurationError(
                f"document {document}: the index of generation {number} is not here, and {found} consumers"
                " follow the log for it: they look at another store than this process. Correct index.url; if"
                " the index is lost, stop the other workers, wait for ingest.session_seconds, start again"
            )


def _point_and_drop(app: str, index: Index, registry: Registry, configured: Mapping[str, Frozen]) -> None:
    """Aliases that point at nothing that is ours, and indexes of documents that are no longer configured.

    What a log now gone has left is read by no question, and its marks compare with nothing. Everything else
    waits for the worker, which knows how far each generation has come.
    """
    stored = index.collections()
    for document in configured:
        alias, answering = alias_name(app, document), registry.answering(document)
        ours = [one.collection(app) for one in registry.of(document)]
        target = index.alias(alias)
        if answering is None or (target in stored and target in ours):
            continue
        if target in stored:
            log.warning("no generation owns what the alias points at: it moves", alias=alias, was=target)
        index.point(alias, answering.collection(app))
    for one in registry.generations:
        if one.document not in configured and one.status == "dropped" and one.collection(app) in stored:
            index.drop(one.collection(app))


async def read_generations(app: str, brokers: Sequence[str]) -> Registry:
    """Everything that the generations topic says now."""
    tail = RegistryTail(app, brokers)
    await tail.start()
    await tail.stop()
    return tail.registry


def forget_strays(app: str, index: Index, run: Sequence[Generation]) -> None:
    """Drop collections of these documents that no running generation owns: what a log now gone left behind.

    `run` names every configured document. Nothing else in the index is touched.
    """
    keep = {generation.collection(app) for generation in run}
    documents = {generation.document for generation in run}
    for name in owned_collections(app, documents, index.collections()):
        if name not in keep:
            log.warning("dropping a collection that no generation owns", collection=name)
            index.drop(name)
