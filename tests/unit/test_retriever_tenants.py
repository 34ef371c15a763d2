"""No question shows another tenant's rows: the index's filter and the join keep them apart, each alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from embed.memory_index import MemoryCollection
from embed.model import Manifest, Scope, Sparse, Vector
from tests.unit.meddled_world import Ranked, meddled
from tests.unit.retrieval_world import World, run
from tests.unit.tenants_world import TENANTS, fill, foreign


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
