"""How far generations have come, as Kafka tells it."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from core.keys import TableId
from core.topics import index_group, state_topic
from ingest.generations import Generation, Registry
from ingest.topics_admin import TopicsAdmin
from tailrace.reindex.progress import CAUGHT_UP_SECONDS, Progress, progress

V = TypeVar("V")


def read_progress(
    admin: TopicsAdmin, app: str, registry: Registry, generations: Sequence[Generation], now: int
) -> list[Progress]:
    """Blocking. The ends are read before the commits: what comes in between counts for nobody."""
    topics = [state_topic(app, TableId.parse(one.frozen.document.table)) for one in generations]
    names = sorted(set(topics))
    bounds = admin.bounds(names)
    # By the stamps of whoever wrote the records: a clock that is off moves the border by as much.
    young = admin.since(names, now - int(CAUGHT_UP_SECONDS * 1000))
    return [
        progress(
            registry,
            one,
            _of(topic, bounds),
            _of(topic, admin.committed(index_group(app, one.document, one.number))),
            _of(topic, young),
            now,
        )
        for one, topic in zip(generations, topics, strict=True)
    ]


def _of(topic: str, found: Mapping[tuple[str, int], V]) -> dict[int, V]:
    """Of one topic, by partition."""
    return {partition: value for (name, partition), value in found.items() if name == topic}
