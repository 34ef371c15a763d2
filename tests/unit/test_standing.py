"""Which generation goes first and stops at a bad set-up: the one that answers, not the one wished for."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from core.errors import ConfigurationError, TransientError
from core.settings import DocumentSettings, HashingEncoderSettings
from embed.index import Collection
from embed.memory_index import MemoryIndex
from embed.pace import Turns
from ingest.agents import index_agent
from ingest.generations import Aliased, Frozen, Generation, Pointer, Record, dropped, registry_of
from tailrace.worker import Standing
from tests.unit.index_agent_world import World, rows

SECTION = DocumentSettings(table="shop.public.articles", text="{{ body }}")
FROZEN = Frozen(SECTION, HashingEncoderSettings(), "hashing-8", 8)
ONE, TWO, THREE = (Generation("articles", number, "running", FROZEN) for number in (1, 2, 3))


def standing(of: Generation, *records: Record, index: Any = None) -> Standing:
    tail: Any = SimpleNamespace(registry=registry_of([ONE, TWO, THREE, *records]))
    return Standing("shop", index or MemoryIndex(), tail, of)


@pytest.mark.parametrize(
    ("records", "answers"),
    [
        ([], 1),
        ([Pointer("articles", 2, 1)], 2),
        ([Pointer("articles", 2, 1), Aliased("articles", 1)], 1),
        ([Pointer("articles", 2, 1), Aliased("articles", 2)], 2),
        ([Pointer("articles", 1, 2), Aliased("articles", 2)], 2),
        ([Pointer("articles", 1, 2), Aliased("articles", 9)], 1),
    ],
    ids=["the first", "no alias yet", "wished for", "promoted", "wished back", "an alias nobody knows"],
)
def test_what_answers_goes_first_until_the_alias_has_moved(records: list[Record], answers: int) -> None:
    first = [one.number for one in (ONE, TWO, THREE) if not standing(one, *records).background()]
    assert first == [answers]


def test_of_an_alias_at_a_dropped_generation_the_wish_counts() -> None:
    records: list[Record] = [Pointer("articles", 1, 2), Aliased("articles", 2)]
    tail: Any = SimpleNamespace(registry=registry_of([ONE, dropped(TWO), *records]))
    assert not Standing("shop", MemoryIndex(), tail, ONE).background()


def test_what_is_wished_for_knows_that_the_alias_waits_for_it() -> None:
    records: list[Record] = [Pointer("articles", 1, 2), Aliased("articles", 2)]
    assert [standing(one, *records).wished() for one in (ONE, TWO, THREE)] == [True, False, False]


def test_a_wish_for_one_that_cannot_apply_a_row_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A column was renamed at the source; the old template fails on each row; then it is wished for."""
    monkeypatch.setattr(index_agent, "DROPPED_SECONDS", 0.0)
    said: list[Record] = [Pointer("articles", 2, 1), Aliased("articles", 2)]
    tail: Any = SimpleNamespace(registry=registry_of([ONE, TWO, *said]))
    world = World(turns=Turns(background=Standing("shop", MemoryIndex(), tail, ONE).background))
    with pytest.raises(ConfigurationError, match="bad set-up") as caught:
        world.apply(rows(0, "content"))

    def waits() -> bool:
        return isinstance(asyncio.run(world.agent._to_wait_for(caught.value)), TransientError)

    assert waits()
    tail.registry = registry_of([ONE, TWO, Pointer("articles", 1, 2), Aliased("articles", 2)])
    assert waits()
    tail.registry = registry_of([ONE, TWO, Pointer("articles", 1, 2), Aliased("articles", 1)])
    with pytest.raises(ConfigurationError, match="bad set-up"):
        waits()


class Losing(MemoryIndex):
    """Another worker deletes a collection between the list of them and its being opened."""

    def __init__(self, *lost: str) -> None:
        super().__init__()
        self.lost = lost

    def open(self, name: str) -> Collection:
        if name in self.lost:
            self.drop(name)
        return super().open(name)


def test_a_donor_that_another_worker_deletes_meanwhile_is_no_donor() -> None:
    index = Losing("shop-articles-g2")
    for number in (1, 2, 3):
        index.create(f"shop-articles-g{number}", 8)
    found = standing(THREE, Pointer("articles", 1), index=index).donors()
    assert [one.name for one in found] == ["shop-articles-g1"]
