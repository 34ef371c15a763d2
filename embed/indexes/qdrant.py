"""Qdrant over HTTP: any number of processes, each write carrying its own condition.

A refused conditional write answers like an accepted one, so a swap reads back. A conditional
upsert alone would re-insert a removed manifest; `update_only` does not. Needs a server of 1.19
or newer: an older one ignores the corpus of the BM25 statistics, silently, and lets other
tenants' rows move scores. A write is acknowledged when it is in the server's write-ahead log
and applied; how that log meets a loss of power is the server's replication and disks.
"""

import re
from math import ceil
from typing import Final

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from core.errors import ConfigurationError
from embed import payload as codec
from embed.index import Collection
from embed.indexes.qdrant_collection import QdrantCollection
from embed.indexes.qdrant_errors import border

OLDEST: Final = (1, 19)
"""First server with a corpus for BM25 statistics (and with `update_mode`)."""


class QdrantIndex:
    """All collections of one server, given by its address or as a client (also one of local mode).

    `timeout_seconds` bounds one request. Connects with the first call. Raises ConfigurationError
    for an address that is none, and with the first call for a server that is too old.
    """

    def __init__(
        self, target: str | QdrantClient, *, api_key: str | None = None, timeout_seconds: float = 10.0
    ) -> None:
        self._checked = False
        if isinstance(target, str):
            try:
                target = QdrantClient(
                    url=target, api_key=api_key, timeout=ceil(timeout_seconds), check_compatibility=False
                )
            except ValueError as error:
                raise ConfigurationError(f"index.url: {error}; write http://host:6333") from error
        self._client = target

    def create(self, name: str, dimensions: int) -> None:
        self._check()
        with border(f"collection {name}"):
            if not self._client.collection_exists(name):
                vector = models.VectorParams(size=dimensions, distance=models.Distance.COSINE)
                sparse = models.SparseVectorParams(modifier=models.Modifier.IDF)
                try:
                    self._client.create_collection(
                        name, {codec.DENSE: vector}, sparse_vectors_config={codec.SPARSE: sparse}
                    )
                except UnexpectedResponse:
                    if not self._client.collection_exists(name):  # else another process was faster
                        raise
        stored = self._dimensions(name)
        if stored != dimensions:
            raise ConfigurationError(
                f"collection {name} on the server has {stored} dimensions, not {dimensions}:"
                " another encoder needs a new generation"
            )
        # Also on one that stands: a process may have died between the two.
        with border(f"collection {name}"):
            for key in codec.KEYWORDS:
                tenant = key == "readers" or None
                params = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=tenant)
                self._client.create_payload_index(name, key, params, wait=True)
            number = models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=True)
            for key in ("version", "offset"):  # what writes are conditional on
                self._client.create_payload_index(name, key, number, wait=True)

    def open(self, name: str) -> Collection:
        self._check()
        return QdrantCollection(self._client, name, self._dimensions(name))

    def collections(self) -> list[str]:
        with border("collections"):
            return sorted(found.name for found in self._client.get_collections().collections)

    def drop(self, name: str) -> None:
        with border(f"collection {name}"):
            if self._client.collection_exists(name):
                self._client.delete_collection(name)

    def alias(self, name: str) -> str | None:
        with border("aliases"):
            found = self._client.get_aliases().aliases
        return next((alias.collection_name for alias in found if alias.alias_name == name), None)

    def point(self, alias: str, collection: str) -> None:
        self._dimensions(collection)
        changes: list[models.AliasOperations] = [
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)
            )
        ]
        if self.alias(alias) is not None:
            changes.insert(0, models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
        with border(f"alias {alias}"):
            self._client.update_collection_aliases(changes)

    def close(self) -> None:
        self._client.close()

    def _dimensions(self, name: str) -> int:
        with border(f"collection {name}"):
            found = self._client.get_collection(name).config.params.vectors
        if not isinstance(found, dict) or codec.DENSE not in found:
            raise ConfigurationError(
                f"collection {name} on the server was not made by Tailrace: rename the app"
            )
        return found[codec.DENSE].size

    def _check(self) -> None:
        if self._checked:
            return
        with border("version of the server"):
            stated = self._client.info().version
        parts = re.match(r"(\d+)\.(\d+)", stated)
        if parts is None or (int(parts[1]), int(parts[2])) < OLDEST:
            raise ConfigurationError(
                f"Qdrant {stated} cannot keep tenants apart in BM25 statistics:"
                f" update the server to {OLDEST[0]}.{OLDEST[1]} or newer"
            )
        self._checked = True
