"""What changes cost at the encoder's door: documents of paragraphs, a piece each, through seven steps.

Each step says how many texts it should embed; after each, what the index holds is compared with what
it should hold, by an oracle that knows nothing of cutting or planning.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from core.clock import FixedClock
from core.keys import RowKey
from core.settings import Cut
from embed.cutter import Cutter
from embed.encoder import HashingEncoder, Kind
from embed.index import Collection, Drop, Swap
from embed.memory_index import MemoryIndex
from embed.model import Change, ChunkPoint, Document, Removal, Sparse, Vector
from embed.pipeline import Pipeline
from embed.store import VectorStore

Rows: TypeAlias = dict[int, list[str]]


class CountingEncoder(HashingEncoder):
    """Counts the texts that come through its door."""

    embedded = 0

    def encode(self, texts: Sequence[str], *, kind: Kind) -> Vector:
        self.embedded += len(texts)
        return super().encode(texts, kind=kind)


class CountingCollection:
    """Counts the points and manifests that are written, and hands everything else on."""

    def __init__(self, inner: Collection) -> None:
        self._inner, self.writes = inner, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write_chunks(self, points: Sequence[ChunkPoint]) -> None:
        self.writes += len(points)
        self._inner.write_chunks(points)

    def swap_manifests(self, swaps: Sequence[Swap]) -> set[Any]:
        self.writes += len(swaps)
        return self._inner.swap_manifests(swaps)

    def drop_chunks(self, drops: Sequence[Drop]) -> None:
        self.writes += len(drops)
        self._inner.drop_chunks(drops)


def no_tokens(texts: Sequence[str]) -> list[Sparse]:
    return [Sparse((), ()) for _ in texts]


def paragraph(*name: object) -> str:
    """Thirty words, no two alike: two do not fit a piece of forty."""
    return " ".join(f"{'-'.join(map(str, name))}-{word}" for word in range(30))


@dataclass(slots=True)
class Step:
    name: str
    expected: int
    embedded: int
    writes: int
    stale: int
    missing: int

    @property
    def ok(self) -> bool:
        quiet = self.name != "redeliver" or self.writes == 0
        return (self.embedded, self.stale, self.missing) == (self.expected, 0, 0) and quiet


@dataclass
class Scenario:
    """The rows as they should be, and the pipeline that is told of their changes."""

    documents: int
    paragraphs: int
    touched: int
    rows: Rows = field(default_factory=dict)
    language: dict[int, str] = field(default_factory=dict)
    version: int = 0

    def __post_init__(self) -> None:
        index = MemoryIndex()
        index.create("c", 64)
        self.collection: Any = CountingCollection(index.open("c"))
        self.encoder = CountingEncoder(64)
        self.store = VectorStore(None, 1 << 28, FixedClock())
        cutter = Cutter(Cut(kind="plain", min_tokens=20, max_tokens=40), self.encoder.count, 254)
        self.pipeline = Pipeline("articles", self.collection, self.encoder, self.store, cutter, no_tokens)
        self.sent: dict[int, Change] = {}

    def run(self) -> list[Step]:
        made = [
            self._step("load", self.documents * self.paragraphs, self._load),
            self._step("redeliver", 0),
            self._step("edit a paragraph", self.touched, self._edit),
            self._step("prepend a paragraph", self.touched, self._prepend),
            self._step("shrink to three", 0, self._shrink),
            self._step("metadata only", 0, self._tag),
            self._step("delete", 0, self._delete),
            self._step("equal text elsewhere", 0, self._copy),
            self._step("rename keys", 0, self._rename),
            self._step("redeliver", 0),
        ]
        self.store.close()
        return made

    def _load(self) -> None:
        for n in range(self.documents):
            self.rows[n] = [paragraph(n, place) for place in range(self.paragraphs)]

    def _edit(self) -> None:
        for n in range(self.touched):
            self.rows[n][5] = paragraph("edited", n)

    def _prepend(self) -> None:
        for n in range(self.touched):
            self.rows[n].insert(0, paragraph("new", n))

    def _shrink(self) -> None:
        for n in range(self.touched):
            del self.rows[n][3:]

    def _tag(self) -> None:
        self.language.update(dict.fromkeys(range(self.touched), "de"))

    def _delete(self) -> None:
        for n in range(self.touched):
            del self.rows[n]

    def _copy(self) -> None:
        for n in range(self.touched):
            self.rows[self.documents + n] = list(self.rows[self.touched + n])

    def _rename(self) -> None:
        for n in range(self.touched):
            self.rows[2 * self.documents + n] = self.rows.pop(self.touched + n)

    def _step(self, name: str, expected: int, act: Callable[[], None] | None = None) -> Step:
        """Change the rows, apply what changed, compare. Without a change everything is delivered again."""
        embedded, writes = self.encoder.embedded, self.collection.writes
        if act is not None:
            act()
            self.version += 1
            self._announce()
        changes = list(self.sent.values())
        applied = [self.pipeline.apply(changes[at : at + 50]) for at in range(0, len(changes), 50)]
        assert not any(one.failed for one in applied)
        stale, missing = self._audit()
        return Step(
            name,
            expected,
            self.encoder.embedded - embedded,
            self.collection.writes - writes,
            stale,
            missing,
        )

    def _announce(self) -> None:
        for n in [*self.sent, *(n for n in self.rows if n not in self.sent)]:
            key = RowKey.of({"id": n})
            fresh: Change = Removal("articles", key.text, key.canonical, self.version, None, "", 0)
            if n in self.rows:
                fresh = Document(
                    "articles",
                    key.text,
                    key.canonical,
                    self.version,
                    f"Article {n}",
                    "\n\n".join(self.rows[n]),
                    None,
                    None,
                    None,
                    {"lang": self.language.get(n, "en")},
                    "",
                    0,
                )
            known = self.sent.get(n)
            if known is None or replace(known, version=self.version) != fresh:
                self.sent[n] = fresh

    def _audit(self) -> tuple[int, int]:
        """Points that should not be there, and those that should, by key, text and metadata."""
        wanted = Counter(
            (str(n), text, self.language.get(n, "en")) for n, texts in self.rows.items() for text in texts
        )
        points, after = self.collection.scroll_chunks(None, 10**6)
        assert after is None
        held = Counter((one.key, one.text, one.metadata["lang"]) for one in points)
        live = self.collection.scroll(None, 10**6).manifests
        listed = {one for manifest in live for one in manifest.chunks}
        unlisted = sum(one.id not in listed for one in points)
        return (held - wanted).total() + unlisted, (wanted - held).total()


def run(documents: int = 200, paragraphs: int = 12, touched: int = 20) -> dict[str, object]:
    """Each step's figures, and whether all of them are ideal."""
    steps = Scenario(documents, paragraphs, touched).run()
    made: dict[str, object] = {
        f"{place} {step.name}": {
            "expected": step.expected,
            "embedded": step.embedded,
            "writes": step.writes,
            "stale": step.stale,
            "missing": step.missing,
        }
        for place, step in enumerate(steps)
    }
    return {**made, "ok": all(step.ok for step in steps)}
