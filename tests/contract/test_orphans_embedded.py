"""What no record tells of any more leaves the index, on the embedded log; what has a row stays."""

import pytest

from core.keys import RowKey
from core.state import StateRow
from tests.contract.worker_world import World, eventually, in_world, running

pytestmark = [
    pytest.mark.timeout(120),
    # Faust and mode, not ours: loops and clocks of an older asyncio.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def test_a_document_whose_grave_and_tombstone_are_gone_is_dropped_at_the_next_start() -> None:
    async def test(world: World) -> None:
        rows = {number: f"text {number}" for number in range(20)}
        async with running(world):
            await world.write(*[("c", number, text) for number, text in rows.items()])
            await eventually(lambda: world.collection.counts().documents == 20, "the rows")
        # As it was indexed before its row was deleted; every record of it has been compacted away since.
        gone = StateRow(RowKey.of({"id": 99}), 1, {"id": 99, "title": "Article 99", "body": "deleted"})
        world.pipeline.apply([world.indexer.renderer.render(gone)])
        assert world.text(99) == "deleted"
        async with running(world):
            await world.write(("c", 20, "text 20"), ("d", 3, None))
            await eventually(lambda: world.manifest(99) is None, "the orphan's end")
            await eventually(lambda: (world.text(3), world.text(20)) == (None, "text 20"), "what goes on")
            del rows[3]
            assert {number: world.text(number) for number in rows} == rows
            grave = world.manifest(3)
            assert grave is not None
            assert grave.deleted, "a fence that its row's grave still stands for"

    in_world(test)
