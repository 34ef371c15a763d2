"""The embedded index keeps its folder: kill -9, reopening, and who owns it. Real processes."""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid5

import numpy as np
import pytest

from core.errors import ConfigurationError, TransientError
from embed.index import Counts, Drop, Swap
from embed.indexes.edge import EdgeIndex
from embed.indexes.edge_collection import EdgeCollection
from embed.model import NAMESPACE, Chunk, ChunkPoint, Covered, Manifest, Scope, Sparse

ROOT = Path(__file__).parents[2]

CHILD = """
import sys
from itertools import count
from pathlib import Path
from embed.index import Drop, Swap
from embed.indexes.edge import EdgeIndex
from embed.model import Covered
from tests_child import chunk, manifest

index = EdgeIndex(Path(sys.argv[1]))
index.create("g1", 4)
index.point("live", "g1")
collection = index.open("g1")
start = max((mark.offset for mark in collection.covered()), default=0)
print("open", start, flush=True)
for n in count(start):
    collection.write_chunks([chunk(n, part) for part in range(10)])
    before = collection.manifests([manifest(n).id]).get(manifest(n).id)
    collection.swap_manifests([Swap(manifest(n), before.version if before else None)])
    collection.drop_chunks([Drop((chunk(n, 9).chunk.id,), 2**40)])
    collection.cover([Covered("t", 0, n + 1, n, "", 0)])
    print("written", n, flush=True)
    if n % 7 == 6:
        collection.flush()
        print("flushed", n, flush=True)
"""


def chunk(n: int, part: int) -> ChunkPoint:
    point = uuid5(NAMESPACE, f"{n} {part}")
    dense = np.asarray([1, n, part, 0], np.float32)
    return ChunkPoint(
        Chunk(point, f"{n} {part}"), point, "d", f"id={n}", None, None, {}, n, dense, Sparse((1,), (1.0,))
    )


def manifest(n: int) -> Manifest:
    return Manifest(
        id=uuid5(NAMESPACE, f"manifest {n}"),
        document="d",
        key=f"id={n}",
        canonical=b"%d" % n,
        version=n,
        tenant=None,
        groups=None,
        deleted=False,
        chunks=tuple(chunk(n, part).chunk.id for part in range(9)),
        title="",
        url=None,
        position="",
        committed_at=0,
        fingerprint="",
    )


def start(folder: Path, helpers: Path) -> "subprocess.Popen[str]":
    (helpers / "tests_child.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{helpers}"}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )


def test_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    chance, written = random.Random(7), -1  # noqa: S311 - repeatable, not secret
    for _ in range(4):
        child = start(tmp_path / "index", tmp_path)
        assert child.stdout is not None
        for _ in range(chance.randint(20, 120)):
            word, _, number = child.stdout.readline().partition(" ")
            assert word in {"open", "written", "flushed"}, "the child ended by itself"
            if word == "written":
                written = int(number)
        child.kill()
        rest = child.stdout.read().splitlines(keepends=True)
        child.wait()
        child.stdout.close()
        for line in rest:  # what it said before it died, whole lines only
            if line.startswith("written ") and line.endswith("\n"):
                written = int(line.split()[1])
        index = EdgeIndex(tmp_path / "index")
        assert index.alias("live") == "g1"
        collection = index.open("g1")
        (mark,) = collection.covered()
        assert mark.offset > written
        for n in range(written + 1):
            expected = manifest(n)
            assert collection.manifests([expected.id]) == {expected.id: expected}
            assert set(collection.chunks(expected.chunks)) == set(expected.chunks), f"row {n}"
            dropped: UUID = chunk(n, 9).chunk.id
            assert collection.chunks([dropped]) == {}, "what was deleted stays deleted"
        assert len(collection.search([np.ones(4, np.float32)], Scope(None), {}, 50)[0]) == 50
        index.close()
    assert written > 30


