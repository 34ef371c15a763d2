"""Two real collections compared, through the search that answers questions, while both follow the log."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest

from core.errors import TransientError
from core.topics import collection_name
from embed.encoder import HashingEncoder
from embed.index import Collection, Swap
from embed.indexes import bm25
from embed.model import Scope
from ingest.generations import Frozen, Generation, Registry, registry_of
from retrieve.compare import Asked, Comparison, Step
from retrieve.comparing import Comparer
from serve.errors import RequestError, UnknownNameError
from tailrace.encoders import EncoderBook
from tailrace.reindex.comparison import IndexedGenerations
from tailrace.service import keys_of
from tests.unit.retrieval_world import ARTICLES, EVERYBODY, SETTINGS, World, article, run

SECTION = SETTINGS.documents["articles"]
NEXT = SECTION.model_copy(update={"text": "{{ title }}: {{ body }}"})
SMALL = HashingEncoder(32)
SCOPE = Scope("a", EVERYBODY)
TOPICS = ("tents", "boots", "stoves", "ropes", "maps")


def filled(rows: int = 300) -> World:
    world = World()
    for key in range(1, rows + 1):
        world.commit(ARTICLES, key, article(f"{TOPICS[key % 5]} of kind{key} want care {key % 7}."))
    world.settle()
    world.rebuild("articles", NEXT, 2, SMALL)
    return world


async def compared(
    world: World, questions: Sequence[Asked] = (), *, named: int = 3, settle_seconds: float = 0.3, k: int = 5
) -> tuple[Comparison, list[Step]]:
    comparer = Comparer(
        world.index,
        world.recipes.encoders.__getitem__,
        bm25.query,
        lambda document, key: keys_of(world.view, world.recipes, document, key),
        world.clock,
    )
    names = [(n, collection_name("shop", "articles", n)) for n in (1, 2)]
    steps: list[Step] = []
    async for step in comparer.compare(
        "articles",
        names[0],
        names[1],
        questions,
        scope=SCOPE,
        top_k=k,
        named=named,
        settle_seconds=settle_seconds,
    ):
        if isinstance(step, Comparison):
            return step, steps
        steps.append(step)
    raise AssertionError("no result")


def test_equal_generations_differ_in_nothing_and_questions_are_measured() -> None:
    async def test() -> None:
        world = filled()
        questions = [Asked("tents kind15", ("15",)), Asked("boots kind 21", ("21", "26")), Asked("care")]
        found, steps = await compared(world, questions)
        assert (found.missing.count, found.extra.count, found.different.count) == (0, 0, 0)
        assert (found.live.size.documents, found.candidate.size.documents) == (300, 300)
        assert found.live.size.chunks >= 300
        assert (found.live.number, found.candidate.number) == (1, 2)
        assert found.live.recall is not None
        assert found.candidate.recall is not None
        assert found.overlap is not None
        assert 0 <= found.overlap <= 1
        assert found.live.latency is not None
        assert 0 < found.live.latency.p50_ms <= found.live.latency.p95_ms
        assert [len(one.live) for one in found.questions] == [5, 5, 5]
        assert {step.what for step in steps} == {"documents", "questions"}
        assert steps[-1] == Step("questions", 2, 3)

    run(test)


def test_what_is_missing_extra_and_different_is_counted_and_named() -> None:
    async def test() -> None:
        world = filled()
        world.commit(ARTICLES, 7, article("Edited since."))
        for key in (901, 902, 903, 904):
            world.commit(ARTICLES, key, article("Only the live one hears of this."))
        world.commit(ARTICLES, 20, None)
        world.settle()  # generation 2 does not follow
        found, _ = await compared(world)
        assert (found.missing.count, len(found.missing.keys)) == (4, 3)
        assert {*found.missing.keys} < {"901", "902", "903", "904"}
        assert (found.extra.count, found.extra.keys) == (1, ("20",))
        assert (found.different.count, found.different.keys) == (1, ("7",))
        assert (found.live.size.documents, found.candidate.size.documents) == (303, 300)

    run(test)


def test_differences_of_others_are_counted_and_not_named() -> None:
    """The gate of a promotion judges the whole index; keys are told as answers are."""

    async def test() -> None:
        world = filled(20)
        for key, tenant, group in ((901, "b", "all"), (902, "a", "board"), (903, "a", "all")):
            body = "Only the live one hears of this."
            world.commit(ARTICLES, key, article(body, tenant, groups=[group]))
        world.commit(ARTICLES, 7, article("Another's by now.", "b"))
        world.commit(ARTICLES, 8, article("Edited since."))
        world.settle()  # generation 2 does not follow
        found, _ = await compared(world, named=9)
        assert (found.missing.count, found.missing.keys) == (3, ("903",))
        assert (found.different.count, found.different.keys) == (2, ("8",))
        assert (found.live.size.documents, found.candidate.size.documents) == (23, 20)

    run(test)


def test_rows_that_are_on_their_way_are_waited_for_and_count_for_nothing() -> None:
    async def test() -> None:
        world = filled()
        old = dict(world.indexed)
        for key in (3, 4, 901):
            world.commit(ARTICLES, key, article("New words."))
        world.commit(ARTICLES, 5, None)
        world.settle()

        async def follow() -> None:  # the candidate hears of it while the comparison runs
            await asyncio.sleep(0.1)
            pipeline, renderer = world.pipelines["articles"], world.renderers["articles"]
            world.pipelines["articles"] = world.generation("articles", NEXT, 2, SMALL, answers=False)
            indexed, world.indexed = world.indexed, old
            for partition in range(2):
                world.apply("articles", partition)
            world.indexed = indexed
            world.pipelines["articles"], world.renderers["articles"] = pipeline, renderer

        following = asyncio.create_task(follow())
        found, steps = await compared(world, settle_seconds=20.0)
        await following
        assert (found.missing.count, found.extra.count, found.different.count) == (0, 0, 0)
        assert "settling" in {step.what for step in steps}

    run(test)


def test_a_row_that_never_rests_is_no_difference() -> None:
    async def test() -> None:
        world = filled(30)
        live, candidate = (world.index.open(collection_name("shop", "articles", n)) for n in (1, 2))
        [manifest] = [m for m in live.scroll(None, 100).manifests if m.key == "9"]
        version = manifest.version
        live.swap_manifests([Swap(replace(manifest, version=version + 100), version)])
        version += 100
        stop = asyncio.Event()

        async def churn() -> None:
            nonlocal version
            behind = candidate.manifests([manifest.id])[manifest.id]
            while not stop.is_set():  # the candidate is always one version behind
                candidate.swap_manifests([Swap(replace(behind, version=version), behind.version)])
                behind = replace(behind, version=version)
                live.swap_manifests([Swap(replace(manifest, version=version + 1), version)])
                version += 1
                await asyncio.sleep(0.01)

        churning = asyncio.create_task(churn())
        found, _ = await compared(world, settle_seconds=20.0)
        stop.set()
        await churning
        assert found.different.count == 0
        assert found.seconds < 10

    run(test)


def test_the_index_is_asked_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes its time would keep every other request waiting."""

    async def test() -> None:
        world, asked = filled(20), list[threading.Thread]()
        opened = world.index.open

        def seen(name: str) -> Collection:
            asked.append(threading.current_thread())
            return opened(name)

        monkeypatch.setattr(world.index, "open", seen)
        await compared(world)
        assert asked
        assert threading.current_thread() not in asked

    run(test)


