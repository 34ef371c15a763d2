"""Any OpenAI-compatible chat endpoint, through the `openai` client.

The answer is always streamed from the endpoint: only a stream shows a stall. The client's own
retries are off; ours happen before the first token only, at most ATTEMPTS in all, inside one
deadline that covers everything from the request to the last token. An answer is whole when the
endpoint said why it finished; a stream that ends before is an error, however politely it ends.
"""

import asyncio
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx2

from core.addresses import secrets_of, shown_url
from core.clock import Clock, SystemClock
from core.errors import ConfigurationError
from core.metrics import LLM_CALL
from core.retry import Backoff
from core.secret import Secret
from core.settings import Llm as LlmSettings
from core.telemetry import logger
from serve.llm import Finish, LlmRefusedError, LlmUnavailableError
from serve.llms.chunks import Gathered
from serve.prompt import Message

log = logger(__name__)

ATTEMPTS: Final = 3
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
LONGEST_RETRY_AFTER: Final = 3600.0
"""Seconds: nobody means a longer wait."""

LONGEST_SAYING: Final = 300
"""Characters of the endpoint's own words in a message."""

CHARACTERS_PER_TOKEN: Final = 16
"""No tokenizer makes more of one token on average: an answer past it ignores our limit."""

MOST_BYTES: Final = 4 * 2**20
"""Of one response as it comes over the wire: 512 tokens take about 150 KB with their envelopes."""

_LATER: Final = {408, 409, 425, 429}
_UNAUTHORISED: Final = 401
_SERVER: Final = 500