def test_reopening_keeps_everything(tmp_path: Path) -> None:
    first = EdgeIndex(tmp_path)
    first.create("g1", 4)
    first.create("g2", 4)
    first.point("live", "g1")
    first.point("live", "g2")
    collection = first.open("g2")
    collection.write_chunks([chunk(1, 0)])
    collection.swap_manifests([Swap(manifest(1), None)])
    collection.cover([Covered("t", 3, 9, 8, "p", 7)])
    collection.flush()
    collection.flush()
    first.close()
    second = EdgeIndex(tmp_path)
    assert second.collections() == ["g1", "g2"]
    assert second.alias("live") == "g2"
    again = second.open("g2")
    assert (again.dimensions, again.counts()) == (4, Counts(1, 1))
    assert again.covered() == [Covered("t", 3, 9, 8, "p", 7)]
    # The corpus statistics and payload indexes are there again, too.
    assert len(again.search([Sparse((1,), (1.0,))], Scope(None), {}, 5)[0]) == 1
    assert second.open("g1").counts() == Counts(0, 0)
    second.close()


def test_optimizing_changes_no_answer(tmp_path: Path) -> None:
    index = EdgeIndex(tmp_path)
    index.create("g1", 4)
    collection = index.open("g1")
    assert isinstance(collection, EdgeCollection)
    collection.write_chunks([chunk(n, 0) for n in range(300)])
    asked = np.asarray([1, 20, 0, 0], np.float32)
    before = collection.search([asked], Scope(None), {}, 5)[0]
    collection.optimize()
    assert collection.search([asked], Scope(None), {}, 5)[0] == before
    assert collection.counts() == Counts(0, 300)
    index.close()


def test_a_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    child = start(tmp_path / "index", tmp_path)
    assert child.stdout is not None
    assert child.stdout.readline().startswith("open")
    with pytest.raises(ConfigurationError, match=rf"process {child.pid}\b.*one process owns it"):
        EdgeIndex(tmp_path / "index")
    child.kill()
    child.wait()
    child.stdout.close()
    index = EdgeIndex(tmp_path / "index")  # the lock ends with its process, however it ends
    with pytest.raises(ConfigurationError, match="this process"):
        EdgeIndex(tmp_path / "index")
    index.close()
    EdgeIndex(tmp_path / "index").close()


def test_a_collection_dropped_under_a_reader_is_a_configuration_error(tmp_path: Path) -> None:
    index = EdgeIndex(tmp_path)
    for _ in range(5):
        index.create("g1", 4)
        collection = index.open("g1")
        collection.write_chunks([chunk(n, 0) for n in range(100)])

        def read(reader: EdgeCollection) -> str:
            try:
                while True:
                    assert len(reader.search([np.ones(4, np.float32)], Scope(None), {}, 5)[0]) == 5
            except ConfigurationError as error:
                return str(error)

        assert isinstance(collection, EdgeCollection)
        with ThreadPoolExecutor(3) as pool:
            readers = [pool.submit(read, collection) for _ in range(3)]
            index.drop("g1")
            assert all("dropped" in reader.result() for reader in readers)
    index.close()
    with pytest.raises(ConfigurationError):
        collection.counts()


def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    """Edge maps its files: a write that the disk has no room for would kill the process."""
    free = [1 << 40]
    index = EdgeIndex(tmp_path, free=lambda _: free[0])
    index.create("g1", 4)
    index.create("g2", 4)
    index.open("g2")
    collection = index.open("g1")
    collection.write_chunks([chunk(1, 0), chunk(1, 1)])
    collection.swap_manifests([Swap(manifest(1), None)])
    collection.cover([Covered("t", 0, 1, 1, "", 0)])
    free[0] = 50 << 20
    newer = replace(manifest(1), version=2, deleted=True, chunks=())
    refused: list[Callable[[], object]] = [
        lambda: collection.write_chunks([chunk(2, 0)]),
        lambda: collection.swap_manifests([Swap(newer, 1)]),
        lambda: collection.drop_chunks([Drop((chunk(1, 0).chunk.id,), 2**40)]),
        lambda: collection.cover([Covered("t", 0, 2, 2, "", 0)]),
        collection.flush,
        lambda: index.create("g3", 4),
    ]
    for write in refused:
        with pytest.raises(TransientError, match=r"50 MB free .* make room"):
            write()
    # Nothing of it happened, what can be read is read, and a generation can be given up to make room.
    assert collection.counts() == Counts(1, 2)
    assert collection.covered() == [Covered("t", 0, 1, 1, "", 0)]
    assert len(collection.search([np.ones(4, np.float32)], Scope(None), {}, 5)[0]) == 2
    index.drop("g2")
    assert index.collections() == ["g1"]
    free[0] = 1 << 40
    for write in refused:
        write()
    assert collection.counts() == Counts(0, 2)
    assert collection.covered() == [Covered("t", 0, 2, 2, "", 0)]
    free[0] = 0
    index.close()  # ends all the same: what was acknowledged is flushed
    again = EdgeIndex(tmp_path, free=lambda _: free[0])
    with pytest.raises(TransientError, match="make room"):
        again.open("g1")
    again.close()


