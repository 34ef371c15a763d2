"""The write protocol under crashes at every boundary, outages, redelivery and zombies in any interleaving."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.clock import FixedClock
from core.errors import TransientError
from core.settings import Cut
from embed.cutter import Cutter
from embed.encoder import HashingEncoder
from embed.index import Collection, Drop, Swap
from embed.memory_index import MemoryIndex
from embed.model import Change, ChunkPoint, Document, Removal, Sparse, manifest_id
from embed.pipeline import Pipeline
from embed.plan import desired, manifest
from embed.store import VectorStore
from embed.strays import StraySweep

KEYS = 2
WORDS = ("Alpha.", "Beta.", "Gamma.", "Delta.")


class Crash(BaseException):
    """The process is gone: nothing may catch it."""


class Stepped:
    """Effects one at a time, with a step before and after each: a batch can stop in its middle."""

    def __init__(self, inner: Collection, step: Callable[[], None]) -> None:
        self._inner, self._step = inner, step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def manifests(self, ids: Sequence[Any]) -> dict[Any, Any]:
        self._step()
        return self._inner.manifests(ids)

    def write_chunks(self, points: Sequence[ChunkPoint]) -> None:
        for point in points:
            self._step()
            self._inner.write_chunks([point])
        self._step()

    def swap_manifests(self, swaps: Sequence[Swap]) -> set[Any]:
        won = set()
        for swap in swaps:
            self._step()
            won |= self._inner.swap_manifests([swap])
        self._step()
        return won

    def drop_chunks(self, drops: Sequence[Drop]) -> None:
        for drop in drops:
            for chunk in drop.chunks:
                self._step()
                self._inner.drop_chunks([Drop((chunk,), drop.below)])
        self._step()


def no_tokens(texts: Sequence[str]) -> list[Sparse]:
    return [Sparse((), ()) for _ in texts]


def pipeline(
    collection: Any, store: VectorStore, failpoint: Callable[[str], None] = lambda _: None
) -> Pipeline:
    encoder = HashingEncoder(8)
    cutter = Cutter(Cut(kind="plain", min_tokens=1, max_tokens=2), lambda texts: [2 for _ in texts], 254)
    return Pipeline("d", collection, encoder, store, cutter, no_tokens, failpoint=failpoint)


def change(key: int, version: int, words: Sequence[str] | None, lang: str = "en") -> Change:
    canonical = b"k%d" % key
    if words is None:
        return Removal("d", str(key), canonical, version, None, "", 0)
    return Document(
        "d", str(key), canonical, version, "", "\n\n".join(words), None, None, None, {"lang": lang}, "", 0
    )


def fresh() -> tuple[Collection, VectorStore]:
    index = MemoryIndex()
    index.create("c", 8)
    return index.open("c"), VectorStore(None, 1 << 20, FixedClock())


def listed_and_missing(collection: Collection) -> int:
    listed = [one for held in collection.scroll(None, 100).manifests for one in held.chunks]
    return len(set(listed) - set(collection.chunks(listed)))


def check_final(collection: Collection, newest: Sequence[Change]) -> None:
    """The index is what the newest changes say, by a derivation of its own: one word, one chunk."""
    wanted, held = {}, {}
    for one in newest:
        pieces = one.text.split("\n\n") if isinstance(one, Document) and one.text else []
        chunks = desired(one, pieces) if isinstance(one, Document) else ()
        wanted.update({chunk.id: (one.key, chunk.text) for chunk in chunks})
        stored = collection.manifests([manifest_id("d", one.canonical)])
        assert list(stored.values()) == [manifest(one, chunks, "hashing-8")]
    points, _ = collection.scroll_chunks(None, 1000)
    held = {point.id: (point.key, point.text) for point in points}
    assert held == wanted


TEXT = st.one_of(st.none(), st.lists(st.sampled_from(WORDS), max_size=4))
STATE = st.lists(st.tuples(TEXT, st.sampled_from(["en", "de"])), min_size=KEYS, max_size=KEYS)


@settings(max_examples=25, deadline=None)
@given(STATE, STATE)
def test_a_crash_at_any_boundary_loses_nothing(before: list[Any], after: list[Any]) -> None:
    old = [change(key, 1, *state) for key, state in enumerate(before)]
    new = [change(key, 2, *state) for key, state in enumerate(after)]
    boundary = 0
    crashed = True
    while crashed:
        collection, store = fresh()
        pipeline(collection, store).apply(old)
        left = boundary

        def step(_: str = "") -> None:
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1

        try:
            pipeline(Stepped(collection, step), store, step).apply(new)
            crashed = False
        except Crash:
            assert listed_and_missing(collection) == 0
            for held in collection.scroll(None, 10, deleted=None).manifests:
                assert held.version in (1, 2)
        again = pipeline(collection, store)
        applied = again.apply(new)
        assert applied.embedded + len(applied.failed) == 0 or crashed
        sweep(collection)
        check_final(collection, new)
        assert again.apply(new).unchanged == KEYS
        boundary += 1
    assert boundary > 5  # the crashes happened


def sweep(collection: Collection) -> None:
    strays = StraySweep(collection, page=2)
    while not strays.step():
        pass


Schedule: TypeAlias = Callable[[list[int]], tuple[int, int]]
"""Who of those still running is next, and for how many steps."""


class Turns:
    """Threads that run one at a time, each to its next step, in the order of a schedule."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._ready: list[threading.Semaphore] = []
        self._threads: list[threading.Thread] = []
        self._back = threading.Semaphore(0)
        self._running: set[int] = set()
        self._over = False
        self._failures: list[BaseException] = []

    def start(self, body: Callable[[Callable[[], None]], None]) -> None:
        mine, name = threading.Semaphore(0), len(self._ready)

        def begin() -> None:
            mine.acquire()
            if self._over:
                raise Crash

        def step() -> None:
            self._back.release()
            begin()

        def work() -> None:
            try:
                begin()
                body(step)
            except Crash:
                pass
            except BaseException as error:  # noqa: BLE001 - raised again by `run`
                self._failures.append(error)
            self._running.discard(name)
            self._back.release()

        self._ready.append(mine)
        self._running.add(name)
        self._threads.append(threading.Thread(target=work))
        self._threads[-1].start()

    def run(self, between: Callable[[], None]) -> None:
        """All of them to their end, with a look at the world after each step."""
        try:
            while self._running:
                chosen, steps = self._schedule(sorted(self._running))
                for _ in range(steps):
                    if chosen in self._running:
                        self._ready[chosen].release()
                        self._back.acquire()
                        between()
        finally:
            self._over = True
            for thread, ready in zip(self._threads, self._ready, strict=True):
                ready.release()
                thread.join()
        if self._failures:
            raise self._failures[0]


