"""OpenAI's chat shapes, with our `tailrace` member. What we do not know in a request is ignored."""

from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from serve.ask import Ask
from serve.chat import Answer, Prepared
from serve.citations import Citation
from serve.errors import RequestError
from serve.http.body import Body
from serve.http.wire import Extension, FreshnessOut, HitOut, citation, rows
from serve.prompt import Message

_ROLES: Final = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class ChatExtension(Extension):
    """The `tailrace` member of a request: what `extra_body` of the SDK sends."""

    retrieve: bool = True
    """False: the model is asked as it is, without evidence."""


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: str
    content: str | list[Any] | None = None

    @property
    def text(self) -> str:
        """Of parts, those that are text."""
        if not isinstance(self.content, list):
            return self.content or ""
        parts = (p.get("text") for p in self.content if isinstance(p, dict) and p.get("type") == "text")
        return "\n".join(part for part in parts if isinstance(part, str))


class ChatIn(Body):
    model_config = ConfigDict(extra="ignore")

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool | None = False
    stream_options: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    temperature: Any = None
    tailrace: ChatExtension | None = None

    @property
    def include_usage(self) -> bool:
        return isinstance(self.stream_options, dict) and self.stream_options.get("include_usage") is True

    def ask(self, *, task: bool) -> Ask:
        """The last message of the user is the question, those before it the history. `task`: no retrieval."""
        places = [place for place, message in enumerate(self.messages) if message.role == "user"]
        if not places:
            raise RequestError("messages has none of role user: the last of them is the question", "messages")
        question = self.messages[places[-1]].text
        if not question.strip():
            raise RequestError("the last message of the user says nothing: write a question", "messages")
        history = (
            Message(_ROLES[message.role], message.text)
            for message in self.messages[: places[-1]]
            if message.role in _ROLES and message.text
        )
        extra = self.tailrace or ChatExtension()
        return Ask(
            profile=self.model,
            query=question,
            history=tuple(history),
            top_k=extra.top_k,
            filters=extra.filters,
            state=extra.state,
            min_position=extra.min_position,
            max_staleness_ms=extra.max_staleness_ms,
            retrieve=extra.retrieve and not task,
            max_tokens=_positive(self.max_completion_tokens) or _positive(self.max_tokens),
            temperature=_number(self.temperature),
        )


class ChatOut(BaseModel):
    """A whole answer; `tailrace` holds hits, state, freshness, citations, trace_id and prompt_tokens."""

    id: str
    object: str
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, int]
    tailrace: dict[str, Any]


def completion(prepared: Prepared, answer: Answer, *, request_id: str, created: int) -> dict[str, Any]:
    """The body of an answer that is not streamed."""
    message = {
        "role": "assistant",
        "content": answer.text,
        "refusal": None,
        "annotations": annotations(answer.citations),
    }
    return {
        **_head(prepared, request_id, created, "chat.completion"),
        "choices": [{"index": 0, "message": message, "finish_reason": answer.reason, "logprobs": None}],
        "usage": _usage(answer),
        "tailrace": extension(prepared, answer, request_id),
    }


def chunk(
    prepared: Prepared, delta: dict[str, Any], *, request_id: str, created: int, reason: str | None = None
) -> dict[str, Any]:
    """One event of a streamed answer."""
    return {
        **_head(prepared, request_id, created, "chat.completion.chunk"),
        "choices": [{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}],
    }


def usage_chunk(prepared: Prepared, answer: Answer, *, request_id: str, created: int) -> dict[str, Any]:
    return {
        **_head(prepared, request_id, created, "chat.completion.chunk"),
        "choices": [],
        "usage": _usage(answer),
    }


def extension(prepared: Prepared, answer: Answer, request_id: str) -> dict[str, Any]:
    """The `tailrace` member of an answer. `partial`: the answer breaks off."""
    written = prepared.written
    found: dict[str, Any] = {"hits": [], "state": {}, "freshness": None}
    if prepared.evidence is not None:
        found = {
            "hits": [HitOut.of(hit).model_dump() for hit in prepared.evidence.hits],
            "state": rows(prepared.evidence.state),
            "freshness": FreshnessOut.of(prepared.evidence.freshness).model_dump(),
        }
    return {
        **found,
        "citations": [citation(made) for made in answer.citations],
        "trace_id": request_id,
        "prompt_tokens": 0 if written is None else written.tokens,
        "partial": answer.error is not None,
    }


def annotations(citations: Sequence[Citation]) -> list[dict[str, Any]]:
    """For clients that know OpenAI's: only citations with a page to open."""
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "start_index": made.start,
                "end_index": made.end,
                "title": made.title,
                "url": made.url,
            },
        }
        for made in citations
        if made.url
    ]


def _head(prepared: Prepared, request_id: str, created: int, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{request_id}",
        "object": kind,
        "created": created,
        "model": prepared.ask.profile,
    }


def _usage(answer: Answer) -> dict[str, int]:
    prompt, written = answer.prompt_tokens, answer.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _number(value: Any) -> float | None:
    hot = 2.0  # OpenAI's own upper end
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= hot
    return float(value) if usable else None