def test_what_was_written_before_a_disk_was_full_is_there_after_it(tmp_path: Path) -> None:
    free = [1 << 40]
    index = EdgeIndex(tmp_path, free=lambda _: free[0])
    index.create("g1", 4)
    index.open("g1").write_chunks([chunk(n, 0) for n in range(300)])
    free[0] = 0
    index.close()
    free[0] = 100 << 20  # too little to write; enough to start again and answer
    again = EdgeIndex(tmp_path, free=lambda _: free[0])
    collection = again.open("g1")
    assert collection.counts() == Counts(0, 300)
    with pytest.raises(TransientError, match="make room"):
        collection.write_chunks([chunk(1, 1)])
    again.close()


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_a_disk_without_a_byte_refuses_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = EdgeIndex(tmp_path)
    index.create("g1", 4)
    index.create("g2", 4)
    index.point("live", "g1")
    (tmp_path / "aliases.json.draft").symlink_to("/dev/full")
    said = f"{tmp_path}.*No space left on device.*make room"
    moving: list[Callable[[], object]] = [lambda: index.point("live", "g2"), lambda: index.drop("g1")]
    for refused in moving:
        with pytest.raises(TransientError, match=said):
            refused()
        assert index.alias("live") == "g1"
    (tmp_path / "aliases.json.draft").unlink()
    making: list[Callable[[], object]] = [lambda: index.create("g3", 4), lambda: index.drop("g2")]
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", no_room)
        for refused in making:
            with pytest.raises(TransientError, match=said):
                refused()
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", no_room)
        with pytest.raises(TransientError, match=said):
            index.drop("g2")
    index.drop("g2")
    index.create("g3", 4)
    index.point("live", "g3")
    index.drop("g1")
    assert [one.name for one in (tmp_path / "collections").iterdir()] == ["g3"], "nor what was half deleted"
    index.close()


def test_leftovers_of_a_crash_are_cleared(tmp_path: Path) -> None:
    (tmp_path / "collections" / ".g1" / "shard").mkdir(parents=True)  # died while making it
    (tmp_path / "aliases.json.draft").write_text('{"format": 1, "ali', encoding="utf-8")
    index = EdgeIndex(tmp_path)
    assert index.collections() == []
    index.create("g1", 4)
    index.point("live", "g1")
    assert index.alias("live") == "g1"
    index.close()


@pytest.mark.parametrize("file", ["aliases.json", "collections/g1/collection.json"])
def test_newer_and_damaged_files_are_refused_by_name(tmp_path: Path, file: str) -> None:
    index = EdgeIndex(tmp_path)
    index.create("g1", 4)
    index.point("live", "g1")
    index.close()
    stored = json.loads((tmp_path / file).read_text(encoding="utf-8"))
    for text, match in ((json.dumps({**stored, "format": 2}), "format 2"), ("{", "cannot be read")):
        (tmp_path / file).write_text(text, encoding="utf-8")

        def use() -> None:
            again = EdgeIndex(tmp_path)
            try:
                again.open("g1")
            finally:
                again.close()

        with pytest.raises(ConfigurationError, match=match):
            use()


def test_names_that_are_no_folder_are_refused(tmp_path: Path) -> None:
    index = EdgeIndex(tmp_path)
    for name in ("", ".", "..", "../x", "a/b", ".g1", "a" * 300):
        with pytest.raises(ConfigurationError):
            index.create(name, 4)
    index.close()


def test_a_place_that_cannot_be_written_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"index\.path"):
        EdgeIndex(tmp_path / "file" / "index")
