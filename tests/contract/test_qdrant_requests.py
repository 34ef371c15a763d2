"""How long the server adapter's requests are, whatever it is given in one call."""

from typing import Any, cast
from uuid import UUID

import pytest
from qdrant_client import QdrantClient, models

from embed.index import Drop
from embed.indexes.qdrant_collection import REQUEST_BYTES, QdrantCollection
from tests.contract.index_world import D, chunk


class Client:
    """Measures what it is sent, and accepts it."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def batch_update_points(
        self, _: str, operations: list[models.UpdateOperation], **__: Any
    ) -> list[models.UpdateResult]:
        self.lengths.append(len(models.UpdateOperations(operations=operations).model_dump_json().encode()))
        return [models.UpdateResult(operation_id=1, status=models.UpdateStatus.COMPLETED) for _ in operations]


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def collection(client: Client) -> QdrantCollection:
    return QdrantCollection(cast("QdrantClient", client), "g1", D)


def test_what_a_truncate_drops_is_not_one_request(client: Client, collection: QdrantCollection) -> None:
    collection.drop_chunks([Drop(tuple(UUID(int=n) for n in range(300_000)), 1)])
    assert sum(client.lengths) > REQUEST_BYTES > max(client.lengths)


def test_a_point_that_is_too_long_for_its_neighbours_goes_alone(
    client: Client, collection: QdrantCollection
) -> None:
    collection.write_chunks([chunk(), chunk(text="x" * REQUEST_BYTES), chunk(), chunk()])
    assert [length > REQUEST_BYTES for length in client.lengths] == [False, True, False]