def worker(
    collection: Collection,
    store: VectorStore,
    todo: Sequence[Change],
    trouble: random.Random,
    mortality: float,
) -> Callable[[Callable[[], None]], None]:
    """Applies all of it in order, waits out outages, and may die at any step; nothing happens below 0."""

    def body(turn: Callable[[], None]) -> None:
        def step() -> None:
            turn()
            chance = trouble.random()
            if chance < mortality:
                raise Crash
            if mortality >= 0 and chance > 0.97:
                raise TransientError("the index is away")

        mine = pipeline(Stepped(collection, step), store)
        for one in todo:
            while not completed(mine, one):
                pass

    return body


def completed(mine: Pipeline, one: Change) -> bool:
    try:
        mine.apply([one])
    except TransientError:
        return False
    return True


def run_watched(turns: Turns, collection: Collection) -> None:
    """At every moment all that is listed is there, and no version goes back."""
    reached = 0

    def between() -> None:
        nonlocal reached
        assert listed_and_missing(collection) == 0
        for held in collection.scroll(None, 10, deleted=None).manifests:
            assert held.version >= reached
            reached = held.version

    turns.run(between)


def check_settled(collection: Collection, store: VectorStore, newest: Change) -> None:
    last = pipeline(collection, store)
    assert last.apply([newest]).unchanged == 1
    sweep(collection)
    check_final(collection, [newest])


