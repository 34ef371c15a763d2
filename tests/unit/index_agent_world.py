"""One index agent over one collection in memory, fed batch by batch; nothing else runs."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, TypeAlias

from core.clock import FixedClock
from core.keys import RowKey
from core.settings import Cut, DocumentSettings, Ingest
from core.state import Json, Progress, Removed, StateRow, Truncate, encode_state, encode_tombstone
from core.state_table import StateTable
from embed.cutter import Cutter
from embed.encoder import HashingEncoder
from embed.index import Collection
from embed.indexes import bm25
from embed.memory_index import MemoryIndex
from embed.model import Manifest, manifest_id
from embed.pace import Turns
from embed.pipeline import Pipeline
from embed.render import Renderer
from embed.store import VectorStore
from ingest.agents.index_agent import IndexAgent, Indexer
from ingest.agents.index_batch import read_batch
from ingest.agents.orphans import StateRows
from ingest.dead_letters import DeadLetter
from ingest.older_index import Group

ROWS = 128
"""Of a batch, as by default."""

Record: TypeAlias = StateRow | Truncate | Progress | Removed


class World:
    """An agent over one collection, fed row by row; nothing else runs."""

    def __init__(
        self,
        encoder: HashingEncoder | None = None,
        turns: Turns | None = None,
        rows: StateRows | None = None,
        collection: Collection | None = None,
        group: Group | None = None,
    ) -> None:
        encoder = encoder or HashingEncoder(16)
        index = MemoryIndex()
        index.create("c", encoder.dimensions)
        self.collection: Collection = collection or index.open("c")
        pipeline = Pipeline(
            "d",
            self.collection,
            encoder,
            VectorStore(None, 1 << 20, FixedClock()),
            Cutter(Cut(kind="plain"), encoder.count, encoder.max_tokens),
            bm25.documents,
        )
        renderer = Renderer("d", DocumentSettings(table="s.public.a", text="{{ body }}"))
        indexer = Indexer("d", 1, "t", renderer, pipeline, self.collection, turns or Turns())
        self.agent = IndexAgent(indexer, self.park, Ingest(), FixedClock(), lambda _: None, rows, group)
        self.offset = 0

    async def park(self, letters: Sequence[DeadLetter]) -> None:
        """Not asked: the batch's own thread decides first."""

    def apply(self, rows: Sequence[dict[str, Json]]) -> int:
        """One batch, in the agent's thread. How many rows are to be set aside."""
        records = [
            StateRow(RowKey.of({"id": row["id"]}), self.offset + place, row) for place, row in enumerate(rows)
        ]
        batch = messages([*records, Progress(self.offset + len(rows))], self.offset)
        read = read_batch(batch)
        letters = self.agent._apply(read, 0)
        self.agent._count(read, len(letters))
        self.offset += len(batch)
        return len(letters)

    def take(self, *records: Record, offset: int, generation: int = 1) -> None:
        """One batch as the group's member gets it, from this offset on."""
        batch = messages(records, offset, generation)
        asyncio.run(self.agent._handle(member(generation), batch))

    def manifest(self, number: int) -> Manifest | None:
        one = manifest_id("d", RowKey.of({"id": number}).canonical)
        return self.collection.manifests([one]).get(one)


def table(*records: Record) -> StateTable:
    """Of a topic whose one partition holds these."""
    made = StateTable()
    for offset, record in enumerate(records):
        made.apply(0, offset, record)
    return made


def rows(start: int, column: str = "body", count: int = ROWS) -> list[dict[str, Json]]:
    return [{"id": number, column: f"text {number}"} for number in range(start, start + count)]


def row(number: int, version: int, body: str = "some words", *, deleted: bool = False) -> StateRow:
    key = RowKey.of({"id": number})
    return StateRow(key, version, {"id": number, "body": body}, deleted=deleted)


def messages(records: Sequence[Record], offset: int, generation: int = 1) -> list[Any]:
    """Of partition 0."""
    made = []
    for place, record in enumerate(records):
        headers: dict[str, bytes] = {}
        if isinstance(record, Removed):
            key, value, found = encode_tombstone(record)
            headers = dict(found)
        else:
            key, value = encode_state(record)
        message = SimpleNamespace(
            topic="t",
            partition=0,
            offset=offset + place,
            key=key,
            value=value,
            headers=headers,
            generation_id=generation,
        )
        made.append(SimpleNamespace(message=message))
    return made


def member(generation: int) -> Any:
    """An app that owns partition 0 at this generation of its group."""
    return SimpleNamespace(
        consumer_generation_id=generation, flow_control=SimpleNamespace(is_active=lambda: True)
    )
