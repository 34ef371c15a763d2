"""Retrieval as a whole, over the real pipeline, view and search; each stage moves when it is told to."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from core.errors import ContractError, LimitError, PermanentError, TransientError
from core.keys import RowKey
from core.state import Json, StateRow
from core.state_reader import Loading
from core.topics import collection_name
from core.version import version
from embed.encoder import HashingEncoder
from embed.index import Collection, Index
from embed.memory_index import MemoryCollection, MemoryIndex
from embed.model import Candidate, Manifest, Scope, Sparse, Vector
from retrieve.model import Evidence
from retrieve.search import encode_query
from tests.unit.retrieval_world import ARTICLES, EVERYBODY, ORDERS, PRODUCTS, World, article

Ranked = list[list[Candidate]]

LONG = " ".join(f"paragraph {n} talks of matter{n} and nothing else at all today." for n in range(12))


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    asyncio.run(main())


def keys(evidence: Evidence) -> list[str]:
    return [hit.key for hit in evidence.hits]


def test_a_question_finds_passages_with_rows_state_and_position() -> None:
    async def test() -> None:
        world = World()
        world.commit(ARTICLES, 1, article("Tents dry best in the shade."))
        world.commit(ARTICLES, 2, article("Boots want wax."))
        for key, total in ((1, "5.00"), (2, "70.00")):
            world.commit(ORDERS, key, {"customer_id": 42, "total": total, "status": "open", "tenant_id": "a"})
        world.settle()
        await world.look()
        found = await world.ask("how to dry tents", state={"orders": "42"}, top_k=1)
        [hit] = found.hits
        assert (hit.document, hit.key, hit.ordinal, hit.stale) == ("articles", "1", 0, False)
        assert hit.url == "https://shop.example/articles/1"
        assert hit.row["body"] == hit.text == "Tents dry best in the shade."
        assert 0 < hit.relevance <= 1
        assert found.state == {"orders": ({"id": 2, "status": "open"}, {"id": 1, "status": "open"})}
        assert found.freshness.as_of["shop"].position is not None
        assert (found.freshness.index_lag_ms, found.freshness.state_lag_ms) == (0, 0)
        assert found.freshness.source_status == {"shop": "ok"}
        assert found.explanation.fused[0][0] == hit.chunk_id
        assert {one.channel for one in found.explanation.channels} == {"dense", "sparse"}
        assert {"encode", "search", "manifests", "total"} <= found.explanation.timings_ms.keys()

    run(test)


def test_a_deleted_row_is_not_cited_although_the_index_still_has_it() -> None:
    async def test() -> None:
        world = World()
        for key in (1, 2, 3):
            world.commit(ARTICLES, key, article(f"Tents number {key}."))
        world.settle()
        world.commit(ARTICLES, 2, None)
        world.resolve_all()
        world.read_all()
        found = await world.ask("tents")
        assert sorted(keys(found)) == ["1", "3"]
        assert "deleted" in {reason for _, reason in found.explanation.dropped}
        world.commit(ARTICLES, None, None)  # a truncate
        world.resolve_all()
        world.read_all()
        assert (await world.ask("tents")).hits == ()

    run(test)


def test_an_edited_row_is_cited_as_stale_until_the_index_has_it() -> None:
    async def test() -> None:
        world = World()
        world.commit(ARTICLES, 1, article("Tents are green."))
        world.settle()
        world.commit(ARTICLES, 1, article("Tents are red."))
        world.resolve_all()
        world.read_all()
        [hit] = (found := await world.ask("tents")).hits
        assert (hit.stale, hit.text, hit.row["body"]) == (True, "Tents are green.", "Tents are red.")
        assert found.freshness.stale_hits == 1
        world.settle()
        [hit] = (await world.ask("tents")).hits
        assert (hit.stale, hit.text) == (False, "Tents are red.")

    run(test)


def test_a_row_that_lost_its_reader_is_dropped_before_the_index_hears_of_it() -> None:
    async def test() -> None:
        changes: list[dict[str, Json]] = [{"published": False}, {"tenant_id": "b"}, {"groups": ["board"]}]
        for change in changes:
            world = World()
            world.commit(ARTICLES, 1, article("Tents are green."))
            world.settle()
            world.commit(ARTICLES, 1, article("Tents are green.") | change)
            world.resolve_all()
            world.read_all()
            assert (await world.ask("tents")).hits == (), change

    run(test)


def test_the_join_waits_for_a_view_that_is_behind_and_only_so_long() -> None:
    async def test() -> None:
        world = World()
        world.commit(ARTICLES, 0, article("Boots.", published=False))
        world.settle()
        world.commit(ARTICLES, 1, article("Tents are green."))
        world.resolve_all()
        world.apply_all()
        found = await world.ask("tents")
        assert found.hits == ()
        assert found.explanation.dropped[0][1] == "behind"
        assert found.explanation.timings_ms["total"] >= 190
        asking = asyncio.create_task(world.ask("tents"))
        await asyncio.sleep(0.02)
        world.read_all()
        await world.reader.tell()
        assert keys(await asking) == ["1"]

    run(test)


def test_a_row_that_never_was_is_dropped_and_not_waited_for() -> None:
    async def test() -> None:
        world = World()
        world.commit(ARTICLES, 1, article("Tents are green."))
        world.commit(ARTICLES, 2, article("Tents are red."))
        world.settle()
        del world.reader.tables[world.view.topic(ARTICLES)]._rows[_canonical(world, "2")]
        found = await world.ask("tents")
        assert keys(found) == ["1"]
        assert found.explanation.dropped[0][1] == "no_row"
        assert found.explanation.timings_ms["total"] < 150

    run(test)


def _canonical(world: World, key: str) -> bytes:
    made = world.view.key_of(ARTICLES, key)
    assert made is not None
    return made.canonical


@pytest.mark.parametrize("first", [0, 1])
def test_a_row_under_a_renamed_key_is_found_beside_the_grave_of_its_old_one(first: int) -> None:
    async def test() -> None:
        world = World()
        columns = {**article("Tents dry best in the shade."), "id": 1, "uid": 1}
        rows = [
            StateRow(RowKey.of({"uid": 1}), version(1, 0), columns),
            StateRow(RowKey.of({"id": 1}), version(1, 1), {}, deleted=True),
        ]
        topic = world.view.topic(ARTICLES)
        for offset, row in enumerate((rows[first], rows[1 - first])):
            world.pipelines["articles"].apply([world.renderers["articles"].render(row)])
            world.view.take(topic, world.reader.tables[topic].apply(0, offset, row))
        assert keys(await world.ask("dry tents")) == ["1"]

    run(test)


def test_the_search_goes_deeper_until_enough_count() -> None:
    async def test() -> None:
        world = World()
        for key in range(200):
            world.commit(ARTICLES, key, article(f"Tents tents tents {'tents ' * (key < 190)}{key}."))
        world.settle()
        for key in range(190):
            world.commit(ARTICLES, key, None)
        world.resolve_all()
        world.read_all()
        assert len((await world.ask("tents", top_k=10)).hits) == 10
        assert len((await world.ask("tents", top_k=50)).hits) == 10

    run(test)


class Meddled:
    """A collection whose calls may be changed."""

    def __init__(self, inner: Collection, changes: Mapping[str, Callable[..., Any]]) -> None:
        self._inner, self._changes = inner, changes

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._inner, name)
        if name in self._changes:
            return lambda *args, **kwargs: self._changes[name](inner, *args, **kwargs)
        return inner


class MeddledIndex:
    def __init__(self, inner: Index, changes: Mapping[str, Callable[..., Any]]) -> None:
        self._inner, self._changes = inner, changes

    def open(self, name: str) -> Any:
        return Meddled(self._inner.open(name), self._changes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def meddled(**changes: Callable[..., Any]) -> World:
    return World(wrap=lambda index: MeddledIndex(index, changes))


def test_a_document_that_changes_during_the_search_is_searched_again_once() -> None:
    async def test() -> None:
        searches = []

        def search(inner: Callable[..., Ranked], *args: Any) -> Ranked:
            found = inner(*args)
            searches.append(len(found[0]))
            if len(searches) == 1:  # the edit lands between the search and the reading of manifests
                world.commit(ARTICLES, 1, article("Tents are red now."))
                world.resolve_all()
                world.read_all()
                world.apply_all()
            return found

        world = meddled(search=search)
        world.commit(ARTICLES, 1, article("Tents are green."))
        world.settle()
        [hit] = (await world.ask("tents")).hits
        assert (hit.text, hit.stale, len(searches)) == ("Tents are red now.", False, 2)

    run(test)


def test_chunks_on_their_way_cost_no_second_search_and_are_not_cited() -> None:
    async def test() -> None:
        searches = []

        def search(inner: Callable[..., Ranked], *args: Any) -> Ranked:
            searches.append(1)
            return inner(*args)

        world = meddled(search=search)
        world.commit(ARTICLES, 1, article("Tents are green."))
        world.settle()
        pipeline = world.pipelines["articles"]

        def crash(point: str) -> None:
            if point == "after_upsert":
                raise TransientError("the machine went away")

        pipeline._failpoint = crash
        world.commit(ARTICLES, 1, article("Tents are red now."))
        world.resolve_all()
        with pytest.raises(TransientError):
            world.apply_all()
        world.read_all()
        [hit] = (await world.ask("tents")).hits
        assert (hit.text, hit.stale, len(searches)) == ("Tents are green.", True, 1)

    run(test)


def test_one_request_stays_with_one_generation_and_survives_its_drop() -> None:
    async def test() -> None:
        world = World()
        world.commit(ARTICLES, 1, article("Tents are green."))
        world.settle()
        assert keys(await world.ask("tents")) == ["1"]
        old = collection_name("shop", "articles", 1)
        world.pipelines["articles"] = world.generation("articles", world.settings.documents["articles"], 2)
        world.indexed.clear()
        found = await world.ask("tents")
        assert found.hits == ()  # the new one is live and empty: its own coverage is what counts
        await world.look()
        assert (await world.ask("tents")).freshness.as_of["shop"].position is None
        world.apply_all()
        world.index.drop(old)
        world.clock.advance(0.1)
        found = await world.ask("tents")
        assert (keys(found), found.freshness.as_of["shop"].position is not None) == (["1"], True)

    run(test)


def test_a_collection_that_vanishes_in_mid_request_is_resolved_anew_once() -> None:
    async def test() -> None:
        calls = []

        def gone(inner: Callable[..., Ranked], *args: Any) -> Ranked:
            calls.append(1)
            if len(calls) == 1:
                world.index.drop(collection_name("shop", "articles", 1))
                world.index.point("shop-articles", collection_name("shop", "articles", 2))
                world.index.open("gone")  # raises as an adapter does
            return inner(*args)

        world = meddled(search=gone)
        world.commit(ARTICLES, 1, article("Tents are green."))
        world.settle()
        world.pipelines["articles"] = world.generation("articles", world.settings.documents["articles"], 2)
        world.indexed.clear()
        world.apply_all()
        world.index.point("shop-articles", collection_name("shop", "articles", 1))
        assert keys(await world.ask("tents")) == ["1"]
        assert len(calls) == 2

    run(test)


def test_without_a_live_index_the_answer_is_to_try_later() -> None:
    async def test() -> None:
        world = World(index=MemoryIndex())
        for name in world.index.collections():
            world.index.drop(name)
        with pytest.raises(TransientError, match="no live index yet"):
            await world.ask("tents")

    run(test)


# Three tenants, identical texts.

TENANTS = ("a", "b", "c")


def fill(world: World) -> None:
    chance = random.Random(7)  # noqa: S311 - repeatable
    for key in range(90):
        tenant = TENANTS[key % 3]
        body = f"Tents and boots, part {key // 3}. {LONG if key < 3 else ''}"
        groups: Json = ["all"] if key % 2 else ["board"]
        more: dict[str, Json] = {"category": chance.choice(["help", "news", 7, None])}
        world.commit(ARTICLES, key, article(body, tenant, groups=groups, **more))
        world.commit(PRODUCTS, f"p{key}", {"body": body, "tenant_id": tenant, "category": "help"})
        world.commit(ORDERS, key, {"customer_id": key // 3, "total": key, "status": "x", "tenant_id": tenant})
    world.settle()


async def foreign(world: World, questions: int) -> tuple[int, int]:
    """Hits and entries of other tenants or groups, and how many there were in all."""
    chance = random.Random(3)  # noqa: S311 - repeatable
    words = ["tents", "boots", "part", "matter3", "matter11", "tenant b", "a", '"b"', "tenant:b", "5", "*"]
    wrong = seen = 0
    for _ in range(questions):
        tenant = chance.choice(TENANTS)
        groups = chance.choice([frozenset[str](), EVERYBODY, frozenset({"board"}), frozenset({"all", "x"})])
        filters: dict[str, Sequence[Json]] = {}
        if chance.random() < 0.5:
            filters["category"] = chance.choices(["help", "news", 7, None, "b", "tenant:b"], k=2)
        found = await world.ask(
            " ".join(chance.choices(words, k=chance.randint(1, 4))),
            scope=Scope(tenant, groups),
            filters=filters,
            documents=chance.choice([("articles",), ("products",), ("articles", "products")]),
            state={"orders": str(chance.randrange(30))},
            top_k=chance.choice([1, 6, 40]),
        )
        for hit in found.hits:
            own = hit.row["tenant_id"] == tenant
            readable = hit.document == "products" or not groups.isdisjoint(hit.row["groups"])  # type: ignore[arg-type]
            wrong += not (own and readable)
        for row in found.state["orders"]:
            wrong += TENANTS[int(str(row["id"])) % 3] != tenant
        seen += len(found.hits) + len(found.state["orders"])
    return wrong, seen


def test_no_question_or_filter_shows_another_tenants_rows() -> None:
    async def test() -> None:
        world = World()
        fill(world)
        wrong, seen = await foreign(world, 300)
        assert wrong == 0
        assert seen > 1000

    run(test)


def _everything(
    inner: Callable[..., Ranked], queries: Sequence[Vector | Sparse], scope: Scope, filters: Any, limit: int
) -> Ranked:
    """An index whose scope filter was removed."""
    collection = inner.__self__  # type: ignore[attr-defined]  # a bound method
    assert isinstance(collection, MemoryCollection)
    groups = frozenset({"all", "board"})
    each = [inner(queries, Scope(tenant, groups), filters, limit) for tenant in TENANTS]
    return [
        sorted((c for found in of_query for c in found), key=lambda c: -c.score)[:limit]
        for of_query in zip(*each, strict=True)
    ]


def test_the_join_alone_keeps_tenants_apart() -> None:
    async def test() -> None:
        world = meddled(search=_everything)
        fill(world)
        wrong, seen = await foreign(world, 60)
        assert wrong == 0
        assert seen > 200
        dropped = (await world.ask("tents", top_k=40)).explanation.dropped
        assert "foreign" in {reason for _, reason in dropped}  # the filter really was off

    run(test)


def test_the_index_filter_alone_keeps_tenants_apart() -> None:
    async def test() -> None:
        asked: list[Scope] = []

        def note(inner: Callable[..., Ranked], *args: Any) -> Ranked:
            asked.append(args[1])
            return inner(*args)

        def anybodys(inner: Callable[..., dict[UUID, Manifest]], ids: Sequence[UUID]) -> dict[UUID, Manifest]:
            # The join sees manifests that always match: only the search's own filter is left.
            return {k: replace(m, tenant=asked[-1].tenant, groups=None) for k, m in inner(ids).items()}

        world = meddled(search=note, manifests=anybodys)
        fill(world)
        wrong, seen = await foreign(world, 60)
        assert wrong == 0
        assert seen > 200

    run(test)


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
        assert await retriever.state_entry("orders", "0", scope) == ({"id": 0, "status": "x"},)
        assert await retriever.state_entry("orders", "999", scope) == ()

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
    ("question", "error"),
    [
        ({"query": "  "}, ContractError),
        ({"query": "x" * 30_000}, LimitError),
        ({"top_k": 0}, LimitError),
        ({"top_k": 101}, LimitError),
        ({"documents": ("nothing",)}, ContractError),
        ({"filters": {"tenant_id": ["b"]}}, ContractError),
        ({"state": {"nothing": "1"}}, ContractError),
        ({"state": {"everything": "x"}}, ContractError),
        ({"min_position": {"shop": "later"}}, ContractError),
        ({"min_position": {"nowhere": "0/1"}}, ContractError),
    ],
)
def test_a_question_that_breaks_a_rule_is_refused(
    question: dict[str, object], error: type[PermanentError]
) -> None:
    async def test() -> None:
        with pytest.raises(error):
            await World().ask(**{"query": "tents", **question})  # type: ignore[arg-type]  # by name

    run(test)


def test_a_question_longer_than_the_encoder_takes_is_not_cut_off() -> None:
    encoder = HashingEncoder()
    for text in ("word " * 1000 + "needle", "x" * 5000, "needle"):
        vector = encode_query(encoder, text)
        assert vector.shape == (encoder.dimensions,)
        assert float(vector @ vector) == pytest.approx(1, abs=1e-5)
    blank, with_end = (
        encode_query(encoder, "word " * 1000),
        encode_query(encoder, "word " * 1000 + "needle " * 300),
    )
    assert float(blank @ with_end) < 0.99
