"""One suite for every adapter of the index seam: what `embed/index.py` promises."""

import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import log
from pathlib import Path
from threading import Barrier, RLock
from typing import Any, NamedTuple
from uuid import UUID, uuid4, uuid5

import numpy as np
import pytest
from qdrant_client import QdrantClient

from core.errors import ConfigurationError
from core.state import Json
from embed.index import Collection, Counts, Drop, Index, Swap
from embed.indexes.edge import EdgeIndex
from embed.indexes.qdrant import QdrantIndex
from embed.memory_index import MemoryIndex
from embed.model import Chunk, ChunkPoint, Covered, Manifest, Scope, Sparse, StoredChunk, Vector
from tests.qdrant_server.server import QdrantServer

SERVER = os.environ.get("TAILRACE_TEST_QDRANT_URL")
KINDS = ["memory", "edge", "qdrant-local", "qdrant-socket", *(["qdrant-server"] if SERVER else [])]
ALL = Scope(None)
TOP = 2**53 - 1
D = 8

pytestmark = pytest.mark.filterwarnings(
    "ignore:Payload indexes have no effect:UserWarning",  # of local mode, which scans
)


class OneAtATime:
    """Local mode is not safe for threads; a server takes each call as a whole, and so does this."""

    def __init__(self, client: QdrantClient) -> None:
        self._client, self._lock = client, RLock()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)

        def call(*args: Any, **named: Any) -> Any:
            with self._lock:
                return found(*args, **named)

        return call


@pytest.fixture(scope="session")
def socket_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Qdrant's REST over Edge, so that every call of the adapter crosses a socket."""
    server = QdrantServer(tmp_path_factory.mktemp("qdrant"))
    yield server.start()
    server.stop()


@pytest.fixture(params=KINDS)
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    made: Index
    if request.param == "memory":
        made = MemoryIndex()
    elif request.param == "edge":
        made = EdgeIndex(tmp_path / "index")
    elif request.param == "qdrant-local":
        local: Any = OneAtATime(QdrantClient(":memory:"))
        made = QdrantIndex(local)
    elif request.param == "qdrant-socket":
        made = QdrantIndex(request.getfixturevalue("socket_url"))
    else:
        assert SERVER is not None
        made = QdrantIndex(SERVER, api_key=os.environ.get("TAILRACE_TEST_QDRANT_API_KEY"))
    before = set(made.collections())
    yield made
    for name in set(made.collections()) - before:
        made.drop(name)
    made.close()


@pytest.fixture
def name() -> str:
    return f"contract-{uuid4().hex[:12]}"


@pytest.fixture
def collection(index: Index, name: str) -> Collection:
    index.create(name, D)
    return index.open(name)


def unit(*parts: float) -> Vector:
    vector = np.zeros(D, np.float32)
    vector[: len(parts)] = parts
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def chunk(
    version: int = 1,
    *,
    id: UUID | None = None,  # noqa: A002 - the field's name
    dense: Vector | None = None,
    sparse: Sparse | None = None,
    tenant: str | None = None,
    groups: tuple[str, ...] | None = None,
    metadata: Mapping[str, Json] | None = None,
    text: str = "a text",
) -> ChunkPoint:
    return ChunkPoint(
        Chunk(id or uuid4(), text),
        "articles",
        "id=1",
        tenant,
        groups,
        metadata or {},
        version,
        unit(1) if dense is None else dense,
        sparse or Sparse((7,), (1.0,)),
    )


def manifest(version: int = 1, **changes: Any) -> Manifest:
    made = Manifest(
        id=uuid4(),
        document="articles",
        key="id=1",
        canonical=b"\x00\xff",
        version=version,
        tenant="acme",
        groups=("a", "b"),
        deleted=False,
        chunks=(uuid4(), uuid4()),
        title='A title with "quotes" and äöü 🜁',
        url=None,
        position="0/16B3748",
        committed_at=1_700_000_000_000,
        fingerprint="hashing-8",
    )
    return replace(made, **changes)


class Hit(NamedTuple):
    chunk: StoredChunk
    score: float


def search(
    collection: Collection, query: Vector | Sparse, scope: Scope, filters: Mapping[str, Any], limit: int
) -> list[Hit]:
    """One query's, with what was found."""
    [best] = collection.search([query], scope, filters, limit)
    chunks = collection.chunks([one.id for one in best])
    return [Hit(chunks[one.id], one.score) for one in best]


def put(collection: Collection, *manifests: Manifest) -> None:
    assert collection.swap_manifests([Swap(m, None) for m in manifests]) == {m.id for m in manifests}