def test_a_generation_dropped_under_a_comparison_ends_it() -> None:
    async def test() -> None:
        world = filled(600)
        comparer = Comparer(
            world.index,
            world.recipes.encoders.__getitem__,
            bm25.query,
            lambda document, key: keys_of(world.view, world.recipes, document, key),
            world.clock,
        )
        world.index.drop(collection_name("shop", "articles", 2))
        steps = comparer.compare(
            "articles",
            (1, "shop-articles-g1"),
            (2, "shop-articles-g2"),
            [],
            scope=SCOPE,
            top_k=5,
            named=1,
        )
        with pytest.raises(TransientError, match="dropped meanwhile"):
            async for _ in steps:
                pass

    run(test)


def generations(world: World, *numbers: int) -> tuple[IndexedGenerations, list[Registry]]:
    def one(number: int) -> Generation:
        encoder = SETTINGS.encoder.model_copy(update={"dimensions": 64 if number == 1 else 32})
        dimensions = 64 if number == 1 else 32
        section = SECTION if number == 1 else NEXT
        return Generation(
            "articles", number, "running", Frozen(section, encoder, f"hashing-{dimensions}", dimensions)
        )

    registry = [registry_of([one(number) for number in numbers])]
    book = EncoderBook("shop", SETTINGS.encoder, clock=world.clock)
    book.watch(SETTINGS, lambda: registry[0])
    found = IndexedGenerations(
        "shop",
        world.index,
        book,
        lambda document, key: keys_of(world.view, book, document, key),
        lambda: registry[0],
        world.clock,
    )
    return found, registry


def test_the_service_says_which_generation_answers_and_what_is_astray() -> None:
    async def test() -> None:
        world = filled(30)
        world.index.create("shop-articles-g9", 8)
        made, _ = generations(world, 1, 2)
        view = await made.generations()
        assert [(one.number, one.role, one.answers, one.documents) for one in view.generations] == [
            (1, "live", True, 30),
            (2, "candidate", False, 30),
        ]
        # `shop-products-g1` may be another application's: no record here speaks of products.
        assert view.strays == ("shop-articles-g9",)

    run(test)


def test_a_generation_that_is_dropped_while_it_is_looked_at_has_no_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        world = filled(30)
        made, _ = generations(world, 1, 2)
        listed = world.index.collections()
        monkeypatch.setattr(world.index, "collections", lambda: listed)
        world.index.drop("shop-articles-g2")
        view = await made.generations()
        assert [(one.number, one.documents) for one in view.generations] == [(1, 30), (2, None)]

    run(test)


def test_one_comparison_at_a_time_and_only_of_what_runs() -> None:
    async def test() -> None:
        world = filled(30)
        made, registry = generations(world, 1, 2)

        async def asked(number: int | None = None) -> object:
            async with aclosing(made.compare("articles", number, [], top_k=5, limit=5, scope=SCOPE)) as steps:
                return await anext(steps)

        with pytest.raises(UnknownNameError, match="write one of 2"):
            await asked(7)
        first = made.compare("articles", None, [Asked("tents")], top_k=5, limit=5, scope=SCOPE)
        assert isinstance(await anext(first), Step)
        with pytest.raises(TransientError, match="another comparison"):
            await asked()
        last = [step async for step in first][-1]
        assert isinstance(last, Comparison)
        assert last.candidate.number == 2
        await asked(2)  # the way is free again, and after one that was left in the middle too
        registry[0] = registry_of([registry[0].generations[0]])
        with pytest.raises(
            RequestError, match="generation 1, which answers, and no other: `tailrace reindex start"
        ):
            await asked()

    run(test)
