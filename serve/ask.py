"""What a caller asks, and the retrieval that it becomes under its profile. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from core.settings import Profile, Settings
from core.state import Json
from embed.model import Scope
from retrieve.model import Question
from serve.errors import RequestError
from serve.prompt import Message

MOST_HITS: Final = 100


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    `state`: view to the key of the entry to join. `min_position`: by source, or of the only one.
    `retrieve`: whether to ground the answer; without, the model is asked as it is.
    """

    profile: str
    query: str
    history: tuple[Message, ...] = ()
    top_k: int | None = None
    filters: Mapping[str, Sequence[Json]] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)
    min_position: str | Mapping[str, str] | None = None
    max_staleness_ms: int | None = None
    retrieve: bool = True
    max_tokens: int | None = None
    temperature: float | None = None


def question_of(ask: Ask, profile: Profile, settings: Settings, scope: Scope) -> Question:
    """The retrieval of `ask`. RequestError names the member that the profile does not allow.

    Filters are for the retrieval to refuse: the generation that answers says which columns it carries.
    """
    if not ask.query.strip():
        raise RequestError("the question is empty: write what to search for", "query")
    top_k = profile.top_k if ask.top_k is None else ask.top_k
    if not 1 <= top_k <= MOST_HITS:
        raise RequestError(f"top_k is {top_k}: write 1 to {MOST_HITS}", "top_k")
    _known("state", ask.state, profile.state, "state view")
    return Question(
        query=ask.query,
        documents=tuple(profile.documents),
        scope=scope,
        top_k=top_k,
        filters=ask.filters,
        state=ask.state,
        min_position=_positions(ask.min_position, profile, settings),
        max_staleness_ms=ask.max_staleness_ms,
        wait_seconds=settings.serve.wait_seconds,
        profile=ask.profile,
    )


def _positions(
    asked: str | Mapping[str, str] | None, profile: Profile, settings: Settings
) -> Mapping[str, str]:
    if asked is None:
        return {}
    tables = [settings.documents[name].table for name in profile.documents]
    tables += [settings.state[name].table for name in profile.state]
    sources = sorted({table.partition(".")[0] for table in tables})
    if not isinstance(asked, str):
        _known("min_position", asked, sources, "source")
        return asked
    if len(sources) != 1:
        raise RequestError(
            f'min_position needs its source: write {{"<source>": "{asked[:40]}"}} with one of'
            f" {', '.join(sources) or '(none)'}",
            "min_position",
        )
    return {sources[0]: asked}


def _known(param: str, asked: Mapping[str, object], known: Sequence[str] | set[str], kind: str) -> None:
    for name in asked:
        if name not in known:
            shown = ", ".join(sorted(known)) or "(none configured)"
            raise RequestError(f"this profile has no {kind} {name[:100]!r}: write one of {shown}", param)
