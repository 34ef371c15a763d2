"""Rows of state over HTTP, with the real view: as of which position they are shown."""

import httpx2

from core.positions import parse_position
from core.state_reader import Loading
from retrieve.model import Freshness
from serve.http.app import create_app
from serve.services import Services
from serve.twins import MemoryRetrieval, word_similarity
from tests.unit.retrieval_world import ORDERS, SETTINGS, World, run


class DeletedMeanwhile:
    """While freshness is asked, the only order is deleted and everything hears of it."""

    gone: int | None = None

    def __init__(self, world: World) -> None:
        self._world = world

    async def now(self) -> Freshness:
        self.gone = await delete(self._world)
        return await self._world.tracker.now()


async def delete(world: World) -> int:
    """The position of it."""
    said = world.commit(ORDERS, 1, None)
    world.settle()
    await world.look()
    return parse_position(said)


async def asked(world: World, path: str, meanwhile: DeletedMeanwhile | None = None) -> httpx2.Response:
    twin = MemoryRetrieval()
    services = Services(SETTINGS, world.retriever, word_similarity, meanwhile or twin, twin, twin)
    transport = httpx2.ASGITransport(create_app(services), client=("127.0.0.1", 5))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        return await http.get(path)


def test_no_row_is_shown_as_of_a_position_at_which_it_was_gone() -> None:
    async def test() -> None:
        world = World()
        world.commit(ORDERS, 1, {"customer_id": 7, "status": "new", "total": 3})
        world.settle()
        await world.look()
        meanwhile = DeletedMeanwhile(world)
        said = (await asked(world, "/v1/state/everything/new", meanwhile)).json()
        at = said["freshness"]["as_of"]["shop"]["position"]
        assert [row["id"] for row in said["rows"]] == [1]
        gone = meanwhile.gone or await delete(world)
        assert parse_position(at) < gone
        assert (await asked(world, "/v1/state/everything/new")).json()["rows"] == []

    run(test)


def test_rows_of_a_table_without_a_document_wait_for_no_index() -> None:
    async def test() -> None:
        world = World()
        position = world.commit(ORDERS, 1, {"customer_id": 7, "status": "new", "total": 3})
        world.resolve_all()
        world.read_all()  # no index has heard of anything
        await world.look()
        said = (await asked(world, "/v1/state/everything/new")).json()["freshness"]
        assert parse_position(said["as_of"]["shop"]["position"]) >= parse_position(position)
        assert (said["index_lag_ms"], said["state_lag_ms"]) == (0, 0)

    run(test)


def test_rows_are_not_shown_before_they_are_read() -> None:
    async def test() -> None:
        world = World()
        world.reader.loading = Loading(9, 10)
        answer = await asked(world, "/v1/state/everything/new")
        assert answer.status_code == 503
        assert "not read yet" in answer.json()["detail"]
        world.reader.loading = Loading(10, 10)
        assert (await asked(world, "/v1/state/everything/new")).status_code == 200
        world.broker_down = True
        await world.look()
        assert (await asked(world, "/v1/state/everything/new")).status_code == 200

    run(test)
