"""Collections and aliases of the index seam: made, moved, counted, dropped, and never mixed."""

from dataclasses import replace

import numpy as np
import pytest

from core.errors import ConfigurationError
from embed.index import Collection, Counts, Index
from embed.model import Covered
from tests.contract.index_world import ALL, TOP, D, chunk, manifest, put, unit


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


def test_what_is_covered_never_steps_back(collection: Collection) -> None:
    now = Covered("t", 0, 90, 500, "b", 7)
    collection.cover([now])
    late = [replace(now, offset=89), replace(now, offset=91, version=499), replace(now, offset=8, version=1)]
    for mark in late:  # of a worker that has lost the partition
        collection.cover([mark, Covered("t", 1, mark.offset, mark.version, "a", 6)])
        assert next(m for m in collection.covered() if m.partition == 0) == now
    further = replace(now, offset=91)
    collection.cover([further])
    assert further in collection.covered()
    anew = replace(now, offset=3, version=TOP, position="c")  # the topic was made anew, in another epoch
    collection.cover([anew])
    again = replace(anew, position="d")  # equal: applied again
    collection.cover([again])
    other = Covered("t", 1, 89, 500, "a", 6)
    assert sorted(collection.covered(), key=lambda m: m.partition) == [again, other]
    collection.cover([now, further, replace(again, position="e")])  # several of one partition
    assert sorted(collection.covered(), key=lambda m: m.partition) == [replace(again, position="e"), other]


def test_collections_do_not_mix(index: Index, name: str) -> None:
    for side in "ab":
        index.create(f"{name}-{side}", D)
    a, b = index.open(f"{name}-a"), index.open(f"{name}-b")
    a.write_chunks([chunk()])
    put(a, made := manifest())
    assert (a.counts(), b.counts()) == (Counts(1, 1), Counts(0, 0))
    assert b.manifests([made.id]) == {}
    assert b.search([unit(1)], ALL, {}, 5) == [[]]