def by_chance(seed: int, collection: Collection, store: VectorStore) -> None:
    """A live worker applies some of five versions of a row, the newest last; three zombies apply older ones.

    Batches and compacted topics leave out versions, so a zombie may hold one that was never applied.
    """
    chance = random.Random(seed)  # noqa: S311 - reproducible by its seed
    versions = [change(0, n, [word for word in WORDS[:3] if chance.random() < 0.5]) for n in range(1, 6)]
    turns = Turns(lambda running: (chance.choice(running), chance.choice([1, 1, 2, 2, 3])))
    applied = [one for one in versions[:4] if chance.random() < 0.5]
    turns.start(worker(collection, store, [*applied, versions[4]], chance, 0.0))
    for _ in range(3):
        turns.start(worker(collection, store, [chance.choice(versions[:4])], chance, 0.01))
    run_watched(turns, collection)
    check_settled(collection, store, versions[4])


def test_zombies_outages_and_crashes_in_any_interleaving() -> None:
    for seed in range(400):
        collection, store = fresh()
        try:
            by_chance(seed, collection, store)
        except AssertionError as error:
            pytest.fail(f"seed {seed}: {error}")
        finally:
            store.close()


def overtaking(weaken: Callable[[Collection], Any]) -> Iterator[tuple[object, ...]]:
    """Every way of stopping the newest version once and an older one once, on every small history.

    Gives those that broke a promise.
    """
    calm = random.Random(1)  # noqa: S311 - no trouble but the order
    for texts in product([None, ["Alpha."]], repeat=3):
        first, older, newest = (change(0, 1 + place, words) for place, words in enumerate(texts))
        for stop, other in product(range(9), repeat=2):
            collection, store = fresh()
            pipeline(collection, store).apply([first])
            rest = iter([(0, stop), (1, other), (0, 99), (1, 99)])
            turns = Turns(lambda running, rest=rest: next(one for one in rest if one[0] in running))  # type: ignore[misc]  # bound now
            weak = weaken(collection)
            turns.start(worker(weak, store, [newest], calm, -1.0))
            turns.start(worker(weak, store, [older], calm, -1.0))
            try:
                run_watched(turns, collection)
                check_settled(collection, store, newest)
            except AssertionError:
                yield texts, stop, other
            store.close()


def test_every_way_of_overtaking_once() -> None:
    assert list(overtaking(lambda collection: collection)) == []


class Unconditional(Stepped):
    """An index whose manifests are no compare-and-set: the newer version wins, whatever was read."""

    def swap_manifests(self, swaps: Sequence[Swap]) -> set[Any]:
        held = self._inner.manifests([swap.manifest.id for swap in swaps])
        newer = [
            replace(swap, expect=held[swap.manifest.id].version if swap.manifest.id in held else None)
            for swap in swaps
            if swap.manifest.id not in held or held[swap.manifest.id].version <= swap.manifest.version
        ]
        return self._inner.swap_manifests(newer)


class Unfenced(Stepped):
    """An index whose drops ask for no version."""

    def drop_chunks(self, drops: Sequence[Drop]) -> None:
        self._inner.drop_chunks([replace(drop, below=99) for drop in drops])


@pytest.mark.parametrize("weak", [Unconditional, Unfenced])
def test_a_weaker_index_is_found_out(weak: type[Stepped]) -> None:
    assert next(overtaking(lambda collection: weak(collection, lambda: None)), None) is not None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, KEYS - 1), st.integers(0, 5)), max_size=12), st.randoms())
def test_any_order_with_any_repetition_ends_at_the_newest(
    sent: list[tuple[int, int]], chance: random.Random
) -> None:
    def made(key: int, version: int) -> Change:
        words = None if (key + version) % 3 == 0 else WORDS[: 1 + (key + version) % 4]
        return change(key, version, words)

    collection, store = fresh()
    mine = pipeline(collection, store)
    changes = [made(*one) for one in sent + sent[::2]]
    chance.shuffle(changes)
    counted = 0
    for at in range(0, len(changes), 4):
        some = changes[at : at + 4]
        applied = mine.apply(some)
        done = (
            applied.written + applied.removed + applied.unchanged + applied.superseded + len(applied.failed)
        )
        assert done == len(some)
        counted += done
    assert counted == len(changes)
    highest = {key: max(version for one, version in sent if one == key) for key, _ in sent}
    check_final(collection, [made(key, version) for key, version in highest.items()])
