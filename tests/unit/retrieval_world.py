"""A small world for tests of retrieval: a source, its raw topics, state topics, a view and an index.

Every stage moves only when it is told to, so a test decides what each has seen. Rendering, cutting,
indexing, the view and the search are the real ones; Kafka is lists, the encoder hashes words.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from core.errors import TransientError
from core.keys import RowKey, TableId
from core.positions import format_lsn
from core.settings import Cut, DocumentSettings, Settings
from core.state import Json, Progress, StateRecord, StateRow, Truncate
from core.topics import alias_name, collection_name, raw_topic
from core.version import version
from embed.cutter import Cutter
from embed.encoder import Encoder, HashingEncoder
from embed.index import Index
from embed.indexes import bm25
from embed.memory_index import MemoryIndex
from embed.model import Covered, Scope
from embed.pipeline import Pipeline
from embed.render import Renderer
from embed.store import VectorStore
from retrieve.freshness import FreshnessTracker
from retrieve.live import LiveIndex
from retrieve.model import Evidence, Freshness, Question
from retrieve.retriever import Retriever
from retrieve.search import Searcher
from retrieve.state_view import StateView
from tailrace.service import keys_of
from tests.unit.retrieval_hands import PARTITIONS, HandReader, HandRecipes, ShiftedClock

EVERYBODY = frozenset({"all"})
ARTICLES, PRODUCTS, ORDERS = (
    TableId("shop", f"public.{name}") for name in ("articles", "products", "orders")
)

SETTINGS = Settings.model_validate(
    {
        "app": "shop",
        "index": {"kind": "memory"},
        "encoder": {"kind": "hashing"},
        "sources": {
            "shop": {"prefix": "shop", "tables": ["public.articles", "public.products", "public.orders"]}
        },
        "documents": {
            "articles": {
                "table": "shop.public.articles",
                "title": "{{ title }}",
                "text": "{{ body }}",
                "where": "published",
                "tenant": "tenant_id",
                "acl": "groups",
                "metadata": ["category"],
                "url": "https://shop.example/articles/{{ id }}",
                "cut": {"min_tokens": 8, "max_tokens": 24},
            },
            "products": {
                "table": "shop.public.products",
                "text": "{{ body }}",
                "tenant": "tenant_id",
                "metadata": ["category"],
            },
        },
        "state": {
            "orders": {
                "table": "shop.public.orders",
                "by": ["customer_id"],
                "order_by": "-total",
                "limit": 3,
                "columns": ["id", "status"],
                "tenant": "tenant_id",
            },
            "everything": {"table": "shop.public.orders", "by": ["status"]},
        },
    }
)


@dataclass(slots=True)
class Event:
    order: int
    key: RowKey | None
    columns: Mapping[str, Json] | None
    committed_at: int


@dataclass
class World:
    index: Index = field(default_factory=MemoryIndex)
    settings: Settings = SETTINGS
    clock: ShiftedClock = field(default_factory=ShiftedClock)
    epoch: int = 0
    lsn: int = 1000
    committed_events: list[tuple[TableId, Event]] = field(default_factory=list)
    delivered: int = 0
    position_order: int | None = None
    connect_down: bool = False
    connect_silent: bool = False
    broker_down: bool = False
    wrap: Callable[[Index], Index] = lambda index: index
    encoder: HashingEncoder = field(default_factory=HashingEncoder)

    def __post_init__(self) -> None:
        tables = self.settings.tables()
        self.raw: dict[TableId, list[Event]] = {table: [] for table in tables}
        self.resolved: dict[TableId, int] = dict.fromkeys(tables, 0)
        self.state: dict[TableId, list[list[StateRecord]]] = {
            table: [[] for _ in range(PARTITIONS)] for table in tables
        }
        self.seen: dict[tuple[TableId, int], int] = {}
        self.indexed: dict[tuple[str, int], int] = {}
        self.failures: list[BaseException] = []
        documents = self.settings.documents
        self.view = StateView(
            "shop", [], tables, self.settings.state, on_error=self.failures.append, clock=self.clock
        )
        self.reader = HandReader([self.view.topic(table) for table in tables])
        self.view._reader = self.reader  # type: ignore[assignment]  # the stand-in
        self.renderers = {name: Renderer(name, section) for name, section in documents.items()}
        self.recipes = HandRecipes(list(documents))
        self.pipelines = {name: self.generation(name, section, 1) for name, section in documents.items()}
        live = LiveIndex("shop", self.wrap(self.index), clock=self.clock)
        self.tracker = FreshnessTracker(
            self.settings.sources,
            self.recipes,
            self.view,
            live,
            positions=self,
            raw_ends=self,
            epoch_of=lambda _: self.epoch,
            on_error=self.failures.append,
            clock=self.clock,
        )
        self.retriever = Retriever(
            recipes=self.recipes,
            live=live,
            searcher=Searcher(
                live,
                self.recipes.encoders.__getitem__,
                bm25.query,
                lambda document, key: keys_of(self.view, self.recipes, document, key),
            ),
            view=self.view,
            freshness=self.tracker,
            join_wait_seconds=0.2,
            clock=self.clock,
        )

    def generation(
        self,
        name: str,
        section: DocumentSettings,
        number: int,
        encoder: Encoder | None = None,
        *,
        answers: bool = True,
    ) -> Pipeline:
        """Make a generation's collection, and point the alias at it."""
        collection, encoder = collection_name("shop", name, number), encoder or self.encoder
        self.index.create(collection, encoder.dimensions)
        self.recipes.learn(collection, name, section, encoder)
        if answers:
            self.promote(name, number)
        cut: Cut = section.cut
        return Pipeline(
            name,
            self.index.open(collection),
            encoder,
            VectorStore(None, 1 << 24, self.clock),
            Cutter(cut, encoder.count, encoder.max_tokens),
            bm25.documents,
        )

    def promote(self, name: str, number: int) -> None:
        """Questions are answered from this generation now."""
        self.index.point(alias_name("shop", name), collection_name("shop", name, number))

    def rebuild(self, name: str, section: DocumentSettings, number: int, encoder: Encoder) -> None:
        """A candidate, filled with all that the state topic holds; it follows from then on by hand."""
        pipeline = self.generation(name, section, number, encoder, answers=False)
        before, at = (self.pipelines[name], self.renderers[name]), dict(self.indexed)
        self.pipelines[name], self.renderers[name] = pipeline, Renderer(name, section)
        for partition in range(PARTITIONS):
            self.indexed.pop((name, partition), None)
            self.apply(name, partition)
        (self.pipelines[name], self.renderers[name]), self.indexed = before, at

    # The source and its connector.

    def commit(self, table: TableId, key: int | str | None, columns: Mapping[str, Json] | None) -> str:
        """One transaction; the position that its writer reads afterwards. No key: a truncate."""
        self.lsn += 10
        made = None if key is None else RowKey.of({"id": key})
        full = None if columns is None else {"id": key, **columns}
        self.committed_events.append((table, Event(self.lsn, made, full, self.clock.now_ms())))
        return format_lsn(self.lsn + 1)

    def deliver(self, count: int = 1 << 30) -> None:
        """The connector writes so many changes to the raw topics; its offset is not committed yet."""
        for table, event in self.committed_events[self.delivered : self.delivered + count]:
            self.raw[table].append(event)
        self.delivered = min(self.delivered + count, len(self.committed_events))

    def acknowledge(self) -> None:
        """The connector commits its offset: everything up to it stands in the raw topics."""
        whole = self.delivered == len(self.committed_events)
        last = self.lsn + 5 if whole else self.committed_events[self.delivered][1].order - 5
        self.position_order = max(self.position_order or 0, last)

    async def committed(self, source: str) -> str | None:
        await asyncio.sleep(0)
        while self.connect_silent:  # noqa: ASYNC110 - until a test says otherwise
            await asyncio.sleep(0.005)
        if self.connect_down:
            raise TransientError("Connect is away")
        return None if self.position_order is None else format_lsn(self.position_order)

    async def ends(self, topics: Sequence[str]) -> Mapping[str, int]:
        await asyncio.sleep(0)
        if self.broker_down:
            raise TransientError("the broker is away")
        found = {raw_topic("shop", table.table): len(events) for table, events in self.raw.items()}
        return {topic: found[topic] for topic in topics}

    # The worker.

    def resolve(self, table: TableId, count: int = 1 << 30) -> None:
        events = self.raw[table][self.resolved[table] : self.resolved[table] + count]
        for event in events:
            at = version(self.epoch, self.resolved[table])
            self.resolved[table] += 1
            if event.key is None:
                for log in self.state[table]:
                    log.append(Truncate(at, format_lsn(event.order), event.committed_at))
                continue
            log = self.state[table][crc32(event.key.canonical) % PARTITIONS]
            log.append(
                StateRow(
                    event.key,
                    at,
                    event.columns or {},
                    deleted=event.columns is None,
                    position=format_lsn(event.order),
                    committed_at=event.committed_at,
                )
            )
        if events:
            at = version(self.epoch, self.resolved[table] - 1)
            for log in self.state[table]:
                log.append(Progress(at, format_lsn(events[-1].order), events[-1].committed_at))

    def apply(self, document: str, partition: int, count: int = 1 << 30) -> None:
        """The index agent takes so many records of one state partition."""
        table = TableId.parse(self.settings.documents[document].table)
        begin = self.indexed.get((document, partition), 0)
        records = self.state[table][partition][begin : begin + count]
        pipeline, renderer = self.pipelines[document], self.renderers[document]
        for record in records:
            if isinstance(record, StateRow):
                assert not pipeline.apply([renderer.render(record)]).failed
            elif isinstance(record, Truncate):
                pipeline.truncate(record.version, record.position, record.committed_at)
        self.indexed[document, partition] = begin + len(records)
        newest = [
            one for one in self.state[table][partition][: begin + len(records)] if isinstance(one, Progress)
        ]
        if newest:
            mark = newest[-1]
            topic = self.view.topic(table)
            pipeline._collection.cover(
                [
                    Covered(
                        topic, partition, begin + len(records), mark.version, mark.position, mark.committed_at
                    )
                ]
            )

    def read(self, table: TableId, partition: int, count: int = 1 << 30) -> None:
        """The view takes so many records of one state partition."""
        begin = self.seen.get((table, partition), 0)
        records = self.state[table][partition][begin : begin + count]
        topic = self.view.topic(table)
        for offset, record in enumerate(records, start=begin):
            self.view.take(topic, self.reader.tables[topic].apply(partition, offset, record))
        self.seen[table, partition] = begin + len(records)

    # All of it at once.

    def resolve_all(self) -> None:
        self.deliver()
        self.acknowledge()
        for table in self.raw:
            self.resolve(table)

    def read_all(self) -> None:
        for table in self.raw:
            for partition in range(PARTITIONS):
                self.read(table, partition)

    def apply_all(self) -> None:
        for document in self.pipelines:
            for partition in range(PARTITIONS):
                self.apply(document, partition)

    def settle(self) -> None:
        self.resolve_all()
        self.read_all()
        self.apply_all()
        self.clock.advance(0.1)  # what was read of the index before is no longer taken as read

    async def look(self) -> None:
        await self.tracker._look("shop", 0.0)

    async def ask(self, query: str, tenant: str | None = "a", **more: object) -> Evidence:
        question = {
            "documents": ("articles",),
            "scope": Scope(tenant, EVERYBODY),
            "wait_seconds": 0.2,
            **more,
        }
        return await self.retriever.retrieve(Question(query, **question))  # type: ignore[arg-type]  # by name


def run(test: Callable[[], Awaitable[None]]) -> None:
    """A test of one world, in an event loop of its own."""

    async def main() -> None:
        await test()

    asyncio.run(main())


def keys(evidence: Evidence) -> list[str]:
    return [hit.key for hit in evidence.hits]


def lags(said: Freshness) -> tuple[int, int]:
    """Of index and state, where both are known."""
    assert said.index_lag_ms is not None
    assert said.state_lag_ms is not None
    return said.index_lag_ms, said.state_lag_ms


def article(body: str, tenant: str = "a", **more: Json) -> dict[str, Json]:
    return {
        "title": "T",
        "body": body,
        "published": True,
        "tenant_id": tenant,
        "groups": ["all"],
        "category": "help",
        **more,
    }
