"""What one request renders of the rows that it joins: each once, for it happens in the event loop."""

import asyncio
from dataclasses import replace

from core.keys import RowKey
from core.state import StateRow
from core.topics import collection_name
from core.version import version
from embed.model import Change, Scope
from tests.unit.retrieval_world import ARTICLES, EVERYBODY, World, article, run

LONG = " ".join(f"Tents of kind {kind} are green." for kind in range(60))


def edited() -> tuple[World, list[int]]:
    """An article of many passages whose row has changed since; the versions that are rendered of it."""
    world, rendered = World(), list[int]()
    world.commit(ARTICLES, 1, article(LONG))
    world.settle()
    world.commit(ARTICLES, 1, article("Tents are red."))
    world.resolve_all()
    world.read_all()
    collection = collection_name("shop", "articles", 1)
    recipe = world.recipes.known[collection]

    def render(row: StateRow) -> Change:
        rendered.append(row.version)
        return recipe.render(row)

    world.recipes.known[collection] = replace(recipe, render=render)
    return world, rendered


def ahead(world: World) -> None:
    """The index holds an article that the view has not read: a question waits for it."""
    row = StateRow(RowKey.of({"id": 2}), version(0, 2), {**article("Tents are blue."), "id": 2})
    world.pipelines["articles"].apply([world.renderers["articles"].render(row)])


async def woken(world: World, asking: asyncio.Task[object]) -> None:
    """Something changes in the view again and again while it waits."""
    while not asking.done():
        await world.reader.tell()
        await asyncio.sleep(0.01)
    await asking


def test_once_for_all_passages_of_a_row() -> None:
    async def test() -> None:
        world, rendered = edited()
        found = await world.ask("tents green", top_k=10)
        assert [(hit.key, hit.stale) for hit in found.hits] == [("1", True)] * 10
        assert rendered == [version(0, 1)]

    run(test)


def test_once_at_all_depths() -> None:
    async def test() -> None:
        world, rendered = edited()
        for key in range(3, 60):
            world.commit(ARTICLES, key, article("Tents, green tents."))
        world.resolve_all()
        world.apply_all()  # the edit too
        world.commit(ARTICLES, 1, article("Tents are red, and green."))
        for key in range(3, 60):
            world.commit(ARTICLES, key, None)
        world.resolve_all()
        world.read_all()
        found = await world.ask("red", top_k=3)
        assert [hit.key for hit in found.hits] == ["1"]
        assert len(rendered) == 1

    run(test)


def test_once_however_often_the_view_changes_while_a_question_waits() -> None:
    async def test() -> None:
        world, rendered = edited()
        ahead(world)
        asking = asyncio.create_task(world.ask("tents", top_k=100))
        await woken(world, asking)
        assert asking.result().explanation.dropped[-1][1] == "behind"
        assert rendered == [version(0, 1)]

    run(test)


def test_a_row_that_cannot_be_rendered_is_tried_once() -> None:
    async def test() -> None:
        world, rendered = edited()
        world.commit(ARTICLES, 1, {**article(LONG), "published": "perhaps"})
        world.resolve_all()
        world.read_all()
        assert (await world.ask("tents green", top_k=10)).hits == ()
        assert rendered == [version(0, 2)]

    run(test)


def test_once_for_a_document_by_its_key() -> None:
    async def test() -> None:
        world, rendered = edited()
        found = await world.retriever.document("articles", "1", Scope("a", EVERYBODY))
        assert found is not None
        assert found.stale
        assert rendered == [version(0, 1)]

    run(test)
