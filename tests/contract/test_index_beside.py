"""A start over an index that holds more than what answers: what is nobody's, and what cannot be used here."""

import pytest

from core.errors import TransientError
from embed.memory_index import MemoryIndex
from ingest.generations import Generation
from ingest.registry import RegistryTail
from tests.contract.reindex_world import APP, World, eventually, filled, in_world

pytestmark = [
    pytest.mark.timeout(90),
    # Faust and mode, not ours: loops and clocks of an older asyncio.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


class Full(MemoryIndex):
    """A disk that has room for none of these collections."""

    def __init__(self, *refused: str) -> None:
        super().__init__()
        self.refused = set(refused)

    def create(self, name: str, dimensions: int) -> None:
        if name in self.refused and name not in self.collections():
            raise TransientError("the disk has 93 MB free and a write needs 192", retry_after=0.1)
        super().create(name, dimensions)


def waiting(tail: RegistryTail, one: Generation) -> str:
    return " ".join(report.waiting or "" for report in tail.registry.reports_of(one))


def test_an_alias_that_a_lost_log_left_moves_to_what_the_new_one_builds() -> None:
    """Its marks reach further than the new log, so it would be waited for without end."""
    kept = MemoryIndex()

    async def before(world: World) -> None:
        async with world.running() as run:
            one = await filled(world, run, 60)
            two = await world.begin(run.tail.registry, "articles")
            await eventually(lambda: world.holds(two), world.missing(two))
            await world.promote(two, 1)
            await eventually(lambda: world.answers(two), "promoted")
            await world.drop(one)
            await eventually(lambda: not world.stands(one), "dropped")

    async def after(world: World) -> None:
        async with world.running() as run:
            three = run.tail.registry.live("articles")
            assert three is not None
            assert three.number == 3
            await eventually(lambda: world.answers(three), "what answers is what is recorded")
            await world.write(("c", 1, "of the new log"))
            await eventually(lambda: world.holds(three), world.missing(three))
            assert kept.collections() == [f"{APP}-articles-g2", f"{APP}-articles-g3"], "nothing is deleted"
            four = await world.begin(run.tail.registry, "articles")
            assert four.number == 4

    in_world(before, index=kept)
    in_world(after, index=kept)


@pytest.mark.parametrize("wrong", ["full", "another length"])
def test_a_candidate_that_cannot_be_made_waits_and_stops_nothing(wrong: str) -> None:
    index = Full(f"{APP}-articles-g2") if wrong == "full" else Full()

    async def test(world: World) -> None:
        async with world.running() as run:
            one = await filled(world, run, 40)
            registry = run.tail.registry
        two = await world.begin(registry, "articles")
        if wrong == "another length":
            index.create(two.collection(APP), 16)
        async with world.running() as run:
            await world.write(("c", 900, "goes on"))
            await eventually(lambda: world.holds(one), world.missing(one))
            said = "93 MB free" if wrong == "full" else "16 dimensions, not 64"
            await eventually(lambda: said in waiting(run.tail, two), lambda: waiting(run.tail, two))
            index.refused.clear()
            if wrong == "full":
                await eventually(lambda: world.holds(two), world.missing(two))

    in_world(test, index=index)