class OpenAILlm:
    """One entry of `llms`. Implements serve.llm.Llm; used in one event loop.

    Raises ConfigurationError if the address or the secret cannot be used.
    """

    def __init__(
        self, settings: LlmSettings, *, first_wait: float = FIRST_WAIT, clock: Clock | None = None
    ) -> None:
        self.name = settings.name
        self.context_tokens, self.answer_tokens = settings.context_tokens, settings.answer_tokens
        if settings.answer_tokens >= settings.context_tokens:
            raise ConfigurationError(
                f"llms.{self.name}: answer_tokens is {settings.answer_tokens}, which leaves nothing of"
                f" context_tokens ({settings.context_tokens}) for the prompt: write less"
            )
        self._settings, self._first_wait = settings, first_wait
        self._clock = clock or SystemClock()
        key = Secret(settings.api_key).reveal() if settings.api_key else ""
        self._where = f"llms.{self.name} ({shown_url(settings.base_url)})"
        secrets = secrets_of(settings.base_url) | ({key} if key else set())
        self._secrets = sorted(secrets, key=len, reverse=True)  # one may be a part of another
        try:
            self._http = httpx2.AsyncClient(transport=_Bounded(), timeout=settings.timeout_seconds)
        except httpx2.HTTPError as error:
            raise ConfigurationError(f"{self._where}: {error}") from error
        self._key = key or "none"
        self._client: Any = None

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int | None = None, temperature: float | None = None
    ) -> AsyncGenerator[str | Finish, None]:
        backoff = Backoff(first=self._first_wait, most=LONGEST_WAIT)
        body = self._body(messages, max_tokens, temperature)
        started = False
        if self._client is None:
            # The import takes a second: a thread, so that other requests go on, and none of the deadline.
            self._client = await asyncio.to_thread(self._connect)
        begun = self._clock.monotonic()
        deadline = begun + self._settings.timeout_seconds
        while True:
            try:
                async with aclosing(self._once(body, deadline)) as pieces:
                    async for piece in pieces:
                        started = True
                        yield piece
            except LlmUnavailableError as error:
                wait = backoff.seconds(error.retry_after)
                left = deadline - self._clock.monotonic()
                if started or backoff.tries >= ATTEMPTS or wait >= left:
                    log.warning("the model failed", llm=self.name, attempts=backoff.tries, error=str(error))
                    raise
                await asyncio.sleep(wait)
            else:
                LLM_CALL.labels(self.name).observe(self._clock.monotonic() - begun)
                return

    async def close(self) -> None:
        await self._http.aclose()

    def _body(
        self, messages: Sequence[Message], max_tokens: int | None, temperature: float | None
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._settings.model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "max_tokens": min(max_tokens or self.answer_tokens, self.answer_tokens),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return body if temperature is None else {**body, "temperature": temperature}

    async def _once(self, body: dict[str, Any], deadline: float) -> AsyncGenerator[str | Finish, None]:
        """One attempt."""
        answer = Gathered(self._where, CHARACTERS_PER_TOKEN * body["max_tokens"])
        with self._border():
            stream = await self._until(deadline, self._open(body))
        try:
            chunks = aiter(stream)
            while True:
                with self._border():
                    chunk = await self._until(deadline, anext(chunks, None))
                if chunk is None:
                    break
                if text := answer.take(chunk):
                    yield text
                if answer.full:
                    break
        finally:
            await stream.close()
        yield answer.finish()

    async def _open(self, body: dict[str, Any]) -> Any:
        raw = await self._client.chat.completions.with_raw_response.create(**body)
        kind = raw.headers.get("content-type", "")
        if "text/event-stream" not in kind.lower():
            text = (await raw.http_response.aread()).decode("utf-8", "replace")
            said = self._masked(_said(text))
            failure = (
                LlmUnavailableError if said else LlmRefusedError
            )  # gateways say that they are full like this
            raise failure(f"{self._where} answered {kind or 'without a type'}, no event stream{said}")
        return raw.parse()

    def _connect(self) -> Any:
        import openai  # noqa: PLC0415 - takes a second, and most services have no model

        return openai.AsyncOpenAI(
            base_url=self._settings.base_url,
            api_key=self._key,
            max_retries=0,
            timeout=self._settings.timeout_seconds,
            http_client=self._http,
        )

    async def _until(self, deadline: float, work: Any) -> Any:
        async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())):
            return await work

    @contextmanager
    def _border(self) -> Iterator[None]:
        """The client's exceptions end here."""
        import openai  # noqa: PLC0415 - as above

        try:
            yield
        except TimeoutError as error:
            raise LlmUnavailableError(
                f"{self._where} did not finish within {self._settings.timeout_seconds:g} s"
            ) from error
        except openai.APIStatusError as error:
            raise self._refused(error.status_code, error.response.headers, error.message) from error
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            cause = error.__cause__ or error
            raise LlmUnavailableError(
                f"{self._where} cannot be reached: {self._masked(str(cause)) or type(cause).__name__}"
            ) from error
        except openai.APIError as error:  # an error object inside the stream
            said = self._masked(error.message)
            raise LlmUnavailableError(f"{self._where} failed while answering: {said}") from error
        except (ValueError, RecursionError) as error:  # no JSON, or of a depth or length that nobody reads
            raise LlmUnavailableError(f"{self._where} sent a stream that is no JSON") from error
        except (TypeError, AttributeError, openai.OpenAIError) as error:
            said = self._masked(str(error))
            raise LlmRefusedError(f"{self._where} sent what no chat answer is: {said}") from error

    def _refused(self, status: int, headers: httpx2.Headers, message: str) -> Exception:
        # Of a wrong key the endpoint may say only a part, or one that it holds itself.
        said = f"{self._where}: HTTP {status}" + (
            "" if status == _UNAUTHORISED else f": {self._masked(message)}"
        )
        if status in _LATER or status >= _SERVER:
            return LlmUnavailableError(said, retry_after=self._retry_after(headers.get("retry-after", "")))
        hint = {401: ": check its api_key", 403: ": check its api_key", 404: ": check base_url and model"}
        return LlmRefusedError(said + hint.get(status, ""))

    def _masked(self, text: str) -> str:
        """What the endpoint says, without the secrets that it may echo; its beginning."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text[:LONGEST_SAYING]

    def _retry_after(self, text: str) -> float | None:
        """Seconds, or an HTTP date; None for what is neither."""
        try:
            seconds = float(text)
        except ValueError:
            try:
                seconds = parsedate_to_datetime(text).timestamp() - self._clock.now_ms() / 1000
            except (ValueError, OverflowError, OSError):
                return None
        return None if math.isnan(seconds) else min(max(0.0, seconds), LONGEST_RETRY_AFTER)


class _Bounded(httpx2.AsyncHTTPTransport):
    """Reads at most MOST_BYTES of a response: nobody's answer fills our memory."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        if not isinstance(response.stream, httpx2.AsyncByteStream):
            raise TypeError(type(response.stream))
        response.stream = _BoundedStream(response.stream)
        return response


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for part in self._stream:
            read += len(part)
            if read > MOST_BYTES:
                raise httpx2.ReadError(f"the answer is longer than {MOST_BYTES} bytes")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


def _said(text: str) -> str:
    """The error inside a body, if one is."""
    try:
        error = json.loads(text)["error"]
        return f": {error.get('message', error) if isinstance(error, dict) else error}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
