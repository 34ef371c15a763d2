"""Finds candidates: two channels in every document's live collection, fused, checked by manifest.

A question is prepared in one thread, which may wait for an encoder, and searched in another: the whole
search of one depth is one call, so that it costs one change of threads.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, TypeAlias
from uuid import UUID

import numpy as np

from core.errors import ConfigurationError
from core.keys import RowKey
from core.state import Json
from embed.encoder import Encoder
from embed.model import Manifest, Scope, Sparse, StoredChunk, Vector, manifest_id
from retrieve.fusion import fuse
from retrieve.join import Verdict, listed
from retrieve.live import Live, LiveIndex, Marks
from retrieve.model import Channel, Found

_WORD: Final = re.compile(r"\s*\S+|\s+")

DEEPEST: Final = 4096
"""Candidates of one channel and collection at most: past it, fewer hits are found than there are."""

KeysOf: TypeAlias = Callable[[str, str], Sequence[RowKey]]
"""Document and a key's text to the row keys it may spell."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate with what the index says of it. `manifest` is None only for NO_MANIFEST."""

    document: str
    chunk: StoredChunk
    manifest: Manifest | None
    verdict: Verdict
    cosine: float


@dataclass(frozen=True, slots=True)
class Depth:
    """What one search found down to one depth."""

    ranked: tuple[Ranked, ...]
    """Best first, as many as were needed to have enough that count."""
    exhausted: bool
    """There is nothing below."""
    channels: tuple[Found, ...]
    fused: tuple[tuple[str, float], ...]


@dataclass(slots=True)
class Search:
    """One question on its way. Filled by `Searcher.prepare`; used by one thread at a time."""

    query: str
    documents: Sequence[str]
    scope: Scope
    filters: Mapping[str, Sequence[Json]]
    lives: list[Live] = field(default_factory=list)
    marks: dict[str, Marks] = field(default_factory=dict)
    """By document: what its collection had covered *before* anything was searched in it."""
    dense: dict[str, Vector] = field(default_factory=dict)
    """By encoder fingerprint."""
    fingerprints: dict[str, str] = field(default_factory=dict)
    """By document."""
    sparse: Sparse | None = None
    explain: bool = False
    """Tell of every candidate whose it is, not only of those that were looked at."""
    timings: dict[str, float] = field(default_factory=dict)


