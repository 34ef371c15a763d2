"""What the test server keeps: Edge shards with a lock each, and the aliases of all of them."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, RLock
from typing import Any

import qdrant_edge as edge

from tests.qdrant_server import words
from tests.qdrant_server.words import BadRequestError


class NotFoundError(Exception):
    """Answered with 404."""


class ConflictError(Exception):
    """Answered with 409."""


@dataclass(slots=True)
class Held:
    """One collection. Operations of a batch are applied one by one, batches in turn: as a server's log."""

    home: Path
    configuration: Mapping[str, Any]
    shard: edge.EdgeShard
    writing: Lock = field(default_factory=Lock)
    operations: int = 0

    def update(self, operations: Sequence[edge.UpdateOperation]) -> list[int]:
        with self.writing:
            first = self.operations + 1
            for one in operations:
                self.shard.update(one)
                self.operations += 1
            return list(range(first, self.operations + 1))


class Store:
    """A folder of collections. A write survives the end of the process from when its call returns."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = RLock()
        self._held: dict[str, Held] = {}
        self._aliases: dict[str, str] = {}
        (folder / "collections").mkdir(parents=True, exist_ok=True)
        for home in (folder / "collections").iterdir():
            if home.name.startswith("."):
                shutil.rmtree(home)
            else:
                configuration = json.loads((home / "collection.json").read_text(encoding="utf-8"))
                self._held[home.name] = Held(home, configuration, edge.EdgeShard.load(str(home / "shard")))
        if (file := folder / "aliases.json").exists():
            self._aliases = json.loads(file.read_text(encoding="utf-8"))

    def close(self) -> None:
        with self._lock:
            while self._held:
                held = self._held.popitem()[1]
                with held.writing:
                    held.shard.flush()
                    held.shard.close()

    def names(self) -> list[str]:
        with self._lock:
            return sorted(self._held)

    def exists(self, name: str) -> bool:
        with self._lock:
            return self._aliases.get(name, name) in self._held

    def get(self, name: str) -> Held:
        """By its name or an alias: one look at both, so that no request sees an alias half moved."""
        with self._lock:
            found = self._held.get(self._aliases.get(name, name))
        if found is None:
            raise NotFoundError(f"Collection `{name}` doesn't exist!")
        return found

    def create(self, name: str, body: Mapping[str, Any]) -> None:
        with self._lock:
            if self.exists(name):
                raise ConflictError(f"Collection `{name}` already exists!")
            if not name or name.startswith(".") or "/" in name:
                raise BadRequestError(f"{name!r} cannot name a collection")
            home = self._folder / "collections" / name
            draft = home.with_name(f".{name}")
            (draft / "shard").mkdir(parents=True)
            edge.EdgeShard.create(str(draft / "shard"), words.configuration(body)).close()
            (draft / "collection.json").write_text(json.dumps(body), encoding="utf-8")
            draft.rename(home)
            self._held[name] = Held(home, body, edge.EdgeShard.load(str(home / "shard")))

    def delete(self, name: str) -> bool:
        with self._lock:
            held = self._held.pop(name, None)
            if held is None:
                return False
            self._write_aliases({alias: at for alias, at in self._aliases.items() if at != name})
            with held.writing:
                held.shard.close()
            doomed = held.home.with_name(f".{name}")
            held.home.rename(doomed)
            shutil.rmtree(doomed)
            return True

    def aliases(self) -> dict[str, str]:
        with self._lock:
            return dict(self._aliases)

    def move(self, actions: Sequence[Mapping[str, Any]]) -> None:
        """All of the actions at once, or none of them."""
        with self._lock:
            aliases = dict(self._aliases)
            for action in actions:
                ((kind, body),) = action.items()
                if kind == "create_alias":
                    words.only(body, "alias_name", "collection_name")
                    if body["collection_name"] not in self._held:
                        raise NotFoundError(f"Collection `{body['collection_name']}` doesn't exist!")
                    if body["alias_name"] in self._held:
                        raise ConflictError(f"Collection `{body['alias_name']}` already exists!")
                    aliases[body["alias_name"]] = body["collection_name"]
                elif kind == "delete_alias":
                    words.only(body, "alias_name")
                    aliases.pop(body["alias_name"], None)
                else:
                    raise BadRequestError(f"the action {kind}")
            self._write_aliases(aliases)

    def _write_aliases(self, aliases: dict[str, str]) -> None:
        draft = self._folder / "aliases.json.draft"
        draft.write_text(json.dumps(aliases), encoding="utf-8")
        draft.replace(self._folder / "aliases.json")
        self._aliases = aliases
