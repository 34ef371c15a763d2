"""What serving needs from the floors below, and from the composition root."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from core.state import Json
from embed.model import Scope
from retrieve.compare import Asked, Comparison, Step
from retrieve.model import DocumentPage, DocumentView, Evidence, Freshness, Question, StateEntry


class Retrieval(Protocol):
    """The one way to evidence; `retrieve.retriever.Retriever` is one.

    Each raises ContractError or LimitError for a request that breaks a rule, and TransientError
    while nothing can be searched.
    """

    async def retrieve(self, question: Question) -> Evidence: ...

    async def document_page(
        self, document: str, after: str | None, limit: int, scope: Scope
    ) -> DocumentPage: ...

    async def document(self, document: str, key: str, scope: Scope) -> DocumentView | None:
        """None if absent, gone or not this caller's: the three look the same."""
        ...

    async def state_entry(self, view: str, key: str, scope: Scope) -> StateEntry:
        """The position that it states was read before the rows."""
        ...


class CurrentFreshness(Protocol):
    """How fresh the service is now; `retrieve.freshness.FreshnessTracker` is one."""

    async def now(self) -> Freshness: ...


class Similarity(Protocol):
    """Cosine of a question and each sentence, by the query encoder. The order of the sentences."""

    async def __call__(self, question: str, sentences: Sequence[str]) -> Sequence[float]: ...


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether questions can be answered. `progress` is data for the caller, such as read and total."""

    ready: bool
    status: Literal["ready", "loading", "failed"]
    progress: Mapping[str, Json] = field(default_factory=dict)
    message: str = ""


class ReadinessCheck(Protocol):
    async def ready(self) -> Readiness: ...


@dataclass(frozen=True, slots=True)
class GenerationView:
    """One generation, as the log records it and the index holds it."""

    document: str
    number: int
    role: Literal["live", "candidate", "previous", "lost", "dropped"]
    answers: bool
    """The index's alias points at it."""
    collection: str
    documents: int | None
    """None where its collection does not stand (yet, or any more)."""
    chunks: int | None
    dimensions: int
    started_at: int
    """Unix ms."""


@dataclass(frozen=True, slots=True)
class GenerationsView:
    """`strays`: collections of this application that no record speaks of."""

    generations: tuple[GenerationView, ...]
    strays: tuple[str, ...] = ()


class Generations(Protocol):
    """What a document's answers are made from, and could be made from."""

    async def generations(self) -> GenerationsView: ...

    def compare(
        self,
        document: str,
        number: int | None,
        questions: Sequence[Asked],
        *,
        top_k: int,
        limit: int,
        scope: Scope,
    ) -> AsyncGenerator[Step | Comparison, None]:
        """Steps, then one Comparison of what answers and generation `number` (None: the newest other).

        `limit`: keys that are named of each difference, of those in `scope`; counts are of all rows.
        Raises UnknownNameError for a generation that does not run, TransientError while another
        comparison runs.
        """
        ...
