"""Chunks of the index seam: read back whole, fenced by version, scrolled, dropped."""

from dataclasses import replace
from uuid import UUID, uuid4

import numpy as np

from core.state import Json
from embed.index import Collection, Counts, Drop
from tests.contract.index_world import TOP, chunk, manifest, put, unit


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


def test_one_call_takes_more_than_one_request_may(collection: Collection) -> None:
    """Within the limits of metadata, and together longer than what a Qdrant server takes by default."""
    tags: list[Json] = [f"{n:03}" + "x" * 1021 for n in range(100)]
    points = [chunk(n % 2, metadata={"tags": tags}) for n in range(170)]
    collection.write_chunks(points)
    assert collection.counts() == Counts(0, 170)


def test_a_drop_spares_what_was_written_since(collection: Collection) -> None:
    old, new, other = chunk(4), chunk(5), chunk(4)
    collection.write_chunks([old, new, other])
    collection.drop_chunks([Drop((old.chunk.id, new.chunk.id, uuid4()), 5), Drop((other.chunk.id,), 4)])
    assert set(collection.chunks([p.chunk.id for p in (old, new, other)])) == {new.chunk.id, other.chunk.id}
    collection.drop_chunks([])
    collection.drop_chunks([Drop((), 9)])
    assert collection.counts() == Counts(0, 2)


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