def test_create_is_idempotent_and_holds_the_dimension(index: Index, name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        index.open(name)
    index.create(name, D)
    index.create(name, D)
    assert index.collections().count(name) == 1
    opened = index.open(name)
    assert (opened.name, opened.dimensions) == (name, D)
    with pytest.raises(ConfigurationError, match=r"dimensions"):
        index.create(name, D + 1)
    with pytest.raises(ConfigurationError, match=r"dimensions"):
        opened.write_chunks([chunk(dense=np.ones(D + 1, np.float32))])
    with pytest.raises(ConfigurationError, match=r"dimensions"):
        opened.search([np.ones(D - 1, np.float32)], ALL, {}, 1)


def test_a_dropped_collection_is_gone_with_its_alias(index: Index, name: str) -> None:
    index.create(name, D)
    opened = index.open(name)
    opened.write_chunks([chunk()])
    index.point(f"{name}-live", name)
    index.drop(name)
    index.drop(name)
    assert name not in index.collections()
    assert index.alias(f"{name}-live") is None
    with pytest.raises(ConfigurationError):
        index.open(name)
    index.create(name, D + 1)
    assert index.open(name).counts() == Counts(0, 0)


def test_an_alias_is_made_moved_and_read(index: Index, name: str) -> None:
    one, two, alias = f"{name}-1", f"{name}-2", f"{name}-live"
    index.create(one, D)
    index.create(two, D)
    assert index.alias(alias) is None
    index.point(alias, one)
    assert index.alias(alias) == one
    index.point(alias, two)
    index.point(alias, two)
    assert index.alias(alias) == two
    with pytest.raises(ConfigurationError):
        index.point(alias, f"{name}-3")
    assert index.alias(alias) == two


def test_chunks_read_back_whole(collection: Collection) -> None:
    odd: dict[str, Json] = {
        'dots. and "quotes"[0]': "ä",
        "version": 7,
        "tenant": "mine",
        "big": 2**70,
        "float": 1.0,
        "nested": {"a": [1, None, {"b": False}]},
        "list": ["x", "y"],
        "null": None,
    }
    point = chunk(TOP, metadata=odd, text="Text\n\twith ünï-code 🜁")
    collection.write_chunks([point])
    (read,) = collection.chunks([point.chunk.id, uuid4()]).values()
    assert (read.id, read.key, read.text, read.version) == (point.chunk.id, "id=1", point.chunk.text, TOP)
    assert dict(read.metadata) == odd
    assert list(collection.vectors([point.chunk.id, uuid4()])) == [point.chunk.id]
    collection.write_chunks([])
    assert collection.chunks([]) == {} == collection.vectors([])


def test_vectors_come_back_at_length_one(collection: Collection) -> None:
    point = chunk(dense=np.asarray([3, 4, 0, 0, 0, 0, 0, 0], np.float32))
    collection.write_chunks([point])
    stored = collection.vectors([point.chunk.id])[point.chunk.id]
    assert stored.dtype == np.float32
    np.testing.assert_allclose(stored, unit(3, 4), atol=1e-6)


def test_an_older_chunk_never_replaces_a_newer(collection: Collection) -> None:
    new, other = chunk(TOP, text="new"), chunk(1, text="other")
    collection.write_chunks([new, other])
    # One call, mixed versions: each point has its own fence.
    collection.write_chunks(
        [
            replace(new, version=TOP - 1, chunk=replace(new.chunk, text="old")),
            replace(other, version=2, chunk=replace(other.chunk, text="newer")),
        ]
    )
    read = collection.chunks([new.chunk.id, other.chunk.id])
    assert (read[new.chunk.id].text, read[new.chunk.id].version) == ("new", TOP)
    assert (read[other.chunk.id].text, read[other.chunk.id].version) == ("newer", 2)
    collection.write_chunks([replace(new, chunk=replace(new.chunk, text="again"))])
    assert collection.chunks([new.chunk.id])[new.chunk.id].text == "again"


def test_one_call_takes_many_points(collection: Collection) -> None:
    points = [chunk(n % 7) for n in range(450)]
    collection.write_chunks(points)
    ids = [point.chunk.id for point in points]
    assert len(collection.chunks(ids)) == len(collection.vectors(ids)) == 450
    manifests = [manifest(n) for n in range(450)]
    put(collection, *manifests)
    assert len(collection.manifests([m.id for m in manifests])) == 450
    collection.drop_chunks([Drop(tuple(ids), 3)])
    assert collection.counts() == Counts(450, sum(n % 7 >= 3 for n in range(450)))


def test_manifests_read_back_whole(collection: Collection) -> None:
    made = [
        manifest(TOP),
        manifest(0, tenant=None, groups=None, url="https://example.org/?a=1", chunks=()),
        manifest(3, tenant="", groups=(), deleted=True, chunks=(), title=""),
        manifest(4, tenant="none", groups=("*", "everybody")),
    ]
    put(collection, *made)
    assert collection.manifests([m.id for m in made] + [uuid4()]) == {m.id: m for m in made}
    assert collection.manifests([]) == {}


def test_a_swap_needs_the_version_that_was_read(collection: Collection) -> None:
    first = manifest(5)
    assert collection.swap_manifests([Swap(first, 4)]) == set()
    assert collection.manifests([first.id]) == {}, "an update never inserts"
    assert collection.swap_manifests([Swap(first, None)]) == {first.id}
    second = replace(first, version=6, chunks=())
    for wrong in (None, 4, 6):
        assert collection.swap_manifests([Swap(second, wrong)]) == set()
    assert collection.manifests([first.id])[first.id] == first
    assert collection.swap_manifests([Swap(second, 5)]) == {first.id}
    assert collection.manifests([first.id])[first.id] == second
    # Asking for what stands already is an answer too: a repeated batch is not a lost race.
    assert collection.swap_manifests([Swap(second, 5)]) == {first.id}
    assert collection.swap_manifests([Swap(replace(second, title="other"), 5)]) == set()
    assert collection.swap_manifests([]) == set()


def test_swaps_of_one_call_stand_alone(collection: Collection) -> None:
    there, lost, new = manifest(1), manifest(9), manifest(1)
    put(collection, there, lost)
    newer, late = replace(there, version=2), replace(lost, version=8)
    assert collection.swap_manifests([Swap(newer, 1), Swap(late, 7), Swap(new, None)]) == {there.id, new.id}
    assert collection.manifests([there.id, lost.id, new.id]) == {there.id: newer, lost.id: lost, new.id: new}


@pytest.mark.parametrize("writers", [2, 8])
def test_of_racing_writers_exactly_one_wins(collection: Collection, writers: int) -> None:
    start = manifest(1)
    put(collection, start)
    ready = Barrier(writers)

    def attempt(writer: int, expect: int) -> bool:
        mine = replace(start, version=expect + 1, title=f"writer {writer}")
        ready.wait()
        return collection.swap_manifests([Swap(mine, expect)]) == {start.id}

    with ThreadPoolExecutor(writers) as pool:
        for expect in range(1, 21):
            won = list(pool.map(attempt, range(writers), [expect] * writers))
            stored = collection.manifests([start.id])[start.id]
            assert won.count(True) == 1
            assert (stored.version, stored.title) == (expect + 1, f"writer {won.index(True)}")


def test_racing_first_writers_leave_one(collection: Collection) -> None:
    ready = Barrier(4)

    def attempt(made: Manifest) -> bool:
        ready.wait()
        return collection.swap_manifests([Swap(made, None)]) == {made.id}

    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            one = uuid4()
            won = list(pool.map(attempt, [manifest(1, id=one, title=f"{n}") for n in range(4)]))
            assert won.count(True) == 1
            assert collection.manifests([one])[one].title == str(won.index(True))


def test_a_drop_spares_what_was_written_since(collection: Collection) -> None:
    old, new, other = chunk(4), chunk(5), chunk(4)
    collection.write_chunks([old, new, other])
    collection.drop_chunks([Drop((old.chunk.id, new.chunk.id, uuid4()), 5), Drop((other.chunk.id,), 4)])
    assert set(collection.chunks([p.chunk.id for p in (old, new, other)])) == {new.chunk.id, other.chunk.id}
    collection.drop_chunks([])
    collection.drop_chunks([Drop((), 9)])
    assert collection.counts() == Counts(0, 2)


def test_dense_search_orders_by_cosine(collection: Collection) -> None:
    points = [chunk(dense=unit(1, n), text=str(n)) for n in (3, 0, 1, 2)]
    collection.write_chunks(points)
    found = search(collection, unit(1), ALL, {}, 3)
    assert [hit.chunk.text for hit in found] == ["0", "1", "2"]
    assert [hit.score for hit in found] == pytest.approx([1, 2**-0.5, 5**-0.5], abs=1e-5)
    assert len(search(collection, unit(1), ALL, {}, 100)) == 4


def test_several_queries_are_answered_in_their_order(collection: Collection) -> None:
    a, b = (
        chunk(dense=unit(1), sparse=Sparse((1,), (1.0,))),
        chunk(dense=unit(0, 1), sparse=Sparse((2,), (1.0,))),
    )
    collection.write_chunks([a, b])
    queries: list[Vector | Sparse] = [
        unit(0, 1),
        Sparse((), ()),
        Sparse((1,), (1.0,)),
        unit(1),
        Sparse((9,), (1.0,)),
    ]
    found = collection.search(queries, ALL, {}, 1)
    assert [[one.id for one in best] for best in found] == [[b.chunk.id], [], [a.chunk.id], [a.chunk.id], []]
    assert collection.search([], ALL, {}, 1) == []
    assert collection.search([Sparse((), ())], ALL, {}, 1) == [[]]


def bm25(having: int, of: int) -> float:
    return log(1 + (of - having + 0.5) / (having + 0.5))


def test_sparse_search_weighs_by_the_scopes_own_corpus(collection: Collection) -> None:
    mine = [
        chunk(tenant="a", text="rare", sparse=Sparse((1, 2), (0.5, 1.0))),
        chunk(tenant="a", text="common", sparse=Sparse((2,), (2.0,))),
        chunk(tenant="a", text="neither", sparse=Sparse((3,), (1.0,))),
        chunk(tenant="a", text="no words", sparse=Sparse((), ())),
    ]
    collection.write_chunks(mine)
    asked, scope = Sparse((1, 2), (1.0, 1.0)), Scope("a")
    before = search(collection, asked, scope, {}, 10)
    assert [hit.chunk.text for hit in before] == ["rare", "common"], "a common token is needed"
    expected = [0.5 * bm25(1, 3) + bm25(2, 3), 2 * bm25(2, 3)]
    assert [hit.score for hit in before] == pytest.approx(expected, rel=1e-5)
    put(collection, manifest(tenant="a"))
    hidden = [chunk(tenant=tenant, sparse=Sparse((1,), (9.0,))) for tenant in ["b"] * 50 + [None] * 50]
    unread = [chunk(tenant="a", groups=("g",), sparse=Sparse((1,), (9.0,))) for _ in range(50)]
    collection.write_chunks([*hidden, *unread])
    after = search(collection, asked, scope, {}, 10)
    # Rows that the caller may not read never move a score.
    assert [hit.chunk.text for hit in after] == ["rare", "common"]
    assert [hit.score for hit in after] == pytest.approx(expected, rel=1e-5)
    assert [hit.chunk.text for hit in search(collection, asked, scope, {}, 1)] == ["rare"]
    assert search(collection, Sparse((), ()), scope, {}, 10) == []
    assert search(collection, Sparse((99,), (1.0,)), scope, {}, 10) == []


def test_a_filter_narrows_the_hits_but_not_the_corpus(collection: Collection) -> None:
    collection.write_chunks(
        [chunk(metadata={"lang": lang}, sparse=Sparse((1,), (1.0,))) for lang in ("de", "en", "en")]
    )
    (hit,) = search(collection, Sparse((1,), (1.0,)), ALL, {"lang": ["de"]}, 10)
    assert hit.score == pytest.approx(bm25(3, 3), rel=1e-5)


VISIBLE: list[tuple[str | None, tuple[str, ...] | None, Scope, bool]] = [
    (None, None, Scope(None), True),
    (None, None, Scope("a"), False),
    ("a", None, Scope(None), False),
    ("a", None, Scope("a"), True),
    ("a", None, Scope("b", frozenset({"a"})), False),
    ("none", None, Scope(None), False),
    (None, None, Scope("none"), False),
    ("", None, Scope(None), False),
    ("", None, Scope(""), True),
    ("a", ("g", "h"), Scope("a", frozenset({"h"})), True),
    ("a", ("g", "h"), Scope("a", frozenset({"i"})), False),
    ("a", ("g",), Scope("a"), False),
    ("a", ("g",), Scope("b", frozenset({"g"})), False),
    ("a", (), Scope("a", frozenset({"g", "", "everybody"})), False),
    (None, ("g",), Scope(None, frozenset({"g"})), True),
    ("a", ("everybody",), Scope("a"), False),
    ("a", None, Scope("a", frozenset({"g"})), True),
]


def test_a_scope_sees_its_own_rows_only(collection: Collection) -> None:
    for tenant, groups, scope, seen in VISIBLE:
        point = chunk(tenant=tenant, groups=groups)
        collection.write_chunks([point])
        for hits in (
            search(collection, unit(1), scope, {}, 10),
            search(collection, point.sparse, scope, {}, 10),
        ):
            assert [hit.chunk.id for hit in hits] == [point.chunk.id] * seen, (tenant, groups, scope)
        collection.drop_chunks([Drop((point.chunk.id,), 2)])


FILTERS: list[tuple[dict[str, Json], dict[str, Sequence[Json]], bool]] = [
    ({"lang": "de"}, {"lang": ["en", "de"]}, True),
    ({"lang": "de"}, {"lang": ["en"]}, False),
    ({"lang": "de"}, {"lang": []}, False),
    ({}, {"lang": ["de"]}, False),
    ({"lang": "de", "year": 2024}, {"lang": ["de"], "year": [2024, 2025]}, True),
    ({"lang": "de", "year": 2024}, {"lang": ["de"], "year": [2025]}, False),
    ({"tags": ["x", "y"]}, {"tags": ["y"]}, True),
    ({"tags": ["x", "y"]}, {"tags": ["z"]}, False),
    ({"tags": []}, {"tags": ["x"]}, False),
    ({"n": 1}, {"n": [True]}, False),
    ({"n": True}, {"n": [True]}, True),
    ({"n": 1}, {"n": ["1"]}, False),
    ({"n": 1}, {"n": [1.0]}, True),
    ({"n": 0.5}, {"n": [0.5]}, True),
    ({"n": 2**70}, {"n": [2**70]}, True),
    ({"n": 2**70}, {"n": [2**70 + 1]}, False),
    ({"n": None}, {"n": [None]}, True),
    ({"a.b": "x"}, {"a.b": ["x"]}, True),
    ({"tenant": "b"}, {"tenant": ["b"]}, True),
    ({"version": 9}, {"version": [1]}, False),
    ({'we"ird [0]': "x"}, {'we"ird [0]': ["x"]}, True),
]


def test_filters_take_any_of_the_allowed_values(collection: Collection) -> None:
    for metadata, filters, seen in FILTERS:
        point = chunk(metadata=metadata)
        collection.write_chunks([point])
        for hits in (
            search(collection, unit(1), ALL, filters, 10),
            search(collection, point.sparse, ALL, filters, 10),
        ):
            assert [hit.chunk.id for hit in hits] == [point.chunk.id] * seen, (metadata, filters)
        collection.drop_chunks([Drop((point.chunk.id,), 2)])


def test_only_chunks_are_hits(collection: Collection) -> None:
    collection.write_chunks([chunk(tenant="acme")])
    put(collection, *(manifest(tenant="acme", groups=None) for _ in range(5)))
    collection.cover([Covered("t", n, 1, 1, "", 0) for n in range(5)])
    assert len(search(collection, unit(1), Scope("acme"), {}, 100)) == 1
    assert len(search(collection, Sparse((7,), (1.0,)), Scope("acme"), {}, 100)) == 1


def test_scrolling_gives_every_manifest_once_in_order(collection: Collection) -> None:
    made = [manifest(n, deleted=n % 3 == 0) for n in range(1, 41)]
    made.append(manifest(41, id=UUID(int=2**128 - 1)))
    put(collection, *made)
    collection.write_chunks([chunk() for _ in range(20)])

    def scrolled(**options: Any) -> list[Manifest]:
        found: list[Manifest] = []
        after, turns = None, 0
        while turns == 0 or after is not None:
            page = collection.scroll(after, 7, **options)
            assert len(page.manifests) <= 7
            found += page.manifests
            after, turns = page.after, turns + 1
        return found

    def expected(wanted: Callable[[Manifest], bool]) -> list[Manifest]:
        return sorted(filter(wanted, made), key=lambda m: m.id)

    assert scrolled() == expected(lambda m: not m.deleted)
    assert scrolled(deleted=True) == expected(lambda m: m.deleted)
    assert scrolled(deleted=None) == expected(lambda m: True)
    assert scrolled(deleted=None, below=10) == expected(lambda m: m.version < 10)
    assert scrolled(below=10) == expected(lambda m: m.version < 10 and not m.deleted)
    assert collection.scroll(UUID(int=2**128 - 1), 7).manifests == ()


def test_scrolling_chunks_gives_every_one_once_in_order(collection: Collection) -> None:
    points = [chunk() for _ in range(25)]
    collection.write_chunks(points)
    put(collection, manifest())
    found: list[UUID] = []
    after, more = None, True
    while more:
        page, after = collection.scroll_chunks(after, 10)
        found += [stored.id for stored in page]
        more = after is not None
    assert found == sorted(point.chunk.id for point in points)


def test_only_old_graves_are_erased(collection: Collection) -> None:
    grave, young, live = manifest(4, deleted=True), manifest(5, deleted=True), manifest(1)
    put(collection, grave, young, live)
    collection.erase_manifests([grave.id, young.id, live.id, uuid4()], 5)
    collection.erase_manifests([], 5)
    assert set(collection.manifests([grave.id, young.id, live.id])) == {young.id, live.id}
    # Nobody who read the grave can bring it back.
    assert collection.swap_manifests([Swap(replace(grave, version=9, deleted=False), 4)]) == set()
    assert collection.manifests([grave.id]) == {}


def test_counts_are_of_live_documents_and_all_chunks(collection: Collection) -> None:
    assert collection.counts() == Counts(0, 0)
    put(collection, manifest(), manifest(), manifest(deleted=True))
    collection.write_chunks([chunk(), chunk(), chunk()])
    collection.cover([Covered("t", 0, 1, 1, "", 0)])
    assert collection.counts() == Counts(2, 3)


def test_what_is_covered_is_kept_by_partition(collection: Collection) -> None:
    assert collection.covered() == []
    marks = [Covered("shop.state.articles", n, 10 + n, TOP, "0/1", 17) for n in range(3)]
    collection.cover(marks)
    collection.cover([newer := replace(marks[1], offset=99, position="0/2")])
    collection.cover([])
    collection.flush()
    assert sorted(collection.covered(), key=lambda m: m.partition) == [marks[0], newer, marks[2]]


def test_collections_do_not_mix(index: Index, name: str) -> None:
    for side in "ab":
        index.create(f"{name}-{side}", D)
    a, b = index.open(f"{name}-a"), index.open(f"{name}-b")
    a.write_chunks([chunk()])
    put(a, made := manifest())
    assert (a.counts(), b.counts()) == (Counts(1, 1), Counts(0, 0))
    assert b.manifests([made.id]) == {}
    assert b.search([unit(1)], ALL, {}, 5) == [[]]


def worker(
    collection: Collection, run: UUID, versions: Mapping[int, set[str]], todo: Sequence[int]
) -> Iterator[None]:
    """The write protocol, a call a step."""
    names = {uuid5(run, letter): letter for letter in "ABCD"}
    for version in todo:
        wanted = [point for point, letter in names.items() if letter in versions[version]]
        while True:
            before = collection.manifests([run]).get(run)
            yield
            if before is not None and before.version > version:
                break
            listed = before.chunks if before else ()
            for point in set(wanted) - set(listed):
                collection.write_chunks([chunk(version, id=point, text=names[point])])
                yield
            mine = manifest(version, id=run, chunks=tuple(wanted))
            done = collection.swap_manifests([Swap(mine, before.version if before else None)])
            yield
            if done:
                collection.drop_chunks([Drop(tuple(set(listed) - set(wanted)), version)])
                yield
                break


def test_no_listed_chunk_is_lost_to_workers_that_wake_up_late(collection: Collection) -> None:
    for seed in range(200):
        chance, run = random.Random(seed), uuid4()  # noqa: S311 - repeatable, not secret
        versions = {v: {c for c in "ABCD" if chance.random() < 0.5} for v in range(1, 6)}
        running = [worker(collection, run, versions, range(1, 6))]
        running += [worker(collection, run, versions, [chance.randint(1, 4)]) for _ in range(2)]
        while running:
            chosen = chance.choice(running)
            for _ in range(chance.choice([1, 1, 3, 8])):
                if next(chosen, StopIteration) is StopIteration:
                    running.remove(chosen)
                    break
        final = collection.manifests([run])[run]
        stored = collection.chunks([uuid5(run, letter) for letter in "ABCD"])
        assert final.version == 5
        assert {stored[point].text for point in final.chunks} == versions[5], f"seed {seed}"


def test_searches_and_writes_run_side_by_side(collection: Collection) -> None:
    with ThreadPoolExecutor(4) as pool:
        writes = [pool.submit(collection.write_chunks, [chunk() for _ in range(20)]) for _ in range(10)]
        reads = [pool.submit(search, collection, unit(1), ALL, {}, 5) for _ in range(40)]
        for write in writes:
            write.result()
        assert all(len(read.result()) <= 5 for read in reads)
    assert collection.counts() == Counts(0, 200)
