"""Whatever is wished for, and whenever a process dies, the index becomes what the topic says.

The real plans act on a model of the topic and of the index. A step is one effect: a process may die
before any of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.settings import DocumentSettings, HashingEncoderSettings
from ingest.generation_plan import Discard, Halt, Point, Run, reconcile, started
from ingest.generations import (
    Aliased,
    Frozen,
    Generation,
    Pointer,
    Record,
    Registry,
    decode_registry,
    dropped,
    encode_record,
    lost,
)
from ingest.start_plan import Found, plan_generations

APP = "shop"
CONFIGURATIONS = [
    Frozen(
        DocumentSettings(table="shop.public.articles", text=f"{{{{ body }}}} {n}"),
        HashingEncoderSettings(),
        f"encoder-{n}",
        64,
    )
    for n in range(2)
]
NAMES = ("articles", "notes")


@dataclass
class Shop:
    """The topic, the index, and one worker process, which may be down."""

    topic: dict[bytes, bytes] = field(default_factory=dict)
    collections: set[str] = field(default_factory=set)
    aliases: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys(NAMES))
    committed: set[tuple[str, int]] = field(default_factory=set)
    configured: Frozen = CONFIGURATIONS[0]
    followed: set[tuple[str, int]] = field(default_factory=set)
    up: bool = False
    numbers: list[tuple[str, int]] = field(default_factory=list)
    elsewhere: tuple[set[str], dict[str, str | None]] = field(
        default_factory=lambda: (set(), dict.fromkeys(NAMES))
    )
    """Another store, that a wrong address names: its collections and aliases."""
    strays: set[str] = field(default_factory=set)
    """Collections that a topic now gone has left, in either store."""

    def registry(self) -> Registry:
        return decode_registry(self.topic)

    def write(self, record: Record) -> None:
        key, value = encode_record(record)
        if isinstance(record, Generation) and key not in self.topic:
            assert (record.document, record.number) not in self.numbers, "a number is used twice"
            assert record.collection(APP) not in self.collections, "it would begin with what another left"
            self.numbers.append((record.document, record.number))
        self.topic[key] = value

    def start(self) -> Iterator[None]:
        """tailrace.preparation, effect by effect."""
        self.followed = set()
        registry = self.registry()
        wanted = dict.fromkeys(NAMES, self.configured)
        plan = plan_generations(wanted, Found(registry, self.collections, self.committed, APP, 1))
        assert set(NAMES) == {one.document for one in plan.run}
        for one in plan.make:
            yield
            self.write(one)
        pointed = {(pointer.document, pointer.live) for pointer in plan.point}
        for one in plan.run:
            if (one.document, one.number) in pointed:
                yield
                self.collections.add(one.collection(APP))
        wishes: list[Record] = [*plan.point, *map(dropped, plan.drop), *map(lost, plan.lose)]
        for record in wishes:
            yield
            self.write(record)
        registry = self.registry()
        answering = [found for name in NAMES if (found := registry.answering(name)) is not None]
        assert len(answering) == len(NAMES)
        for one in answering:
            yield
            self.collections.add(one.collection(APP))
            ours = {other.collection(APP) for other in registry.of(one.document)}
            if self.aliases[one.document] not in self.collections & ours:
                yield
                self.aliases[one.document] = one.collection(APP)
        for one in answering:
            self.followed.add((one.document, one.number))
            self.committed.add((one.document, one.number))
        self.up = True

    def keep(self) -> Iterator[None]:
        """tailrace.keeper, action by action."""
        registry = self.registry()
        for action in reconcile(registry, NAMES, self.followed, self.collections, self.aliases, APP):
            yield
            match action:
                case Run(one):
                    self.collections.add(one.collection(APP))
                    self.followed.add((one.document, one.number))
                    self.committed.add((one.document, one.number))
                case Halt(document, number):
                    self.followed.discard((document, number))
                case Point(one):
                    assert one.collection(APP) in self.collections
                    self.aliases[one.document] = one.collection(APP)
                    yield
                    self.write(Aliased(one.document, one.number))
                case Discard(one):
                    assert one.status == "dropped", "what was not found is deleted where it is found again"
                    assert one != registry.live(one.document), "what answers is discarded"
                    assert self.aliases[one.document] != one.collection(APP)
                    assert (one.document, one.number) not in self.followed
                    self.collections.discard(one.collection(APP))
        for name in NAMES:
            live, said = registry.live(name), registry.aliased.get(name)
            if live is None or self.aliases[name] != live.collection(APP):
                continue
            if said is None or said.number != live.number:
                yield
                self.write(Aliased(name, live.number))

    def act(self, steps: Iterator[None], survived: int | None) -> None:
        """So many effects, and then it dies; all of them with None."""
        for number, _ in enumerate(steps):
            if number == survived:
                self.up, self.followed = False, set()
                return

    def swap(self) -> None:
        """The next start looks at the other store."""
        self.elsewhere, (self.collections, self.aliases) = (self.collections, self.aliases), self.elsewhere

    def forget(self) -> None:
        """The topic is lost, and a start finds what it spoke of."""
        self.topic, self.numbers, self.strays = {}, [], {*self.strays, *self.collections}
        self.elsewhere = (set(), dict.fromkeys(NAMES))
        self.act(self.start(), None)

    def settle(self) -> None:
        if not self.up:
            self.act(self.start(), None)
        for _ in range(20):
            before = (set(self.collections), dict(self.aliases), set(self.followed))
            self.act(self.keep(), None)
            if (self.collections, self.aliases, self.followed) == before:
                return
        raise AssertionError("it does not come to rest")


Operation = tuple[str, str, int]
operations = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "start",
                "promote",
                "rollback",
                "drop",
                "race",
                "edit",
                "lose",
                "forget",
                "swap",
                "keep",
                "kill",
                "up",
            ]
        ),
        st.sampled_from(NAMES),
        st.integers(0, 6),
    ),
    max_size=30,
)


def wish(shop: Shop, what: str, document: str, choice: int) -> None:
    """As the command line does: nothing that makes no sense."""
    registry = shop.registry()
    running = [one for one in registry.of(document) if one.status == "running"]
    live = registry.live(document)
    if live is None:
        return
    match what:
        case "start":
            frozen = CONFIGURATIONS[choice % 2]
            shop.write(started(registry, document, frozen, APP, 1))
        case "promote":
            one = running[choice % len(running)]
            if one != live:
                shop.write(Pointer(document, one.number, live.number, 1))
        case "rollback":
            pointer = registry.pointers.get(document)
            back = registry.find(document, pointer.previous or 0) if pointer else None
            if back is not None and back.status == "running":
                shop.write(Pointer(document, back.number, live.number, 1))
        case "drop" | "race":  # a race is decided by somebody who has not seen the last pointer
            others = [one for one in running if one != live or (what == "race" and len(running) > 1)]
            if others:
                shop.write(dropped(others[choice % len(others)]))


def happens(shop: Shop, what: str, document: str, choice: int) -> None:
    """To the file, the index, the topic or the process; or somebody wishes for something."""
    match what:
        case "edit":
            shop.configured = CONFIGURATIONS[choice % 2]
        case "lose" if not shop.up and choice == 0:
            shop.collections, shop.aliases = set(), dict.fromkeys(NAMES)
        case "forget" if choice < 2:
            shop.forget()
        case "swap" if not shop.up:
            shop.swap()
        case "up" if not shop.up:
            shop.act(shop.start(), choice if choice < 6 else None)
        case "keep" if shop.up:
            shop.act(shop.keep(), None)
        case "kill" if shop.up:
            shop.act(shop.keep(), choice)
            shop.up, shop.followed = False, set()
        case _:
            wish(shop, what, document, choice)


LEFT_BEHIND: list[Operation] = [
    (what, "articles", choice)
    for what, choice in [
        *[("up", 6), ("start", 0), ("keep", 0), ("promote", 1), ("keep", 0), ("drop", 0)],
        *[("keep", 0), ("keep", 0), ("forget", 0), ("start", 0)],
    ]
]
"""Generation 2 alone stands, and the topic is lost: whoever starts another one does not see that."""

LOST_AND_MADE_AGAIN: list[Operation] = [
    (what, "articles", 0) for what in ("forget", "forget", "kill", "lose", "forget")
]
"""What a lost topic has left is lost, too, and its names are given to others."""


@settings(max_examples=400, deadline=None)
@given(operations)
@example(LEFT_BEHIND)
@example(LOST_AND_MADE_AGAIN)
def test_alias_and_collections_become_what_the_topic_says(played: list[Operation]) -> None:
    shop = Shop()
    for what, document, choice in played:
        happens(shop, what, document, choice)
    shop.settle()
    registry = shop.registry()
    for name in NAMES:
        live = registry.live(name)
        assert live is not None
        assert shop.aliases[name] == live.collection(APP)
    running = {(one.document, one.number) for one in registry.running()}
    assert shop.followed == running
    kept = {one.collection(APP) for one in registry.generations if one.status == "lost"}
    filled = {one.collection(APP) for one in registry.running()}
    assert filled <= shop.collections <= filled | kept | shop.strays


@settings(max_examples=100, deadline=None)
@given(operations, st.none() | st.integers(0, 8))
def test_a_start_with_a_wrong_address_costs_no_index(played: list[Operation], killed: int | None) -> None:
    """Whatever stood before stands at the next start at the right one, also where that one was killed."""
    shop = Shop()
    for what, document, choice in played:
        if what == "up" and not shop.up:
            shop.act(shop.start(), None)
        elif what == "keep" and shop.up:
            shop.act(shop.keep(), None)
        elif what in ("start", "promote", "rollback", "drop"):
            wish(shop, what, document, choice)
    shop.settle()
    before, stood, answered = shop.registry().running(), set(shop.collections), dict(shop.aliases)
    for _ in range(2):
        shop.up = False
        shop.swap()
        shop.act(shop.start(), killed)
        if shop.up:
            shop.settle()
        shop.up = False
        shop.swap()
        shop.settle()
        assert shop.collections >= stood
        if killed is None:
            assert shop.collections == stood
            assert shop.aliases == answered
            assert shop.registry().running() == before


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(5)), st.sampled_from([1, 2]))
def test_the_order_of_keys_says_nothing(order: list[int], live: int) -> None:
    one = Generation("articles", 1, "running", CONFIGURATIONS[0])
    two = replace(one, number=2)
    records: list[Record] = [
        one,
        two,
        Pointer("articles", live),
        replace(one, document="notes"),
        dropped(two),
    ]
    kept = dict(encode_record(records[place]) for place in order)
    expected = decode_registry(kept)
    assert decode_registry(dict(reversed(kept.items()))) == expected
