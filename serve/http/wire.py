"""The shapes of requests and answers. No score and no vector is in any of them, but for operators."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from core.state import Json
from embed.model import Manifest
from retrieve.model import DocumentView, Evidence, Explanation, Freshness, Hit, Rows
from serve.ask import MOST_HITS, Ask
from serve.citations import Citation
from serve.http.body import Body
from serve.pages import page
from serve.prompt import Message

MOST_FILTERS = 32
LONGEST_WAIT_MS = 2**53


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> Any:
    """A key or position that a caller sent as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Scalar: TypeAlias = str | int | float | bool | None
Values: TypeAlias = Annotated[
    list[Scalar], BeforeValidator(_listed, json_schema_input_type=Scalar | list[Scalar])
]
Key: TypeAlias = Annotated[
    str, BeforeValidator(_text, json_schema_input_type=str | int), Field(max_length=2000)
]
Positions: TypeAlias = Key | dict[str, Key]


class Extension(BaseModel):
    """What a request may say beside its question. Unknown members are refused: they were meant."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    top_k: Annotated[int | None, Field(ge=1, le=MOST_HITS)] = None
    filters: Annotated[dict[str, Values], Field(max_length=MOST_FILTERS)] = {}
    state: Annotated[dict[str, Key], Field(max_length=MOST_FILTERS)] = {}
    min_position: Positions | None = None
    max_staleness_ms: Annotated[int | None, Field(ge=0, le=LONGEST_WAIT_MS)] = None


class SearchIn(Body, Extension):
    query: Annotated[str, Field(min_length=1)]
    profile: str

    def ask(self) -> Ask:
        return Ask(
            profile=self.profile,
            query=self.query,
            top_k=self.top_k,
            filters=self.filters,
            state=self.state,
            min_position=self.min_position,
            max_staleness_ms=self.max_staleness_ms,
        )


class Position(BaseModel):
    position: str | None
    committed_at: int | None


class FreshnessOut(BaseModel):
    """`as_of` by source; lags in ms, null while a source has not been looked at."""

    as_of: dict[str, Position]
    index_lag_ms: int | None
    state_lag_ms: int | None
    stale_hits: int
    reached_min_position: bool | None
    reached_max_staleness: bool | None
    source_status: dict[str, str]

    @classmethod
    def of(cls, freshness: Freshness) -> Self:
        return cls.model_validate(asdict(freshness))


class HitOut(BaseModel):
    document: str
    key: str
    chunk_id: str
    title: str
    text: str
    url: str | None
    ordinal: int
    version: int
    position: str
    committed_at: int
    stale: bool

    @classmethod
    def of(cls, hit: Hit) -> Self:
        return cls(**{name: getattr(hit, name) for name in cls.model_fields})


class SearchOut(BaseModel):
    hits: list[HitOut]
    state: dict[str, list[dict[str, JsonValue]]]
    freshness: FreshnessOut
    request_id: str

    @classmethod
    def of(cls, evidence: Evidence, request_id: str) -> Self:
        return cls(**_evidence(evidence), request_id=request_id)


class FoundOut(BaseModel):
    document: str
    key: str
    chunk_id: str
    channel: str
    rank: int
    score: float


class ExplanationOut(BaseModel):
    channels: list[FoundOut]
    fused: list[tuple[str, float]]
    dropped: list[tuple[str, str]]
    timings_ms: dict[str, float]

    @classmethod
    def of(cls, explanation: Explanation) -> Self:
        return cls.model_validate(asdict(explanation))


class MessageOut(BaseModel):
    role: str
    content: str


class ExplainOut(SearchOut):
    explanation: ExplanationOut
    prompt: list[MessageOut]
    prompt_tokens: int

    @classmethod
    def explained(cls, evidence: Evidence, prompt: Sequence[Message], tokens: int, request_id: str) -> Self:
        return cls(
            **_evidence(evidence),
            request_id=request_id,
            explanation=ExplanationOut.of(evidence.explanation),
            prompt=[MessageOut(role=message.role, content=message.content) for message in prompt],
            prompt_tokens=tokens,
        )


class ManifestOut(BaseModel):
    document: str
    key: str
    version: int
    title: str
    url: str | None
    position: str
    committed_at: int
    chunks: list[str]
    fingerprint: str

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        shown = {name: getattr(manifest, name) for name in cls.model_fields}
        chunks = [str(chunk) for chunk in manifest.chunks]
        return cls(**{**shown, "url": page(manifest.url), "chunks": chunks})


class ChunkOut(BaseModel):
    id: str
    ordinal: int
    text: str


class DocumentOut(BaseModel):
    manifest: ManifestOut
    chunks: list[ChunkOut]
    row: dict[str, JsonValue]
    row_version: int
    stale: bool
    freshness: FreshnessOut

    @classmethod
    def of(cls, view: DocumentView) -> Self:
        return cls(
            manifest=ManifestOut.of(view.manifest),
            chunks=[ChunkOut(id=c.chunk_id, ordinal=c.ordinal, text=c.text) for c in view.chunks],
            row=_row(view.row),
            row_version=view.row_version,
            stale=view.stale,
            freshness=FreshnessOut.of(view.freshness),
        )


class DocumentLine(BaseModel):
    key: str
    version: int
    chunks: int
    title: str
    committed_at: int

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        return cls(
            key=manifest.key,
            version=manifest.version,
            chunks=len(manifest.chunks),
            title=manifest.title,
            committed_at=manifest.committed_at,
        )


class DocumentsOut(BaseModel):
    data: list[DocumentLine]
    after: str | None


class StateOut(BaseModel):
    view: str
    key: str
    rows: list[dict[str, JsonValue]]
    freshness: FreshnessOut


class ModelOut(BaseModel):
    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "tailrace"


class ModelsOut(BaseModel):
    object: str = "list"
    data: list[ModelOut]


class ReadinessOut(BaseModel):
    status: str
    progress: dict[str, JsonValue] = {}


class ErrorOut(BaseModel):
    """As OpenAI's clients expect it."""

    message: str
    type: str
    param: str | None
    code: str


class ProblemOut(BaseModel):
    """RFC 9457, with `error` for OpenAI's clients."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    error: ErrorOut


def rows(found: Mapping[str, Rows]) -> dict[str, list[dict[str, JsonValue]]]:
    return {view: [_row(row) for row in entry] for view, entry in found.items()}


def citation(made: Citation) -> dict[str, Json]:
    return asdict(made)


def _row(row: Mapping[str, Json]) -> dict[str, JsonValue]:
    plain: dict[str, Any] = dict(row)
    return plain


def _evidence(evidence: Evidence) -> dict[str, Any]:
    return {
        "hits": [HitOut.of(hit) for hit in evidence.hits],
        "state": rows(evidence.state),
        "freshness": FreshnessOut.of(evidence.freshness),
    }
