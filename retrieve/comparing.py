"""Runs a comparison beside the questions that go on being answered: in a thread of its own, page by page."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter
from typing import Final

from core.clock import Clock
from core.errors import ConfigurationError, TransientError
from embed.encoder import Encoder
from embed.index import Collection, Index
from embed.model import Manifest, Scope, Sparse
from retrieve import compare
from retrieve.compare import Asked, Comparison, Difference, Found, Kind, Side, Size, Step, Suspect
from retrieve.join import shown
from retrieve.live import Live, LiveIndex
from retrieve.search import DEEPEST, KeysOf, Search, Searcher

PAGE: Final = 256
"""Manifests read in one go: the index answers questions in between."""

SETTLE_SECONDS: Final = 10.0
"""Longest wait for a row that is on its way to one of the two."""

LOOK_SECONDS: Final = 0.25


class PinnedIndex(LiveIndex):
    """One collection, whatever the alias says, with one thread for everything that is asked of it."""

    def __init__(self, index: Index, collection: str, clock: Clock) -> None:
        """Blocking. Raises ConfigurationError if it is gone."""
        super().__init__("", index, threads=1, clock=clock)
        self._pinned = index.open(collection)

    def resolve(self, document: str) -> Live:
        return Live(document, self._pinned)


@dataclass(slots=True)
class _Tally:
    """Counts are of the whole index, for they say whether it may answer; keys are told as answers are."""

    named: int
    scope: Scope
    counts: Counter[Kind] = field(default_factory=Counter)
    keys: defaultdict[Kind, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: Kind, key: str, *stored: Manifest | None) -> None:
        """`stored`: what either generation holds of it."""
        self.counts[kind] += 1
        own = all(shown(one, self.scope).counts for one in stored if one is not None and not one.deleted)
        if own and len(self.keys[kind]) < self.named:
            self.keys[kind].append(key)

    def of(self, kind: Kind) -> Difference:
        return Difference(self.counts[kind], tuple(self.keys[kind]))


class _Searched:
    """One generation, searched as questions are: both channels, fused, listed by their manifests."""

    def __init__(
        self,
        document: str,
        pinned: PinnedIndex,
        encoder_for: Callable[[str], Encoder],
        sparse_of: Callable[[str], Sparse],
        keys_of: KeysOf,
    ) -> None:
        self._document, self.collection = document, pinned.resolve(document).collection
        self._searcher = Searcher(pinned, encoder_for, sparse_of, keys_of)
        self.milliseconds: list[float] = []

    def find(self, query: str, k: int, scope: Scope) -> tuple[str, ...]:
        """Keys of the first `k` documents. Blocking."""
        begun = perf_counter()
        search = Search(query, [self._document], scope, {})
        self._searcher.prepare(search)
        limit = max(24, 2 * k)
        while True:
            depth = self._searcher.find(search, limit, limit)
            keys = dict.fromkeys(one.chunk.key for one in depth.ranked if one.verdict.counts)
            if len(keys) >= k or depth.exhausted or limit >= DEEPEST:
                self.milliseconds.append((perf_counter() - begun) * 1000)
                return tuple(islice(keys, k))
            limit *= 2


@dataclass(frozen=True, slots=True)
class Comparer:
    """Compares two collections of one index."""

    index: Index
    encoder_for: Callable[[str], Encoder]
    sparse_of: Callable[[str], Sparse]
    keys_of: KeysOf
    clock: Clock

    async def compare(
        self,
        document: str,
        live: tuple[int, str],
        candidate: tuple[int, str],
        questions: Sequence[Asked],
        *,
        scope: Scope,
        top_k: int,
        named: int,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> AsyncGenerator[Step | Comparison, None]:
        """Steps, then the result. `live` and `candidate`: number and collection of each generation.

        TransientError if one of them is dropped meanwhile, or the index or an encoder is away.
        """
        begun = self.clock.monotonic()
        thread = LiveIndex("", self.index, threads=1, clock=self.clock)
        pins: list[PinnedIndex] = []
        try:
            for _, name in (live, candidate):
                pins.append(await thread.call(PinnedIndex, self.index, name, self.clock))
            sides = [_Searched(document, pin, self.encoder_for, self.sparse_of, self.keys_of) for pin in pins]
            walk = _Walk(sides[0].collection, sides[1].collection, _Tally(named, scope))
            total = await thread.call(lambda: max(one.collection.counts().documents for one in sides))
            yield Step("documents", 0, total)
            while await thread.call(walk.step):
                yield Step("documents", walk.seen, max(total, walk.seen))
            deadline = self.clock.monotonic() + settle_seconds
            while walk.suspects:
                yield Step("settling", 0, len(walk.suspects))
                if not await thread.call(walk.look, last=self.clock.monotonic() >= deadline):
                    break
                await asyncio.sleep(LOOK_SECONDS)
            found: list[Found] = []
            if questions:
                await thread.call(_warm, sides, questions[0], top_k, scope)
            for number, asked in enumerate(questions):
                yield Step("questions", number, len(questions))
                # By turns: what one warms, the other profits from as often.
                found.append(await thread.call(_ask, sides, asked, top_k, scope, first=number % 2))
            recalls = [one.live_recall for one in found], [one.candidate_recall for one in found]
            yield Comparison(
                document=document,
                live=_side(live[0], walk.live, recalls[0], sides[0].milliseconds),
                candidate=_side(candidate[0], walk.candidate, recalls[1], sides[1].milliseconds),
                missing=walk.tally.of("missing"),
                extra=walk.tally.of("extra"),
                different=walk.tally.of("different"),
                top_k=top_k,
                overlap=compare.mean(one.overlap for one in found),
                questions=tuple(found),
                seconds=self.clock.monotonic() - begun,
            )
        except ConfigurationError as error:
            raise TransientError(f"one of the generations was dropped meanwhile: {error}") from error
        finally:
            for one in (thread, *pins):
                await asyncio.to_thread(one.close)


class _Walk:
    """One merge of both, in order of ids; then what differed again, by id. Blocking."""

    def __init__(self, live: Collection, candidate: Collection, tally: _Tally) -> None:
        self._live, self._candidate, self.tally = live, candidate, tally
        self._pairs = compare.merged(_manifests(live), _manifests(candidate))
        self.seen = 0
        self.live = self.candidate = Size()
        self.suspects: list[Suspect] = []
        self._looked = False

    def step(self) -> bool:
        """One page on; False at the end."""
        before = self.seen
        for one, other in islice(self._pairs, PAGE):
            self.seen += 1
            self.live, self.candidate = _grown(self.live, one), _grown(self.candidate, other)
            found = compare.suspect(one, other)
            if found is None:
                continue
            kind = compare.kind(found.live, found.candidate)
            if len(self.suspects) < compare.MOST_SUSPECTS:
                self.suspects.append(found)
            elif kind is not None:
                self.tally.add(kind, found.key, one, other)
        return self.seen > before

    def look(self, *, last: bool) -> bool:
        """All that differed, once more; what is on its way at the `last` look counts as it stands."""
        covered = compare.reach(self._live.covered(), self._candidate.covered())
        waiting: list[Suspect] = []
        for begin in range(0, len(self.suspects), PAGE):
            part = self.suspects[begin : begin + PAGE]
            ids = [one.id for one in part]
            live, candidate = self._live.manifests(ids), self._candidate.manifests(ids)
            for one in part:
                stored = live.get(one.id), candidate.get(one.id)
                stands = compare.stand_of(stored[0]), compare.stand_of(stored[1])
                # A scroll hides what is deleted: only what is read by id says how far each has come.
                first = one if self._looked else one._replace(live=stands[0], candidate=stands[1])
                verdict = compare.judged(first, *stands, covered)
                if verdict == "on its way" and last:
                    verdict = compare.kind(*stands)
                if verdict == "on its way":
                    waiting.append(first)
                elif verdict is not None:
                    self.tally.add(verdict, one.key, *stored)
        self.suspects, self._looked = waiting, True
        return bool(waiting)


def _manifests(collection: Collection) -> Iterator[Manifest]:
    after = None
    while True:
        page = collection.scroll(after, PAGE)
        yield from page.manifests
        after = page.after
        if after is None:
            return


def _grown(size: Size, manifest: Manifest | None) -> Size:
    if manifest is None:
        return size
    return Size(size.documents + 1, size.chunks + len(manifest.chunks))


def _ask(sides: Sequence[_Searched], asked: Asked, k: int, scope: Scope, *, first: int) -> Found:
    keys: list[tuple[str, ...]] = [(), ()]
    for turn in (first, 1 - first):
        keys[turn] = sides[turn].find(asked.query, k, scope)
    return Found(
        asked.query,
        keys[0],
        keys[1],
        compare.overlap(*keys),
        compare.recall(keys[0], asked.expected, k),
        compare.recall(keys[1], asked.expected, k),
    )


def _warm(sides: Sequence[_Searched], asked: Asked, k: int, scope: Scope) -> None:
    """A model's first question takes many times as long as any other."""
    for side in sides:
        side.find(asked.query, k, scope)
        side.milliseconds.clear()


def _side(number: int, size: Size, recalls: Sequence[float | None], milliseconds: Sequence[float]) -> Side:
    return Side(number, size, compare.mean(recalls), compare.latency(milliseconds))
