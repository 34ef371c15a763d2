"""Retrieval as a whole, over the real pipeline, view and search; each stage moves when it is told to."""

import asyncio

import pytest

from core.errors import ContractError, LimitError, PermanentError, TransientError
from core.keys import RowKey
from core.state import Json, StateRow
from core.state_reader import Loading
from core.version import version
from embed.encoder import HashingEncoder
from retrieve.search import encode_query
from tests.unit.retrieval_world import ARTICLES, ORDERS, World, article, keys, run


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
            assert keys(await world.ask("tents")) == ["1"]
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


def test_no_question_is_answered_from_half_the_rows() -> None:
    async def test() -> None:
        world = World()
        world.commit(ARTICLES, 1, article("Tents are green."))
        world.settle()
        world.commit(ARTICLES, 1, None)
        world.resolve_all()  # a service that starts now has read the row, and not yet its grave
        world.reader.loading = Loading(2, 3)
        with pytest.raises(TransientError, match="not read yet"):
            await world.ask("tents")
        with pytest.raises(TransientError, match="not read yet"):
            await world.ask("tents", documents=(), state={"orders": "7"})
        with pytest.raises(ContractError):
            await world.ask(" ")
        world.read_all()
        world.reader.loading = Loading(3, 3)
        assert (await world.ask("tents")).hits == ()
        world.reader.loading = Loading(0, 3)  # a topic that was made anew is read from its beginning
        assert (await world.ask("tents")).hits == ()
        world.connect_down = world.broker_down = True
        await world.look()
        assert (await world.ask("tents")).freshness.source_status == {"shop": "unreachable"}

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
