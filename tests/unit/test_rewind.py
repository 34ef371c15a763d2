"""A start over an older index, beside other workers: who sets the group back, who waits, what is said."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
from structlog.testing import capture_logs

from core.errors import ConfigurationError, TransientError
from core.settings import DocumentSettings, HashingEncoderSettings, KafkaLog, Settings
from embed.memory_index import MemoryIndex
from embed.model import Covered
from ingest.generations import Frozen, Generation
from tailrace import rewind

TOPIC = "shop.state.shop.public.articles"
SECTION = DocumentSettings(table="shop.public.articles", title="{{ title }}", text="{{ body }}")
SETTINGS = Settings.model_validate(
    {
        "app": "shop",
        "index": {"kind": "memory"},
        "encoder": {"kind": "hashing"},
        "sources": {"shop": {"prefix": "shop", "tables": ["public.articles"]}},
        "documents": {"articles": SECTION.model_dump(), "notes": SECTION.model_dump()},
    }
)
KAFKA = SETTINGS.model_copy(update={"log": KafkaLog(brokers=["here:1"])})


def generation(document: str = "articles") -> Generation:
    return Generation(document, 1, "running", Frozen(SECTION, HashingEncoderSettings(), "encoder-1", 64))


class World:
    """Groups, their members, and an index; `rounds` happen one after the other, as time goes by."""

    def __init__(self) -> None:
        self.index = MemoryIndex()
        self.committed: dict[str, int] = {}
        self.members: dict[str, int] = {}
        self.rounds: list[Callable[[], None]] = []
        self.resets: list[tuple[str, Mapping[int, int]]] = []
        self.said: list[str] = []
        """As warnings."""

    def put(self, document: str, *, committed: int, covered: int, members: int = 0) -> str:
        """The group's name."""
        collection, group = f"shop-{document}-g1", f"shop-index-{document}-g1"
        self.index.create(collection, 64)
        self.committed[group], self.members[group] = committed, members
        self.cover(document, covered)
        return group

    def cover(self, document: str, offset: int) -> None:
        self.index.open(f"shop-{document}-g1").cover([Covered(TOPIC, 0, offset, offset, "", 0)])

    def offsets(self, group: str) -> dict[tuple[str, int], int]:
        return {(TOPIC, 0): self.committed[group]} if group in self.committed else {}

    def forget(self, groups: Sequence[str]) -> None:
        for group in groups:
            if self.members[group]:
                raise TransientError(f"group {group} has members still")
            del self.committed[group]

    def make(self) -> None:
        asyncio.run(rewind.make(KAFKA, ["here:1"], self.index, generation()))

    def rewind(self, *documents: str) -> None:
        generations = [generation(name) for name in documents]
        with capture_logs() as logs:
            try:
                asyncio.run(rewind.rewind(SETTINGS, ["here:1"], self.index, generations))
            finally:
                self.said = [one["event"] for one in logs if one["log_level"] == "warning"]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World()

    class Admin:
        def __init__(self, _: Sequence[str]) -> None:
            pass

        def committed(self, group: str) -> dict[tuple[str, int], int]:
            return made.offsets(group)

        def committed_of(self, group: str, _: str) -> dict[int, int]:
            return {0: made.committed[group]}

        def members(self, group: str) -> int:
            found = made.members[group]
            if made.rounds:
                made.rounds.pop(0)()
            return found

        def reset(self, group: str, _: str, offsets: Mapping[int, int]) -> None:
            if made.members[group]:
                raise TransientError(f"group {group} keeps its offset")
            made.resets.append((group, offsets))
            made.committed[group] = offsets[0]

        def forget(self, groups: Sequence[str]) -> None:
            made.forget(groups)

    monkeypatch.setattr(rewind, "TopicsAdmin", Admin)
    monkeypatch.setattr(rewind, "STEP_SECONDS", 0.001)
    monkeypatch.setattr(rewind, "SPARE_SECONDS", 0.2 - SETTINGS.ingest.session_seconds)
    yield made
    assert not made.rounds, "not exercised"


def test_a_group_that_another_worker_sets_back_and_joins_is_no_gap(world: World) -> None:
    """It has all of it to index again, which takes longer than anybody would wait."""
    group = world.put("articles", committed=990, covered=812, members=1)

    def set_back() -> None:
        world.committed[group] = 812

    world.rounds = [lambda: None, set_back]
    world.rewind("articles")
    assert (world.resets, world.said) == ([], [])


def test_a_group_that_another_worker_sets_back_before_it_joins_is_not_set_back_again(world: World) -> None:
    group = world.put("articles", committed=990, covered=812)
    world.rounds = [lambda: world.committed.update({group: 812})]
    world.rewind("articles")
    assert (world.resets, world.said) == ([], [])


def test_a_group_is_set_back_once_a_killed_worker_s_session_has_ended(world: World) -> None:
    group = world.put("articles", committed=990, covered=812, members=1)
    world.rounds = [lambda: None, lambda: world.members.update({group: 0})]
    world.rewind("articles")
    (said,) = world.said
    assert f"812 to 990 of {TOPIC}/0 is acknowledged by group {group} and not in it; it is read again" in said
    assert world.resets == [(group, {0: 812})]


def test_what_is_covered_while_one_waits_is_no_gap(world: World) -> None:
    world.put("articles", committed=990, covered=812, members=1)
    world.rounds = [lambda: None, lambda: world.cover("articles", 990)]
    world.rewind("articles")
    assert (world.resets, world.said) == ([], [])


def test_what_the_last_worker_covered_before_it_left_is_no_gap(world: World) -> None:
    world.put("articles", committed=990, covered=812)
    world.rounds = [lambda: world.cover("articles", 990)]
    world.rewind("articles")
    assert (world.resets, world.said) == ([], [])


def test_workers_that_stay_are_not_waited_for_for_ever(world: World) -> None:
    world.put("articles", committed=990, covered=812, members=2)
    with pytest.raises(ConfigurationError, match="2 workers are in the group: stop all workers of shop"):
        world.rewind("articles")
    assert world.resets == []


def test_what_was_set_back_is_said_though_the_next_group_cannot_be(world: World) -> None:
    """The next start finds nothing to set back, and nothing to say."""
    world.put("articles", committed=990, covered=812)
    world.put("notes", committed=5, covered=1, members=1)
    with pytest.raises(ConfigurationError, match="stop all workers"):
        world.rewind("articles", "notes")
    (said,) = world.said
    assert said.startswith("document articles: the index shop-articles-g1 is older")
    assert said.endswith("answers are incomplete until it has caught up")


def test_a_new_collection_is_not_filled_from_where_another_one_s_group_had_come(world: World) -> None:
    """Index and generations topic are gone, and Kafka keeps the group: it would skip what it had read."""
    world.committed["shop-index-articles-g1"] = 990
    world.members["shop-index-articles-g1"] = 1
    with pytest.raises(TransientError, match="members still"):
        world.make()
    assert world.index.collections() == [], "the next try would take it for one that was filled"
    world.members["shop-index-articles-g1"] = 0
    world.make()
    assert (world.committed, world.index.collections()) == ({}, ["shop-articles-g1"])
    world.committed["shop-index-articles-g1"] = 5
    world.make()
    assert world.committed == {"shop-index-articles-g1": 5}, "it stands, and its group goes on"
