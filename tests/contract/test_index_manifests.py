"""Manifests of the index seam: swapped against what was read, scrolled, and erased as graves."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from embed.index import Collection, Swap
from embed.model import Manifest
from tests.contract.index_world import TOP, chunk, manifest, put


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


def test_one_call_takes_more_than_one_request_may(collection: Collection) -> None:
    """Within the limits of an access list, and together longer than what a Qdrant server takes by default."""
    groups = tuple(f"{n:03}" + "x" * 1021 for n in range(1000))
    made = [manifest(groups=groups) for _ in range(33)]
    put(collection, *made)
    newer = [replace(one, version=2) for one in made]
    assert collection.swap_manifests([Swap(one, 1) for one in newer]) == {one.id for one in newer}


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


def test_only_old_graves_are_erased(collection: Collection) -> None:
    grave, young, live = manifest(4, deleted=True), manifest(5, deleted=True), manifest(1)
    put(collection, grave, young, live)
    collection.erase_manifests([grave.id, young.id, live.id, uuid4()], 5)
    collection.erase_manifests([], 5)
    assert set(collection.manifests([grave.id, young.id, live.id])) == {young.id, live.id}
    # Nobody who read the grave can bring it back.
    assert collection.swap_manifests([Swap(replace(grave, version=9, deleted=False), 4)]) == set()
    assert collection.manifests([grave.id]) == {}