class Searcher:
    """Both channels over the live collections.

    `encoder_for(collection)` gives the query encoder of a collection's generation. `sparse_of` gives
    the BM25 vector of a question.
    """

    def __init__(
        self,
        live: LiveIndex,
        encoder_for: Callable[[str], Encoder],
        sparse_of: Callable[[str], Sparse],
        keys_of: KeysOf,
    ) -> None:
        self._live, self._encoder_for, self._sparse_of, self._keys_of = live, encoder_for, sparse_of, keys_of

    async def depth(self, search: Search, limit: int, want: int) -> Depth:
        """Search `limit` candidates deep, until `want` of them count as far as the index says.

        The aliases are resolved in the first call of a search and used throughout. If a collection is
        dropped meanwhile, everything is done once more with the aliases of then.
        """
        try:
            return await self._depth(search, limit, want)
        except ConfigurationError:
            for live in search.lives:
                self._live.forget(live)
            search.lives, search.dense, search.fingerprints = [], {}, {}
            return await self._depth(search, limit, want)

    async def _depth(self, search: Search, limit: int, want: int) -> Depth:
        if not search.lives:
            await self._live.encode(self.prepare, search)
        return await self._live.call(self.find, search, limit, want)

    def prepare(self, search: Search) -> None:
        """Resolve the aliases, and encode the question for what they point at. Blocking."""
        with _timed(search.timings, "resolve"):
            search.lives = [self._live.resolve(document) for document in search.documents]
            search.marks = {live.document: self._live.marks(live) for live in search.lives}
        with _timed(search.timings, "encode"):
            for live in search.lives:
                encoder = self._encoder_for(live.name)
                search.fingerprints[live.document] = encoder.fingerprint
                if encoder.fingerprint not in search.dense:
                    search.dense[encoder.fingerprint] = encode_query(encoder, search.query)
            search.sparse = self._sparse_of(search.query)

    def find(self, search: Search, limit: int, want: int) -> Depth:
        """As `depth`, of a search that is prepared. Blocking; ConfigurationError if a collection is gone."""
        limit = min(limit, DEEPEST)
        homes: dict[UUID, Live] = {}
        cosines: dict[UUID, float] = {}
        rankings: dict[tuple[Channel, str], list[tuple[float, UUID]]] = {}
        full = False
        with _timed(search.timings, "search"):
            for live in search.lives:
                fingerprint = search.fingerprints[live.document]
                queries: list[Vector | Sparse] = [search.dense[fingerprint]]
                queries += [search.sparse] if search.sparse is not None else []
                found = live.collection.search(queries, search.scope, search.filters, limit)
                full = full or any(len(part) == limit for part in found)
                cosines.update((one.id, one.score) for one in found[0])
                # Scores of one channel compare across documents: cosines of one encoder do, and BM25
                # as far as two corpora resemble each other, which beats giving each document one turn.
                channels: list[tuple[Channel, str]] = [("dense", fingerprint), ("sparse", "")]
                for ranking, part in zip(channels, found, strict=False):
                    homes.update((one.id, live) for one in part)
                    rankings.setdefault(ranking, []).extend((-one.score, one.id) for one in part)
        for ranked in rankings.values():
            ranked.sort()
        fused = fuse([[one for _, one in ranked] for ranked in rankings.values()])
        with _timed(search.timings, "manifests"):
            chunks = self._chunks(homes) if search.explain else {}
            checked = self._check(search, [(homes[one], one) for one, _ in fused], chunks, want)
        with _timed(search.timings, "relevance"):
            self._complete(search, checked, cosines)
        ranked_all = tuple(
            Ranked(live.document, chunk, manifest, verdict, cosines.get(chunk.id, 0.0))
            for live, chunk, manifest, verdict in checked
        )
        return Depth(
            ranked_all,
            exhausted=len(checked) == len(fused) and (not full or limit == DEEPEST),
            channels=tuple(
                Found(
                    homes[one].document,
                    chunks[one].key if one in chunks else "",
                    str(one),
                    channel,
                    rank,
                    -score,
                )
                for (channel, _), ranked in rankings.items()
                for rank, (score, one) in enumerate(ranked, start=1)
            ),
            fused=tuple((str(one), score) for one, score in fused),
        )

    def _check(
        self,
        search: Search,
        candidates: Sequence[tuple[Live, UUID]],
        chunks: dict[UUID, StoredChunk],
        want: int,
    ) -> list[tuple[Live, StoredChunk, Manifest | None, Verdict]]:
        """Candidates in order with their manifests, until `want` of them count; adds to `chunks`."""
        manifests: dict[tuple[str, str], Manifest | None] = {}
        checked: list[tuple[Live, StoredChunk, Manifest | None, Verdict]] = []
        counting = 0
        while counting < want and len(checked) < len(candidates):
            part = candidates[len(checked) : len(checked) + want - counting]
            chunks |= self._chunks({one: live for live, one in part if one not in chunks})
            for live in search.lives:
                keys = {chunks[one].key for at, one in part if at is live and one in chunks} - {
                    key for document, key in manifests if document == live.document
                }
                if keys:
                    manifests |= self._manifests(live, keys)
            for live, one in part:
                chunk = chunks.get(one)
                if chunk is None:  # dropped since it was found: something took its place
                    checked.append(
                        (live, StoredChunk(one, UUID(int=0), "", "", -1, {}), None, Verdict.REPLACED)
                    )
                    continue
                manifest = manifests[live.document, chunk.key]
                verdict = listed(one, chunk.version, manifest, search.scope)
                counting += verdict.counts
                checked.append((live, chunk, manifest, verdict))
        return checked

    @staticmethod
    def _chunks(homes: Mapping[UUID, Live]) -> dict[UUID, StoredChunk]:
        """Those that are still there."""
        found: dict[UUID, StoredChunk] = {}
        for live in {live.name: live for live in homes.values()}.values():
            found |= live.collection.chunks([one for one, at in homes.items() if at is live])
        return found

    def _manifests(self, live: Live, keys: set[str]) -> dict[tuple[str, str], Manifest | None]:
        ids = {
            manifest_id(live.document, key.canonical): text
            for text in keys
            for key in self._keys_of(live.document, text)
        }
        found = live.collection.manifests(list(ids))
        made: dict[tuple[str, str], Manifest | None] = dict.fromkeys((live.document, key) for key in keys)
        for one, manifest in sorted(found.items(), key=lambda item: _standing(item[1])):
            if manifest.key == ids[one]:
                made[live.document, ids[one]] = manifest
        return made

    def _complete(
        self,
        search: Search,
        checked: Sequence[tuple[Live, StoredChunk, Manifest | None, Verdict]],
        cosines: dict[UUID, float],
    ) -> None:
        """Cosines of what only the words found."""
        for live in search.lives:
            missing = [c.id for at, c, _, v in checked if at is live and v.counts and c.id not in cosines]
            if missing:
                query = search.dense[search.fingerprints[live.document]]
                for one, vector in live.collection.vectors(missing).items():
                    cosines[one] = float(np.dot(vector, query))


def _standing(manifest: Manifest) -> tuple[bool, int]:
    """Of several rows whose keys read the same (a primary key was renamed) the greatest counts."""
    return not manifest.deleted, manifest.version


def encode_query(encoder: Encoder, text: str) -> Vector:
    """The vector of a question, of length 1.

    One that is longer than the encoder takes is encoded in pieces, each as heavy as it is long:
    nothing is cut off.
    """
    pieces = [text]
    if len(text.encode("utf-8", "replace")) > encoder.max_tokens:  # no tokenizer makes more of a text
        pieces = list(_pieces(encoder, text))
    vectors = encoder.encode(pieces, kind="query")
    if len(pieces) == 1:
        return np.asarray(vectors[0], np.float32)
    weights = np.asarray(encoder.count(pieces), np.float32)
    mean = weights @ vectors
    length = float(np.linalg.norm(mean))
    return np.asarray(mean / length if length > 0 else vectors[0], np.float32)


def _pieces(encoder: Encoder, text: str) -> Iterator[str]:
    """Halves, and halves of these, between words as long as there are words, until each fits."""
    if len(text) < 2 or encoder.count([text])[0] <= encoder.max_tokens:  # noqa: PLR2004 - nothing to halve
        yield text
        return
    words = _WORD.findall(text)
    middle = sum(map(len, words[: len(words) // 2])) or len(text) // 2
    yield from _pieces(encoder, text[:middle])
    yield from _pieces(encoder, text[middle:])


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    begun = perf_counter()
    try:
        yield
    finally:
        timings[name] = timings.get(name, 0.0) + (perf_counter() - begun) * 1000
