"""One document, two generations that differ in everything: a request reads the one it resolved, whole."""

from dataclasses import replace

import pytest

from core.errors import ConfigurationError, TransientError
from core.keys import TableId
from core.settings import DocumentSettings, HashingEncoderSettings, Settings
from core.topics import collection_name
from embed.encoder import HashingEncoder
from embed.model import Scope
from ingest.generations import Frozen, Generation, Pointer, Registry, registry_of
from retrieve.recipe import UnknownFilterError
from tailrace.encoders import GRACE_SECONDS, EncoderBook
from tests.unit.retrieval_hands import ShiftedClock
from tests.unit.retrieval_world import ARTICLES, EVERYBODY, SETTINGS, World, article, lags, run

SECTION = SETTINGS.documents["articles"]
NEXT = SECTION.model_copy(
    update={"text": "NEXT {{ body }}", "title": "New {{ title }}", "metadata": ["title"]}
)
SMALL = HashingEncoder(32)
SCOPE = Scope("a", EVERYBODY)


def two_generations() -> World:
    world = World()
    for key in range(1, 30):
        world.commit(ARTICLES, key, article(f"Tents of kind {key} are green."))
    world.settle()
    world.rebuild("articles", NEXT, 2, SMALL)
    return world


def test_the_pointer_alone_decides_which_templates_filters_and_vectors_count() -> None:
    async def test() -> None:
        world = two_generations()
        old = await world.ask("tents kind", filters={"category": ["help"]})
        assert {hit.text.partition(" ")[0] for hit in old.hits} == {"Tents"}
        with pytest.raises(UnknownFilterError, match="write one of category"):
            await world.ask("tents", filters={"title": ["T"]})
        world.promote("articles", 2)
        new = await world.ask("tents kind", filters={"title": ["T"]})
        assert {hit.text.partition(" ")[0] for hit in new.hits} == {"NEXT"}
        assert {hit.title for hit in new.hits} == {"New T"}
        with pytest.raises(UnknownFilterError, match="write one of title"):
            await world.ask("tents", filters={"category": ["help"]})
        world.promote("articles", 1)
        back = await world.ask("tents kind")
        assert [hit.chunk_id for hit in back.hits] == [hit.chunk_id for hit in old.hits]

    run(test)


def test_a_row_that_no_longer_passes_is_judged_by_the_rules_of_the_generation_that_found_it() -> None:
    async def test() -> None:
        world = two_generations()
        stricter = NEXT.model_copy(update={"where": "published and category == 'help'"})
        world.rebuild("articles", stricter, 3, SMALL)
        world.commit(ARTICLES, 1, article("Tents of kind 1 are green.", category="news"))
        world.resolve_all()
        world.read_all()  # the view knows, no index does
        for number, found in ((1, True), (2, True), (3, False)):
            world.promote("articles", number)
            view = await world.retriever.document("articles", "1", SCOPE)
            assert (view is not None) is found
            if view is not None:
                assert view.stale

    run(test)


def test_documents_are_read_from_the_generation_that_answers() -> None:
    async def test() -> None:
        world = two_generations()
        for number, begins in ((1, "Tents"), (2, "NEXT"), (1, "Tents")):
            world.promote("articles", number)
            view = await world.retriever.document("articles", "7", SCOPE)
            assert view is not None
            assert {chunk.text.partition(" ")[0] for chunk in view.chunks} == {begins}
            page = await world.retriever.document_page("articles", None, 100, SCOPE)
            assert len(page.manifests) == 29

    run(test)


def test_a_generation_dropped_under_a_page_costs_a_second_reading_not_an_error() -> None:
    async def test() -> None:
        world = two_generations()
        assert await world.retriever.document("articles", "7", SCOPE) is not None  # generation 1 is open
        live = world.retriever._live.resolve("articles")
        world.promote("articles", 2)
        world.index.drop(collection_name("shop", "articles", 1))
        resolved = iter([live])
        real = world.retriever._live.resolve

        def late(document: str) -> object:
            return next(resolved, None) or real(document)

        world.retriever._live.resolve = late  # type: ignore[method-assign, assignment]  # the race, made sure
        live.collection.manifests = _closed  # type: ignore[method-assign, assignment]
        view = await world.retriever.document("articles", "7", SCOPE)
        assert view is not None
        assert view.chunks[0].text.startswith("NEXT")

    run(test)


