"""Chunks that no manifest lists: what an end, or an error, between two effects leaves behind.

No answer cites them, but they take space, and places among the hits.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final
from uuid import UUID

from embed.index import Collection, Drop
from embed.model import Change, manifest_id

PAGE: Final = 1000
"""Manifests or chunks of one step: some 50 ms."""

KEYS: Final = 10_000
"""Of one step: some 20 ms."""


class StraySweep:
    """Drops what the manifest of its row does not list, page by page.

    Reads the whole collection: first the manifests, then the chunks. Safe beside writers, and however
    long it rests between two steps: what has the version of the manifest that was read, or a newer one,
    stays.
    """

    def __init__(self, collection: Collection, page: int = PAGE) -> None:
        self._collection, self._page = collection, page
        self._versions: dict[UUID, int] = {}
        self._listed: set[UUID] = set()
        self._manifests_read = False
        self._after: UUID | None = None
        self.begun = False
        self.found = 0
        self.unowned: defaultdict[UUID, list[Drop]] = defaultdict(list)
        """By the manifest that should be there: first writes that are under way, and rows that are gone."""

    def step(self) -> bool:
        """One page; whether it was the last. After an error the same page is next."""
        self._after = self._drop_chunks() if self._manifests_read else self._read_manifests()
        self.begun = True
        if self._after is not None:
            return False
        done, self._manifests_read = self._manifests_read, True
        return done

    def _read_manifests(self) -> UUID | None:
        page = self._collection.scroll(self._after, self._page, deleted=None)
        for one in page.manifests:
            self._versions[one.id] = one.version
            self._listed.update(one.chunks)
        return page.after

    def _drop_chunks(self) -> UUID | None:
        chunks, after = self._collection.scroll_chunks(self._after, self._page)
        drops = []
        unowned = [chunk for chunk in chunks if chunk.manifest not in self._versions]
        for chunk in chunks:
            below = self._versions.get(chunk.manifest, 0)
            if chunk.id not in self._listed and chunk.version < below:
                drops.append(Drop((chunk.id,), below))
        if drops:
            self._collection.drop_chunks(drops)
        for chunk in unowned:  # not sooner: after an error the page comes again
            self.unowned[chunk.manifest].append(Drop((chunk.id,), chunk.version + 1))
        self.found += len(drops)
        return after


class UnownedSweep:
    """Of chunks without a manifest, drops those of rows that are gone with their graves.

    `keys` are those of all rows and graves that the table has by now: by a moment after the chunks were
    seen, for what is written was a row before. A row that comes back later writes its chunks at a higher
    version.
    """

    def __init__(
        self,
        document: str,
        collection: Collection,
        keys: Sequence[bytes],
        unowned: Mapping[UUID, Sequence[Drop]],
    ) -> None:
        self._document, self._collection = document, collection
        self._keys, self._left = iter(keys), dict(unowned)
        self.found = 0

    def step(self) -> bool:
        """Some keys; whether they were the last."""
        some = list(islice(self._keys, KEYS)) if self._left else []
        for key in some:
            self._left.pop(manifest_id(self._document, key), None)
        if some:
            return False
        drops = [drop for drops in self._left.values() for drop in drops]
        if drops:
            self._collection.drop_chunks(drops)
        self.found += len(drops)
        return True


@dataclass(slots=True)
class _Write:
    version: int
    chunks: set[UUID] = field(default_factory=set)

    def add(self, version: int, chunks: Iterable[UUID]) -> None:
        self.version = max(self.version, version)
        self.chunks.update(chunks)


class Unsettled:
    """Chunks of writes that were broken off: each may be there, and listed by nobody.

    In memory: a process that ends leaves them to the sweep at the next start.
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._under_way: dict[UUID, _Write] = {}
        self._broken_off: dict[UUID, _Write] = {}

    def __bool__(self) -> bool:
        return bool(self._broken_off)

    def begin(self, change: Change, chunks: Iterable[UUID]) -> None:
        """Before the first effect of a change, with all chunks that it adds or drops."""
        self._under_way.setdefault(_row(change), _Write(0)).add(change.version, chunks)

    def end(self, change: Change) -> None:
        """After its last effect."""
        self._under_way.pop(_row(change), None)

    def break_off(self) -> None:
        """What has not ended will not: applied again, it no longer knows what it had to drop."""
        for row, write in self._under_way.items():
            self._broken_off.setdefault(row, _Write(0)).add(write.version, write.chunks)
        self._under_way.clear()

    def settle(self) -> bool:
        """Drop a page of what is listed by nobody; whether it was the last.

        When what was to be written has been, by this process or another. Where that cannot be seen, for
        nothing lives at the version of the write and nothing is above it, chunks of this version are left to
        the next start.
        """
        some = dict(islice(self._broken_off.items(), PAGE))
        stored = self._collection.manifests(list(some))
        drops = []
        for row, write in some.items():
            current = stored.get(row)
            vain = write.chunks.difference(current.chunks if current else ())
            seen = current is not None and (current.version, not current.deleted) >= (write.version, True)
            if vain:
                drops.append(Drop(tuple(vain), write.version + seen))
        if drops:
            self._collection.drop_chunks(drops)
        for row in some:
            del self._broken_off[row]
        return not self._broken_off


def _row(change: Change) -> UUID:
    return manifest_id(change.name, change.canonical)
