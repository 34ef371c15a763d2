"""Twins of the ports: evidence from memory, for tests and experiments."""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence

from core.errors import TailraceError
from embed.model import Scope
from retrieve.compare import Asked, Comparison, Difference, Side, Size, Step, latency, mean, recall
from retrieve.compare import Found as FoundByBoth
from retrieve.model import (
    AsOf,
    DocumentPage,
    DocumentView,
    Evidence,
    Explanation,
    Found,
    Freshness,
    Hit,
    Question,
    Rows,
    StateEntry,
)
from retrieve.recipe import check_filters
from serve.errors import UnknownNameError
from serve.ports import GenerationsView, GenerationView, Readiness

GENERATIONS = GenerationsView(
    (
        GenerationView("articles", 1, "live", True, "shop-articles-g1", 3, 5, 384, 1_700_000_000_000),
        GenerationView("articles", 2, "candidate", False, "shop-articles-g2", None, None, 768, 1),
    ),
    ("shop-articles-g9",),
)
FRESH = Freshness({"shop": AsOf("0/16B3748", 1_700_000_000_000)}, 12, 3, 0, None, None, {"shop": "ok"})


def passage(
    key: str, text: str, *, title: str = "", document: str = "articles", relevance: float = 0.8
) -> Hit:
    """A hit with this text; its page is `https://shop.example/<document>/<key>`."""
    return Hit(
        document=document,
        key=key,
        chunk_id=f"chunk-{key}",
        title=title or f"Title {key}",
        text=text,
        url=f"https://shop.example/{document}/{key}",
        ordinal=0,
        version=7,
        position="0/16B3748",
        committed_at=1_700_000_000_000,
        stale=False,
        relevance=relevance,
        row={"id": key},
    )


class MemoryRetrieval:
    """Implements Retrieval, CurrentFreshness, ReadinessCheck and Generations over fixed values."""

    columns: tuple[str, ...] = ("category",)
    """That filters may name."""

    def __init__(
        self,
        hits: Sequence[Hit] = (),
        entries: Mapping[tuple[str, str], Rows] | None = None,
        documents: Mapping[tuple[str, str], DocumentView] | None = None,
        *,
        error: TailraceError | None = None,
        readiness: Readiness | None = None,
    ) -> None:
        self.hits, self.entries, self.documents = tuple(hits), dict(entries or {}), dict(documents or {})
        self.error = error
        self.readiness = readiness or Readiness(True, "ready")
        self.asked: list[Question] = []

    async def retrieve(self, question: Question) -> Evidence:
        check_filters(list(question.filters), {"articles": self.columns})
        self.asked.append(question)
        if self.error is not None:
            raise self.error
        hits = self.hits[: question.top_k]
        channels = tuple(
            Found(h.document, h.key, h.chunk_id, "dense", n, h.relevance) for n, h in enumerate(hits, 1)
        )
        state = {view: self.entries.get((view, key), ()) for view, key in question.state.items()}
        fused = tuple((hit.chunk_id, hit.relevance) for hit in hits)
        return Evidence(hits, state, FRESH, Explanation(channels, fused, (), {"total": 1.0}))

    async def document_page(self, document: str, after: str | None, limit: int, scope: Scope) -> DocumentPage:  # noqa: ARG002 - one tenant
        keys = sorted(key for name, key in self.documents if name == document and key > (after or ""))
        shown = keys[:limit]
        manifests = tuple(self.documents[document, key].manifest for key in shown)
        return DocumentPage(manifests, shown[-1] if len(keys) > limit else None)

    async def document(self, document: str, key: str, scope: Scope) -> DocumentView | None:  # noqa: ARG002 - one tenant
        return self.documents.get((document, key))

    async def state_entry(self, view: str, key: str, scope: Scope) -> StateEntry:  # noqa: ARG002 - one tenant
        return StateEntry(self.entries.get((view, key), ()), FRESH)

    async def now(self) -> Freshness:
        return FRESH

    async def ready(self) -> Readiness:
        return self.readiness

    async def generations(self) -> GenerationsView:
        return GENERATIONS

    async def compare(
        self,
        document: str,
        number: int | None,
        questions: Sequence[Asked],
        *,
        top_k: int,
        limit: int,
        scope: Scope,  # noqa: ARG002 - one tenant
    ) -> AsyncGenerator[Step | Comparison, None]:
        """Both hold the same and find the same; one document is missing."""
        if number not in (None, 2):
            raise UnknownNameError("generation", f"{number} of {document}", ["2"])
        if self.error is not None:
            raise self.error
        yield Step("documents", 0, 3)
        keys = tuple(hit.key for hit in self.hits)[:top_k]
        found = tuple(
            FoundByBoth(
                q.query, keys, keys, 1.0, recall(keys, q.expected, top_k), recall(keys, q.expected, top_k)
            )
            for q in questions
        )
        recalled = mean(one.live_recall for one in found)
        spent = latency([1.0] * len(found))
        yield Comparison(
            document,
            Side(1, Size(3, 5), recalled, spent),
            Side(2, Size(2, 3), recalled, spent),
            Difference(1, ("101",)[:limit]),
            Difference(),
            Difference(),
            top_k,
            mean(one.overlap for one in found),
            found,
            0.5,
        )


async def word_similarity(question: str, sentences: Sequence[str]) -> Sequence[float]:
    """Implements Similarity: the cosine of the two sets of words."""
    asked = set(re.findall(r"\w+", question.lower()))
    said = [set(re.findall(r"\w+", sentence.lower())) for sentence in sentences]
    return [len(asked & words) / ((len(asked) * len(words)) ** 0.5 or 1.0) for words in said]
