"""What the chunks of a streamed answer say, put together. An endpoint may send anything."""

from typing import Any, Final

from serve.llm import Finish, FinishReason, LlmRefusedError, LlmUnavailableError

MOST_TOKENS: Final = 2**31
"""Of a count that is believed: no model reads or writes as many."""

_REASONS: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
}


class Gathered:
    """One answer of at most `most` characters; `where` is the endpoint, for messages.

    `full`: it has them, and the rest is not wanted.
    """

    def __init__(self, where: str, most: int) -> None:
        self._where, self._left = where, most
        self._reason: FinishReason | None = None
        self._usage: Any = None
        self.full = False

    def take(self, chunk: Any) -> str:
        """The chunk's text. Raises LlmRefusedError for what no chunk of an answer is."""
        self._usage = getattr(chunk, "usage", None) or self._usage
        choices = getattr(chunk, "choices", None)
        if not choices:  # the usage, or a keep-alive
            return ""
        choice = choices[0] if isinstance(choices, list) else None
        if not hasattr(choice, "finish_reason") and not hasattr(choice, "delta"):
            raise LlmRefusedError(f"{self._where} sent choices that are none of a chat answer")
        reason = getattr(choice, "finish_reason", None)
        text = getattr(getattr(choice, "delta", None), "content", None) or ""
        if not isinstance(reason, str | None) or not isinstance(text, str):
            raise LlmRefusedError(f"{self._where} sent content, or a reason to finish, that is no text")
        if reason:
            self._reason = _REASONS.get(reason, "stop")
        shown = text[: self._left]
        self._left -= len(shown)
        if len(shown) < len(text):
            self._reason, self.full = "length", True
        return shown

    def finish(self) -> Finish:
        """The end. Raises LlmUnavailableError if the endpoint has not said why it finished."""
        if self._reason is None:
            raise LlmUnavailableError(f"{self._where} ended its stream without finishing the answer")
        prompt, completion = (_count(self._usage, name) for name in ("prompt_tokens", "completion_tokens"))
        return Finish(self._reason, prompt, completion)


def _count(usage: Any, name: str) -> int | None:
    count = getattr(usage, name, None)
    usable = isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= MOST_TOKENS
    return count if usable else None
