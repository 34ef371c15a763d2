"""An OpenAI-compatible embeddings endpoint, through the openai SDK."""

import base64
import binascii
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from core.addresses import shown_url
from core.errors import ConfigurationError, LimitError, PermanentError, TransientError
from core.secret import Secret
from core.settings import OpenAIEncoder
from embed.encoder import Kind, Pauses, encode_in_pieces
from embed.model import Vector

_BATCH: Final = 32
"""Texts of one request: the default limit of the strictest of the usual servers."""

_STRAY: Final = ["OpenAI-Organization", "OpenAI-Project"]
"""Headers that the SDK fills from OPENAI_* variables, which were meant for another server."""


class OpenAITextEncoder:
    """Texts to vectors of one endpoint; implements embed.encoder.Encoder.

    One HTTP call without retries for every 32 texts: the caller waits and tries again. Tokens
    are estimated from UTF-8 bytes (for ASCII, characters), since the endpoint's tokenizer is not
    here: scripts of several bytes a letter count more, as they do in most vocabularies. The
    fingerprint names model and dimensions, not the address: change the model's name when its
    weights change. The dimensions are checked at each call.
    """

    def __init__(self, settings: OpenAIEncoder) -> None:
        import openai  # noqa: PLC0415 - takes a second, and only this encoder needs it

        self._settings = settings
        self.dimensions = settings.dimensions
        self.max_tokens = settings.max_tokens
        self.fingerprint = f"openai-{settings.model}-{settings.dimensions}"
        self._border = _border_of(openai)
        self._where = shown_url(settings.base_url)
        key = Secret(settings.api_key).reveal() if settings.api_key else None
        self._headers: dict[str, Any] = dict.fromkeys(
            _STRAY if key else [*_STRAY, "Authorization"], openai.Omit()
        )
        self._client = openai.OpenAI(
            base_url=settings.base_url,
            api_key=key or "none",
            timeout=settings.timeout_seconds,
            max_retries=0,
        )
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings.model}, {self.dimensions} dimensions)"

    def count(self, texts: Sequence[str]) -> list[int]:
        try:
            return [math.ceil(len(text.encode()) / self._settings.characters_per_token) for text in texts]
        except UnicodeEncodeError as error:
            raise PermanentError("a text is not valid Unicode: it cannot be encoded") from error

    def encode(self, texts: Sequence[str], *, kind: Kind) -> Vector:  # noqa: ARG002 - endpoints know no kinds
        for place, tokens in enumerate(self.count(texts)):
            if tokens > self.max_tokens:
                raise LimitError(
                    f"text {place} has about {tokens} tokens; the encoder takes {self.max_tokens}:"
                    " cut it shorter"
                )
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            vectors[start : start + len(batch)] = self._call(batch, start)
        return vectors

    def encode_with_pauses(self, texts: Sequence[str], *, kind: Kind, pauses: Pauses) -> Vector:
        return encode_in_pieces(self, texts, _BATCH, kind=kind, pauses=pauses)

    def close(self) -> None:
        self._client.close()

    def _call(self, texts: Sequence[str], start: int) -> Vector:
        with self._lock, self._border(f"{self._where}: embed with {self._settings.model}"):
            answer = self._client.embeddings.with_raw_response.create(
                input=[text or " " for text in texts],  # endpoints refuse an empty text
                model=self._settings.model,
                extra_headers=self._headers,
                encoding_format="base64",  # a third of the bytes; a server that knows only floats sends those
            )
            said = answer.http_response.json()
        return parse_vectors(said, len(texts), self.dimensions, start=start)


def parse_vectors(said: Any, count: int, dimensions: int, *, start: int = 0) -> Vector:
    """The vectors in an answer to `count` texts, of length 1, in the order of the texts. Pure.

    Takes floats and base64 of little-endian float32. Raises ConfigurationError if this is no answer
    of an embeddings endpoint with these dimensions, PermanentError if a text got no direction;
    `start` is the place of the first text, for the message.
    """
    try:
        items = sorted(said["data"], key=lambda item: item["index"])
        places = [item["index"] for item in items]
        rows = [_row(item["embedding"]) for item in items]
    except (TypeError, KeyError, ValueError, binascii.Error) as error:
        raise ConfigurationError(
            f"encoder.base_url: the answer is not of an embeddings endpoint: {error!r}"
        ) from error
    if places != list(range(count)):
        raise ConfigurationError(
            f"encoder.base_url: the endpoint answered {count} texts with {len(rows)} vectors,"
            f" of places {places[:5]} ...: it is not OpenAI-compatible"
        )
    for row in rows:
        if row.shape != (dimensions,):
            raise ConfigurationError(
                f"encoder.dimensions: the endpoint's vectors have {row.size}, not {dimensions}:"
                " write that number, and reindex"
            )
    vectors = np.array(rows, np.float32).reshape(count, dimensions)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)))
    if bad.size:
        raise PermanentError(f"text {start + int(bad[0])}: the endpoint's vector is zero or not finite")
    return np.asarray(vectors / lengths, np.float32)


def _row(embedding: Any) -> Vector:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4").astype(np.float32)
    return np.asarray(embedding, np.float32)


def _border_of(openai: Any) -> Any:
    """The SDK's exceptions end here, by name; callers see only ours."""

    @contextmanager
    def border(what: str) -> Iterator[None]:
        try:
            yield
        except openai.APIStatusError as error:
            status = error.status_code
            said = f"{what}: HTTP {status}"
            if status in {400, 413, 422}:
                raise PermanentError(f"{said}: the endpoint refuses these texts") from error
            if status in {401, 403, 404}:
                raise ConfigurationError(f"{said}: check base_url, model and api_key") from error
            raise TransientError(said, retry_after=_seconds(error.response.headers)) from error
        except openai.APITimeoutError as error:
            raise TransientError(f"{what}: no answer in time") from error
        except openai.APIConnectionError as error:
            raise TransientError(f"{what}: the connection failed: {error.__cause__ or error}") from error
        except (openai.APIError, ValueError) as error:  # an answer that is no JSON: a proxy's page, say
            raise TransientError(f"{what}: no usable answer: {error}") from error
        except openai.OpenAIError as error:
            raise ConfigurationError(f"{what}: {error}") from error

    return border


def _seconds(headers: Any) -> float | None:
    said = headers.get("retry-after", "")
    try:
        wait = float(said)
    except ValueError:  # a date, which few servers send
        return None
    return wait if math.isfinite(wait) and wait >= 0 else None
