"""An index that is older than what was read for it: it was put back from a copy.

What a collection has covered is durable before its records are acknowledged. So where its consumer group
has acknowledged more, nobody would ever read again what lies in between, and the next batch would cover
it. The group is set back to what is covered: versions decide, so what is read twice changes nothing.
Where there is no collection yet, it is set back altogether.
"""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from core.errors import ConfigurationError
from core.keys import TableId
from core.settings import EmbeddedLog, Settings
from core.telemetry import logger
from core.topics import index_group, state_topic
from embed.index import Collection, Index
from ingest.generations import Generation
from ingest.older_index import Gap, Group, gaps, older
from ingest.topics_admin import TopicsAdmin

log = logger(__name__)

SPARE_SECONDS: Final = 5.0
"""Beyond the session of a member that was killed, until its group has none."""

STEP_SECONDS: Final = 0.5


async def rewind(
    settings: Settings, brokers: Sequence[str], index: Index, generations: Sequence[Generation]
) -> None:
    """Before any of these is followed: set back the groups whose index is older, and say so of each.

    Raises ConfigurationError where workers follow the log for such a one, TransientError where the broker
    does not answer, or one of them has just begun to.
    """
    admin = TopicsAdmin(brokers)
    for one in generations:
        name = index_group(settings.app, one.document, one.number)
        topic = state_topic(settings.app, TableId.parse(one.frozen.document.table))
        group = Group(name, partial(admin.committed_of, name, topic))
        collection = await asyncio.to_thread(index.open, one.collection(settings.app))
        missing = await _missing(settings, admin, group, topic, collection)
        if missing:
            offsets = {gap.partition: gap.covered for gap in missing}
            await asyncio.to_thread(admin.reset, name, topic, offsets)
            said = (
                f"document {one.document}: {older(collection.name, name, topic, missing)}; it is read again,"
                " answers are incomplete until it has caught up"
            )
            log.warning(said)  # at once: the next group may end this try, and the next one finds no gap


async def make(settings: Settings, brokers: Sequence[str], index: Index, one: Generation) -> None:
    """Its collection, where there is none; the log is then read for it from its beginning.

    What its group may have acknowledged went into another collection, that of a record which is gone.
    Raises ConfigurationError if one of other dimensions stands there, TransientError as `rewind`.
    """
    name, group = one.collection(settings.app), index_group(settings.app, one.document, one.number)
    stored = await asyncio.to_thread(index.collections)
    # The embedded log ends with the process, and its groups with it.
    if name not in stored and not isinstance(settings.log, EmbeddedLog):
        admin = TopicsAdmin(brokers)
        if await asyncio.to_thread(
            admin.committed, group
        ):  # before it is made: a crash in between costs nothing
            await asyncio.to_thread(admin.forget, [group])
            log.warning("a group of a generation now gone is forgotten", group=group)
    await asyncio.to_thread(index.create, name, one.frozen.dimensions)


async def _missing(
    settings: Settings, admin: TopicsAdmin, group: Group, topic: str, collection: Collection
) -> list[Gap]:
    """And nobody is in the group: a member that was killed is, until its session ends."""
    deadline = time.monotonic() + settings.ingest.session_seconds + SPARE_SECONDS
    while True:
        # Each time anew: another start may have set the group back, and a replica may have been behind.
        missing = await asyncio.to_thread(_gaps, group, topic, collection)
        if not missing:
            return []
        members = await asyncio.to_thread(admin.members, group.name)
        if not members:
            return await asyncio.to_thread(_gaps, group, topic, collection)
        if time.monotonic() > deadline:
            raise ConfigurationError(
                f"{older(collection.name, group.name, topic, missing)}. It has to be read again, which nobody"
                f" may do meanwhile, and {members} workers are in the group: stop all workers of"
                f" {settings.app}, wait for ingest.session_seconds, then start again"
            )
        log.info("waiting for workers to leave", group=group.name, members=members)
        await asyncio.sleep(STEP_SECONDS)


def _gaps(group: Group, topic: str, collection: Collection) -> list[Gap]:
    committed = group.committed()  # before what is covered, which only grows
    return gaps(committed, collection.covered(), topic)
