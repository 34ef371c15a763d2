"""Documents and entries by key, and pages of documents: what a caller sees of them."""

import asyncio

import pytest

from core.errors import ContractError, TransientError
from core.keys import RowKey
from core.state import StateRow
from core.state_reader import Loading
from core.version import version
from embed.model import Scope
from tests.unit.retrieval_world import ARTICLES, EVERYBODY, World, article, run
from tests.unit.tenants_world import fill


def test_documents_of_others_and_absent_ones_look_the_same() -> None:
    async def test() -> None:
        world = World()
        fill(world)
        retriever = world.retriever
        scope = Scope("a", frozenset({"all", "board"}))
        view = await retriever.document("articles", "0", scope)
        assert view is not None
        assert [chunk.ordinal for chunk in view.chunks] == list(range(len(view.manifest.chunks)))
        assert len(view.chunks) > 1
        assert view.row["id"] == 0
        assert not view.stale
        for key in ("1", "2", "9999", "", "id=1", '"0"', "0.0", "🦊"):
            assert await retriever.document("articles", key, scope) is None, key
        assert (await retriever.document("products", "p0", scope)) is not None
        with pytest.raises(ContractError, match="write one of articles, products"):
            await retriever.document("nothing", "1", scope)
        assert (await retriever.state_entry("orders", "0", scope)).rows == ({"id": 0, "status": "x"},)
        assert (await retriever.state_entry("orders", "999", scope)).rows == ()

    run(test)


def test_a_key_that_is_no_unicode_is_as_absent_as_any_other() -> None:
    async def test() -> None:
        world = World()
        fill(world)
        scope = Scope("a", EVERYBODY)
        for key in (r'"\ud800"', "\ud800"):
            assert await world.retriever.document("products", key, scope) is None
            with pytest.raises(ContractError, match="no key of document products"):
                await world.retriever.document_page("products", key, 4, scope)

    run(test)


def test_a_row_that_was_anothers_is_not_shown_while_the_view_is_behind_the_index() -> None:
    async def test() -> None:
        others = "Plans of others about tents."
        for before in (article(others, "b"), article(others, groups=["board"])):
            world = World()
            world.commit(ARTICLES, 1, before)
            world.settle()
            world.commit(ARTICLES, 1, article("Harmless words about tents."))
            world.resolve_all()
            world.apply_all()
            scope = Scope("a", EVERYBODY)
            assert (await world.ask("tents")).hits == ()
            with pytest.raises(TransientError, match="not read yet"):
                await world.retriever.document("articles", "1", scope)
            asking = asyncio.create_task(world.retriever.document("articles", "1", scope))
            await asyncio.sleep(0.02)
            world.read_all()
            await world.reader.tell()
            found = await asking
            assert found is not None
            assert found.row["body"] == "Harmless words about tents."

    run(test)


def test_while_the_rows_are_loaded_nobody_is_told_that_a_document_is_gone() -> None:
    async def test() -> None:
        world, scope = World(), Scope("a", EVERYBODY)
        world.reader.loading = Loading(0, 10)
        for asked in (
            world.retriever.document("articles", "1", scope),
            world.retriever.document_page("articles", None, 10, scope),
        ):
            with pytest.raises(TransientError, match="not read yet"):
                await asked
        world.reader.loading = Loading(10, 10)
        assert await world.retriever.document("articles", "1", scope) is None

    run(test)


def test_pages_show_every_document_of_the_caller_once() -> None:
    async def test() -> None:
        world = World()
        fill(world)
        world.commit(ARTICLES, 0, None)
        world.resolve_all()
        world.read_all()
        seen: list[str] = []
        after: str | None = None
        while True:
            page = await world.retriever.document_page(
                "articles", after, 4, Scope("a", EVERYBODY | {"board"})
            )
            assert len(page.manifests) <= 4
            seen += [manifest.key for manifest in page.manifests]
            after = page.after
            if after is None:
                break
        assert sorted(map(int, seen)) == list(range(3, 90, 3))

    run(test)


@pytest.mark.parametrize(
    ("document", "after"),
    [*(("articles", text) for text in ("", "abc", "true", "1.5", '"7"', "id=7")), ("products", "")],
)
def test_a_page_after_what_is_no_key_is_refused(document: str, after: str) -> None:
    async def test() -> None:
        world = World()
        fill(world)
        with pytest.raises(ContractError, match=f"no key of document {document}"):
            await world.retriever.document_page(document, after, 4, Scope("a", EVERYBODY))

    run(test)


@pytest.mark.parametrize("graves", ["before", "after"])
def test_pages_go_on_after_rows_whose_key_was_renamed(graves: str) -> None:
    async def test() -> None:
        world = World()
        topic = world.view.topic(ARTICLES)
        live = [
            StateRow(RowKey.of({"uid": key}), version(1, key), {**article("Tents."), "id": key})
            for key in range(20)
        ]
        gone = [StateRow(RowKey.of({"id": key}), version(1, 50 + key), {}, deleted=True) for key in range(20)]
        for offset, row in enumerate(gone + live if graves == "before" else live + gone):
            world.pipelines["articles"].apply([world.renderers["articles"].render(row)])
            world.view.take(topic, world.reader.tables[topic].apply(0, offset, row))
        seen: list[str] = []
        after: str | None = None
        while len(seen) < 40:
            page = await world.retriever.document_page("articles", after, 1, Scope("a", EVERYBODY))
            seen += [manifest.key for manifest in page.manifests]
            after = page.after
            if after is None:
                break
        assert sorted(map(int, seen)) == list(range(20))

    run(test)
