"""Manifests whose row the state topic no longer holds: grave and tombstone were compacted away unread.

A generation that was behind for longer than graves and their tombstones are kept meets neither. Nothing
else would ever take such a document out of its index.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from core.state_table import StateTable
from embed.index import Collection
from embed.model import Manifest, Removal
from embed.pipeline import Pipeline

PAGE: Final = 1000
"""Manifests of one step: some 50 ms."""


@dataclass(frozen=True, slots=True)
class StateRows:
    """A state topic as this process has read it, every partition."""

    table: StateTable
    ends: Callable[[], Mapping[int, int]]
    """By partition the offset that it has been read to."""
    caught_up: Callable[[], Awaitable[None]]
    """Until everything that stands in the topic now has been read. Raises TransientError."""


def orphans(manifests: Sequence[Manifest], table: StateTable) -> list[Manifest]:
    """Those of rows of which the table knows nothing, not even a grave."""
    return [one for one in manifests if table.held(one.canonical) is None]


class OrphanSweep:
    """Removes them, page by page, live ones and graves. Blocking, between an agent's batches.

    What has no row is asked for once more when the topic has been read to its end: the manifest may be
    newer than what had been read. Fenced by the manifest's version, so a row that comes back stays.
    """

    def __init__(self, pipeline: Pipeline, collection: Collection, table: StateTable) -> None:
        self._pipeline, self._collection, self._table = pipeline, collection, table
        self._after: UUID | None = None
        self._page: list[Manifest] = []
        self._next: UUID | None = None
        self.begun = False
        self.found = 0

    def look(self) -> bool:
        """The next page, or the same one again after an error. Whether there are any in it."""
        page = self._collection.scroll(self._after, PAGE, deleted=None)
        self._page, self._next = orphans(page.manifests, self._table), page.after
        self.begun = True
        return bool(self._page)

    def remove(self) -> bool:
        """Those of the page that have no row still. Whether it was the last page."""
        gone = orphans(self._page, self._table)
        live = [one for one in gone if not one.deleted]
        if live:
            self._pipeline.apply([_removal(one) for one in live])
        graves: defaultdict[int, list[UUID]] = defaultdict(list)  # of a truncate thousands have one version
        for one in gone:
            graves[one.version].append(one.id)
        for version, ids in graves.items():
            self._collection.erase_manifests(ids, version + 1)
        self.found += len(live)
        self._after = self._next
        return self._after is None


def _removal(one: Manifest) -> Removal:
    return Removal(
        one.document, one.key, one.canonical, one.version, one.tenant, one.position, one.committed_at
    )
