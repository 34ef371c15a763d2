"""Searches of the index seam: scores by the caller's own corpus, scopes and filters."""

from collections.abc import Sequence
from math import log

import pytest

from core.state import Json
from embed.index import Collection, Drop
from embed.model import Covered, Scope, Sparse, Vector
from tests.contract.index_world import ALL, chunk, manifest, put, search, unit


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
