"""Chunks that their row's manifest does not list: what an end between two effects leaves behind."""

from typing import Final
from uuid import UUID

from embed.index import Collection, Drop

PAGE: Final = 1000
"""Manifests or chunks of one step: some 50 ms."""


class StraySweep:
    """Drops them, page by page. No answer cites them, but they take space, and places among the hits.

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
        drops = [
            Drop((chunk.id,), below=self._versions[chunk.manifest])
            for chunk in chunks
            if chunk.id not in self._listed and chunk.version < self._versions.get(chunk.manifest, 0)
        ]
        if drops:
            self._collection.drop_chunks(drops)
        self.found += len(drops)
        return after
