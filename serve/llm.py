"""The seam of the model that writes answers."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from core.errors import PermanentError, TransientError
from serve.prompt import Message

FinishReason: TypeAlias = Literal["stop", "length", "content_filter"]


class LlmUnavailableError(TransientError):
    """The model's endpoint is down, too slow, or ended an answer early: later may work."""


class LlmRefusedError(PermanentError):
    """The endpoint will not answer this: its set-up or the request is wrong, or its answer no answer."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of a whole answer. `length`: the model was cut off by its token limit."""

    reason: FinishReason
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Llm(Protocol):
    """Chat messages to text, piece by piece."""

    @property
    def name(self) -> str: ...

    @property
    def context_tokens(self) -> int:
        """Most tokens of prompt and answer together."""
        ...

    @property
    def answer_tokens(self) -> int:
        """Tokens of the answer at most."""
        ...

    def stream(
        self, messages: Sequence[Message], *, max_tokens: int | None = None, temperature: float | None = None
    ) -> AsyncGenerator[str | Finish, None]:
        """Pieces of text, then one Finish, always. At the latest it ends with the adapter's deadline.

        Before the first piece a failure that may pass is tried again; after it never, since the
        reader has seen the beginning. Raises LlmUnavailableError or LlmRefusedError; what was given before is
        then a partial answer. `max_tokens` only lowers `answer_tokens`.
        """
        ...

    async def close(self) -> None: ...


class ScriptedLlm:
    """The twin: gives the pieces it was made with, and remembers what it was asked."""

    context_tokens, answer_tokens = 8192, 512

    def __init__(
        self,
        pieces: Sequence[str],
        *,
        name: str = "scripted",
        error: Exception | None = None,
        reason: FinishReason = "stop",
    ) -> None:
        self.name = name
        self._pieces, self._error, self._reason = pieces, error, reason
        self.asked: list[list[Message]] = []

    async def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int | None = None,  # noqa: ARG002 - a script has no limit
        temperature: float | None = None,  # noqa: ARG002 - and no chance
    ) -> AsyncGenerator[str | Finish, None]:
        self.asked.append(list(messages))
        for piece in self._pieces:
            yield piece
        if self._error is not None:
            raise self._error
        yield Finish(self._reason, 1, len(self._pieces))

    async def close(self) -> None:
        """Nothing to close."""