def _closed(*_: object) -> dict[object, object]:
    raise ConfigurationError("collection shop-articles-g1 was dropped: resolve the alias again")


def test_freshness_is_that_of_the_generation_that_answers() -> None:
    async def test() -> None:
        world = two_generations()
        await world.look()
        world.promote("articles", 2)
        assert (await world.ask("tents")).freshness.as_of["shop"].position is not None
        world.commit(ARTICLES, 1, article("Tents of kind 1 are red."))
        world.resolve_all()
        world.read_all()
        world.apply_all()  # generation 1 follows, generation 2 has not heard of it
        world.clock.advance(0.1)
        await world.look()
        assert lags((await world.ask("tents")).freshness)[0] > 0
        world.promote("articles", 1)
        assert (await world.ask("tents")).freshness.index_lag_ms == 0

    run(test)


# What is known of generations: the book.

MADE = Settings.model_validate({**SETTINGS.model_dump(), "documents": {"articles": SECTION.model_dump()}})


def generation(number: int, section: DocumentSettings = SECTION, dimensions: int = 64) -> Generation:
    encoder = HashingEncoderSettings(dimensions=dimensions)
    return Generation(
        "articles", number, "running", Frozen(section, encoder, f"hashing-{dimensions}", dimensions)
    )


class Book:
    def __init__(self, *records: Generation | Pointer) -> None:
        self.clock = ShiftedClock()
        self.registry: Registry = registry_of(records)
        self.book = EncoderBook("shop", MADE.encoder, clock=self.clock)
        self.book.watch(MADE, lambda: self.registry)


def test_a_collection_that_was_not_learnt_yet_is_looked_up_at_once() -> None:
    world = Book(generation(1))
    assert world.book.query_encoder("shop-articles-g1").dimensions == 64
    with pytest.raises(TransientError, match="just been made"):
        world.book.query_encoder("shop-articles-g2")
    world.registry = registry_of([generation(1), generation(2, NEXT, 32)])
    assert world.book.query_encoder("shop-articles-g2").dimensions == 32
    assert world.book.recipe("shop-articles-g2").metadata == {"title"}


def test_a_candidate_that_cannot_be_loaded_is_named_and_the_rest_is_ready() -> None:
    wrong = generation(2)
    wrong = replace(wrong, frozen=replace(wrong.frozen, fingerprint="another model"))
    world = Book(generation(1), wrong)
    failed = world.book.learn(world.registry)
    assert list(failed) == ["shop-articles-g2"]
    assert "generation 2 was made with encoder another model" in str(failed["shop-articles-g2"])
    assert world.book.query_encoder("shop-articles-g1").dimensions == 64


def test_a_dropped_generation_is_read_for_a_while_and_then_forgotten() -> None:
    world = Book(generation(1), generation(2, NEXT, 32), Pointer("articles", 2, 1))
    world.book.learn(world.registry)
    world.book.recipe("shop-articles-g1")
    world.registry = registry_of([replace(generation(1), status="dropped"), generation(2, NEXT, 32)])
    world.book.learn(world.registry)
    assert world.book.query_encoder("shop-articles-g1").dimensions == 64
    world.clock.advance(GRACE_SECONDS + 1)
    world.book.learn(world.registry)
    with pytest.raises(TransientError):
        world.book.query_encoder("shop-articles-g1")


def test_texts_of_no_document_are_compared_by_the_encoder_that_answers() -> None:
    world = Book(generation(1, dimensions=16), generation(2, dimensions=32), Pointer("articles", 2, 1))
    assert world.book.answering_encoder(MADE.encoder).dimensions == 32
    world.registry = Registry()
    assert world.book.answering_encoder(MADE.encoder).dimensions == 64


def test_a_documents_tables_are_those_of_what_runs_the_answering_one_first() -> None:
    moved = SECTION.model_copy(update={"table": "shop.public.products"})
    world = Book(generation(1), generation(2, moved), Pointer("articles", 2, 1))
    articles, products = TableId("shop", "public.articles"), TableId("shop", "public.products")
    assert world.book.tables("articles") == [products, articles]
    world.registry = registry_of([generation(1)])
    assert world.book.tables("articles") == [articles]
