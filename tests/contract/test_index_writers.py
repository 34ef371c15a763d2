"""Writers of the index seam that race, wake up late, or write beside searches."""

import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from uuid import UUID, uuid4, uuid5

import pytest

from embed.index import Collection, Counts, Drop, Swap
from embed.model import Manifest
from tests.contract.index_world import ALL, chunk, manifest, put, search, unit


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
