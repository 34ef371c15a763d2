"""What serving needs from the floors below, and from the composition root."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from core.state import Json
from embed.model import Scope
from retrieve.model import DocumentPage, DocumentView, Evidence, Freshness, Question, Rows


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

    async def state_entry(self, view: str, key: str, scope: Scope) -> Rows: ...


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
