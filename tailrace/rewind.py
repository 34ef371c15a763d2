"""A start over an index that is older than what was read for it: it was put back from a copy.

What a collection has covered is durable before its records are acknowledged. So where its consumer group
has acknowledged more, nobody would ever read again what lies in between, and the next batch would cover
it. The group is set back to what is covered: versions decide, so what is read twice changes nothing.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core.errors import ConfigurationError
from core.keys import TableId
from core.settings import Settings
from core.telemetry import logger
from core.topics import index_group, state_topic
from embed.index import Collection, Index
from embed.model import Covered
from ingest.generations import Generation
from ingest.topics_admin import TopicsAdmin

log = logger(__name__)

SPARE_SECONDS: Final = 5.0
"""Beyond the session of a member that was killed, until its group has none."""

STEP_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Gap:
    """Records of one partition that were acknowledged and are not in the index."""

    partition: int
    covered: int
    """The first of them."""
    committed: int
    """The one after the last."""


def gaps(committed: Mapping[int, int], marks: Iterable[Covered], topic: str) -> list[Gap]:
    """Where a group has acknowledged more of this topic than its collection has covered. Pure.

    `committed`, by partition, must have been read before `marks`. A partition without a mark tells nothing:
    its progress record is yet to be read, and in a compacted topic that stands near the end.
    """
    covered = {mark.partition: mark.offset for mark in marks if mark.topic == topic}
    found = [Gap(number, covered.get(number, offset), offset) for number, offset in sorted(committed.items())]
    return [gap for gap in found if gap.covered < gap.committed]


async def rewind(
    settings: Settings, brokers: Sequence[str], index: Index, generations: Sequence[Generation]
) -> None:
    """Before any of these is followed: set back the groups whose index is older, and say so of each.

    Raises ConfigurationError where workers follow the log for such a one, TransientError where the broker
    does not answer, or one of them has just begun to.
    """
    admin = TopicsAdmin(brokers)
    for one in generations:
        group = index_group(settings.app, one.document, one.number)
        topic = state_topic(settings.app, TableId.parse(one.frozen.document.table))
        collection = index.open(one.collection(settings.app))
        missing = await _missing(settings, admin, group, topic, collection)
        if missing:
            offsets = {gap.partition: gap.covered for gap in missing}
            await asyncio.to_thread(admin.reset, group, topic, offsets)
            said = (
                f"document {one.document}: {_older(collection, group, topic, missing)}; it is read again,"
                " answers are incomplete until it has caught up"
            )
            log.warning(said)  # at once: the next group may end this start, and the next start finds no gap


async def _missing(
    settings: Settings, admin: TopicsAdmin, group: str, topic: str, collection: Collection
) -> list[Gap]:
    """And nobody is in the group: a member that was killed is, until its session ends."""
    deadline = time.monotonic() + settings.ingest.session_seconds + SPARE_SECONDS
    while True:
        # Each time anew: another start may have set the group back, and a replica may have been behind.
        missing = await asyncio.to_thread(_gaps, admin, group, topic, collection)
        if not missing:
            return []
        members = await asyncio.to_thread(admin.members, group)
        if not members:
            return await asyncio.to_thread(_gaps, admin, group, topic, collection)
        if time.monotonic() > deadline:
            raise ConfigurationError(
                f"{_older(collection, group, topic, missing)}. It has to be read again, which nobody may do"
                f" meanwhile, and {members} workers are in the group: stop all workers of {settings.app},"
                " wait for ingest.session_seconds, then start again"
            )
        log.info("waiting for workers to leave", group=group, members=members)
        await asyncio.sleep(STEP_SECONDS)


def _gaps(admin: TopicsAdmin, group: str, topic: str, collection: Collection) -> list[Gap]:
    known = admin.committed(group)  # before what is covered, which only grows
    committed = {number: offset for (name, number), offset in known.items() if name == topic}
    return gaps(committed, collection.covered(), topic)


def _older(collection: Collection, group: str, topic: str, missing: Sequence[Gap]) -> str:
    places = ", ".join(f"{gap.covered} to {gap.committed} of {topic}/{gap.partition}" for gap in missing)
    return (
        f"the index {collection.name} is older than what was read for it, as if put back from a copy:"
        f" {places} is acknowledged by group {group} and not in it"
    )
