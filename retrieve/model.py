"""What a question asks for, and the evidence that comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from core.state import Json
from embed.model import Manifest, Scope

Channel: TypeAlias = Literal["dense", "sparse"]
SourceStatus: TypeAlias = Literal["ok", "unreachable", "unknown"]
"""How the position of a source is known: read lately; not readable now (positions stand still);
or nobody says one (no connector configured, or none committed yet)."""
Rows: TypeAlias = tuple[Mapping[str, Json], ...]


@dataclass(frozen=True, slots=True)
class Question:
    """One retrieval. `documents` come from the profile, `scope` from the service, never from the caller.

    `state`: view name -> key text of the entry to join. `filters`: metadata column -> allowed values.
    `min_position`: source -> position the answer should cover. `max_staleness_ms`: wait until
    everything that reached the raw log so long ago is covered. Both waits end after `wait_seconds`,
    and the evidence says whether they were met. `claims`: the caller's verified claims, for views
    that declare one. `profile` only labels metrics. `explain`: the explanation names the row of every
    candidate, not only of those that were looked at, which takes a millisecond.
    """

    query: str
    documents: tuple[str, ...]
    scope: Scope
    top_k: int = 6
    filters: Mapping[str, Sequence[Json]] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)
    min_position: Mapping[str, str] = field(default_factory=dict)
    max_staleness_ms: int | None = None
    wait_seconds: float = 2.0
    claims: Mapping[str, str] = field(default_factory=dict)
    profile: str = ""
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that may be cited: listed by its manifest, its row live as of the stated position."""

    document: str
    key: str
    chunk_id: str
    title: str
    text: str
    url: str | None
    ordinal: int
    """Place of the passage in its document, from 0."""
    version: int
    position: str
    committed_at: int
    stale: bool
    """The row has changed since; the passage is the newest that is searchable."""
    relevance: float
    """Cosine of question and passage, -1..1. Internal: never sent to callers."""
    row: Mapping[str, Json]
    """The latest row state that the passage was joined with."""


@dataclass(frozen=True, slots=True)
class AsOf:
    """Everything that the source committed up to `position` is in the answer.

    `position` is None until one is known to be covered (see `Freshness.source_status`).
    `committed_at`: the source's commit time (ms since 1970) of the newest change known to be
    covered, so an idle source has an old time beside a current position; None before any.
    """

    position: str | None
    committed_at: int | None


@dataclass(frozen=True, slots=True)
class Freshness:
    """How fresh the evidence is. Lags in ms; 0: nothing is known to be missing.

    A lag is the age of the oldest change that is known to be missing: from the raw log to the
    index, and from the raw log to the state view. None while one of the sources has not been looked
    at: nobody knows yet what stands in its raw log.
    """

    as_of: Mapping[str, AsOf]
    index_lag_ms: int | None
    state_lag_ms: int | None
    stale_hits: int
    reached_min_position: bool | None
    """None where no position was asked for."""
    reached_max_staleness: bool | None = None
    source_status: Mapping[str, SourceStatus] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StateEntry:
    """The rows of one entry of a state view; none for an absent one and for another tenant's alike."""

    rows: Rows
    freshness: Freshness
    """Of the view's source: of its documents too, so that no later answer is as of an earlier position."""


@dataclass(frozen=True, slots=True)
class Found:
    """For `query --explain`: one candidate on its way."""

    document: str
    key: str
    """Empty if the candidate was not looked at, or is gone."""
    chunk_id: str
    channel: Channel
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """What happened inside one retrieval, in order: channels, fusion, manifests, join."""

    channels: tuple[Found, ...]
    fused: tuple[tuple[str, float], ...]
    """Chunk id and fused score, best first."""
    dropped: tuple[tuple[str, str], ...]
    """Chunk id and the reason why it did not count."""
    timings_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Hits, joined state and freshness: all that an answer may be made of."""

    hits: tuple[Hit, ...]
    state: Mapping[str, Rows]
    freshness: Freshness
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class Passage:
    """One chunk of a document, in its order."""

    chunk_id: str
    ordinal: int
    text: str
    version: int
    """Of the row that wrote the chunk first or last fenced it; at most the manifest's."""


@dataclass(frozen=True, slots=True)
class DocumentView:
    """A document as it is searchable now, beside its row as the source has it now."""

    manifest: Manifest
    chunks: tuple[Passage, ...]
    row: Mapping[str, Json]
    row_version: int
    stale: bool
    freshness: Freshness


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """Manifests that the caller may see, by id. `after`, a key's text, continues it; None: the end."""

    manifests: tuple[Manifest, ...]
    after: str | None
