"""Stand-ins that a world of retrieval moves by hand: a clock, a reader, and the recipes of collections."""

import asyncio
from collections.abc import Mapping, Sequence

from core.clock import SystemClock
from core.errors import TransientError
from core.keys import TableId
from core.settings import DocumentSettings, HashingEncoderSettings
from core.state_reader import Loading
from core.state_table import StateTable
from embed.encoder import Encoder
from ingest.generations import Frozen
from retrieve.recipe import Recipe
from tailrace.encoders import recipe_of

PARTITIONS = 2


class ShiftedClock(SystemClock):
    """The machine's clock, and as much later as a test says."""

    shift = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + int(self.shift * 1000)

    def monotonic(self) -> float:
        return super().monotonic() + self.shift

    def advance(self, seconds: float) -> None:
        self.shift += seconds


class HandReader:
    """In place of StateReader: reads what it is given."""

    def __init__(self, topics: Sequence[str]) -> None:
        self.tables = {topic: StateTable() for topic in topics}
        self.partitions: Mapping[str, int] = dict.fromkeys(topics, PARTITIONS)
        self.loading = Loading(0, 0)
        self._moved = asyncio.Condition()

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def changed(self) -> None:
        async with self._moved:
            await self._moved.wait()

    async def tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()


class HandRecipes:
    """In place of the generations topic: knows the collections that it is told of."""

    def __init__(self, documents: Sequence[str]) -> None:
        self.known: dict[str, Recipe] = {}
        self.encoders: dict[str, Encoder] = {}
        self._documents = list(documents)

    def documents(self) -> Sequence[str]:
        return self._documents

    def tables(self, document: str) -> Sequence[TableId]:
        return list(dict.fromkeys(one.table for one in self.known.values() if one.document == document))

    def recipe(self, collection: str) -> Recipe:
        if collection not in self.known:
            raise TransientError(f"{collection} is not known")
        return self.known[collection]

    def learn(self, collection: str, document: str, section: DocumentSettings, encoder: Encoder) -> None:
        frozen = Frozen(section, HashingEncoderSettings(), encoder.fingerprint, encoder.dimensions)
        self.known[collection] = recipe_of(document, frozen)
        self.encoders[collection] = encoder
