"""The embedded index: Qdrant Edge, one folder a collection, one process as owner.

Edge has no conditional write that reports its outcome, and needs none: since one process owns
the folder, a lock around read, compare and write is the compare-and-set. A write is in the
write-ahead log when a call returns and survives the end of the process; only `flush` makes it
survive the end of the machine. Calls hold the interpreter's lock, so writes go in small batches.
While the disk has no room (embed/indexes/room.py) writes and flushes are refused, reads go on.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import Any

import qdrant_edge as edge

from core.errors import ConfigurationError
from embed import payload as codec
from embed.index import Collection
from embed.indexes.edge_collection import EdgeCollection
from embed.indexes.folder import Ownership, awaiting_room, read_json, sync_folder, write_json
from embed.indexes.room import OPENING, Room


class EdgeIndex:
    """All collections of one folder. Raises ConfigurationError if another process owns it.

    `free` tells the free bytes of the disk of a path; by default it asks the system.
    """

    def __init__(self, path: Path, free: Callable[[Path], int] | None = None) -> None:
        self._path, self._room = path, Room(path, free=free)
        self._owner = Ownership(path)
        self._lock = RLock()
        self._opened: dict[str, EdgeCollection] = {}
        try:
            (path / "collections").mkdir(exist_ok=True)
            for abandoned in (path / "collections").glob(".*"):
                shutil.rmtree(abandoned)
            self._aliases: dict[str, str] = _checked(path / "aliases.json").get("aliases", {})
        except BaseException:
            self._owner.release()
            raise

    def create(self, name: str, dimensions: int) -> None:
        with self._lock, awaiting_room(self._path):
            home = self._home(name)
            if home.exists():
                stored = _checked(home / "collection.json")["dimensions"]
                if stored != dimensions:
                    raise ConfigurationError(
                        f"collection {name} in {self._path} has {stored} dimensions, not {dimensions}:"
                        " another encoder needs a new generation"
                    )
                return
            self._room.ask()
            # Whole or not at all: a crash leaves a draft that the next start removes.
            draft = home.with_name(f".{name}")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            _make_shard(draft / "shard", dimensions)
            write_json(draft / "collection.json", {"format": codec.FORMAT, "dimensions": dimensions})
            draft.rename(home)
            sync_folder(home.parent)

    def open(self, name: str) -> Collection:
        with self._lock:
            if name not in self._opened:
                home = self._home(name)
                if not home.exists():
                    raise ConfigurationError(f"no collection {name} in {self._path}: create it first")
                dimensions = _checked(home / "collection.json")["dimensions"]
                self._room.ask(OPENING)
                try:
                    shard = edge.EdgeShard.load(str(home / "shard"))
                except Exception as error:
                    raise ConfigurationError(
                        f"collection {name} in {self._path} cannot be opened ({error}):"
                        " restore the index folder, or delete it and reindex"
                    ) from error
                self._opened[name] = EdgeCollection(name, dimensions, shard, self._room)
            return self._opened[name]

    def collections(self) -> list[str]:
        found = (home.name for home in (self._path / "collections").iterdir())
        return sorted(name for name in found if not name.startswith("."))

    def drop(self, name: str) -> None:
        with self._lock, awaiting_room(self._path):
            home = self._home(name)
            if name in self._aliases.values():
                self._write_aliases({alias: at for alias, at in self._aliases.items() if at != name})
            if (opened := self._opened.pop(name, None)) is not None:
                opened.close()
            doomed = home.with_name(f".{name}")
            if home.exists():
                home.rename(doomed)
                sync_folder(home.parent)
            if doomed.exists():
                shutil.rmtree(doomed)

    def alias(self, name: str) -> str | None:
        with self._lock:
            return self._aliases.get(name)

    def point(self, alias: str, collection: str) -> None:
        with self._lock, awaiting_room(self._path):
            self.open(collection)
            self._write_aliases({**self._aliases, alias: collection})

    def close(self) -> None:
        with self._lock:
            while self._opened:
                self._opened.popitem()[1].close()
            self._owner.release()

    def _write_aliases(self, aliases: dict[str, str]) -> None:
        write_json(self._path / "aliases.json", {"format": codec.FORMAT, "aliases": aliases})
        self._aliases = aliases

    def _home(self, name: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}", name):
            raise ConfigurationError(f"{name!r} cannot name a collection: letters, digits, and ._- only")
        return self._path / "collections" / name


def _make_shard(folder: Path, dimensions: int) -> None:
    folder.mkdir()
    shard = edge.EdgeShard.create(
        str(folder),
        edge.EdgeConfig(
            vectors={codec.DENSE: edge.EdgeVectorParams(size=dimensions, distance=edge.Distance.Cosine)},
            sparse_vectors={codec.SPARSE: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        ),
    )
    # Without these a filter reads every payload: 140 ms at 100,000 points.
    for keyword in codec.KEYWORDS:
        params = edge.KeywordIndexParams(is_tenant=keyword == "readers")
        shard.update(edge.UpdateOperation.create_field_index(keyword, params))
    shard.update(
        edge.UpdateOperation.create_field_index("version", edge.IntegerIndexParams(lookup=False, range=True))
    )
    shard.flush()
    shard.close()


def _checked(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(path) or {"format": codec.FORMAT}
    if found["format"] > codec.FORMAT:
        raise ConfigurationError(
            f"{path} has format {found['format']}, this version reads up to {codec.FORMAT}:"
            " a newer Tailrace wrote it; update this process, or reindex into another folder"
        )
    return found
