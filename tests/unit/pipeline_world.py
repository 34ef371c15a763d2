"""A pipeline over the memory index, with an encoder that counts, and an index that goes away."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from core.clock import FixedClock
from core.errors import PermanentError, TransientError
from core.settings import Cut
from embed.cutter import Cutter
from embed.encoder import HashingEncoder, Kind
from embed.index import Collection
from embed.memory_index import MemoryIndex
from embed.model import Document, Removal, Scope, Sparse, Vector
from embed.pipeline import Pipeline
from embed.store import VectorStore
from embed.strays import StraySweep

THREE = "One two three.\n\nFour five six.\n\nSeven eight nine."


def no_tokens(texts: Sequence[str]) -> list[Sparse]:
    return [Sparse((1,), (1.0,)) for _ in texts]


def document(key: int, version: int, text: str, **more: Any) -> Document:
    made = Document("articles", str(key), b"k%d" % key, version, "T", text, None, None, None, {}, "0/1", 1)
    return replace(made, **more)


def removal(key: int, version: int) -> Removal:
    return Removal("articles", str(key), b"k%d" % key, version, None, "0/1", 1)


class Encoder(HashingEncoder):
    """Counts, and does to a text whatever it says."""

    def __init__(self) -> None:
        super().__init__(16)
        self.texts: list[str] = []
        self.calls: list[int] = []

    def encode(self, texts: Sequence[str], *, kind: Kind) -> Vector:
        assert kind == "document"
        self.calls.append(len(texts))
        if any("refuse" in text for text in texts):
            raise PermanentError("the model will not")
        if any("later" in text for text in texts):
            raise TransientError("overloaded")
        vectors = super().encode(texts, kind=kind)
        for place, text in enumerate(texts):
            if "nan" in text:
                vectors[place, 0] = np.nan
            if "zero" in text:
                vectors[place] = 0
        if any("fewer" in text for text in texts):
            return vectors[:-1]
        if any("narrow" in text for text in texts):
            return vectors[:, :8]
        self.texts += texts
        return vectors


class World:
    def __init__(self) -> None:
        index = MemoryIndex()
        index.create("c", 16)
        self.collection: Collection = index.open("c")
        self.encoder = Encoder()
        self.store = VectorStore(None, 1 << 24, FixedClock())
        self.points: list[str] = []
        self.pipeline = self.another()

    def another(self, failpoint: Callable[[str], None] | None = None) -> Pipeline:
        cutter = Cutter(Cut(kind="plain", min_tokens=1, max_tokens=4), self.encoder.count, 254)
        return Pipeline(
            "articles",
            self.collection,
            self.encoder,
            self.store,
            cutter,
            no_tokens,
            failpoint=failpoint or self.points.append,
        )

    def found(self, tenant: str | None = None) -> set[str]:
        [nearest] = self.collection.search([np.ones(16, np.float32)], Scope(tenant), {}, 100)
        return {one.text for one in self.collection.chunks([one.id for one in nearest]).values()}

    def swept(self) -> int:
        sweep = StraySweep(self.collection)
        while not sweep.step():
            pass
        return sweep.found

    def texts(self) -> list[str]:
        return sorted(one.text for one in self.collection.scroll_chunks(None, 1000)[0])


class Away:
    """A collection that does not answer where it is told to be down."""

    def __init__(self, collection: Collection) -> None:
        self._collection, self.down = collection, False

    def __getattr__(self, name: str) -> Any:
        if self.down:
            raise TransientError("away")
        return getattr(self._collection, name)
