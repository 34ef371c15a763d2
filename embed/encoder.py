"""The encoder seam: texts to vectors."""

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, Literal, Protocol, TypeAlias

import numpy as np

from core.errors import LimitError
from embed.model import Vector

Kind: TypeAlias = Literal["document", "query"]


class Encoder(Protocol):
    """Texts to vectors of length 1. Blocking; several threads may call `count` and `encode` at a time.

    `encode` gives a float32 array of shape (len(texts), dimensions), rows in the order of the
    texts; no texts give no rows. It never cuts a text short: a text of more than `max_tokens`
    is a LimitError that names its place. TransientError if the model may answer later,
    PermanentError if it will never take one of these texts, ConfigurationError if it is wrongly
    set up.
    """

    @property
    def fingerprint(self) -> str:
        """Of everything that decides a vector: weights, pooling, kind of precision, prefixes."""
        ...

    @property
    def dimensions(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """Most tokens of one text, as `count` counts: the model's own marks are already taken off."""
        ...

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without the model's own marks. Texts that end at white space add up."""
        ...

    def encode(self, texts: Sequence[str], *, kind: Kind) -> Vector: ...

    def close(self) -> None: ...


class Pauses(Protocol):
    """What a call in the background asks between two pieces of its work."""

    @property
    def due(self) -> bool:
        """Whether the next pause is to be waited in: then what has begun ends, and nothing runs meanwhile."""
        ...

    @property
    def disturbed(self) -> bool:
        """Whether others have had to go first lately: then pieces are small, that the next one waits less."""
        ...

    def take(self, places: Sequence[int]) -> None:
        """After the texts of these places are done. May wait. What it raises ends the call."""
        ...


class PausingEncoder(Encoder, Protocol):
    """An encoder that can also work in the background, behind every call of `encode`."""

    def encode_with_pauses(self, texts: Sequence[str], *, kind: Kind, pauses: Pauses) -> Vector:
        """As `encode`, in pieces of some milliseconds, or of one request, with a pause after each.

        The pauses are taken in the caller's thread, one after the other; each text is told of once.
        """
        ...


def encode_in_pieces(
    encoder: Encoder, texts: Sequence[str], size: int, *, kind: Kind, pauses: Pauses
) -> Vector:
    """`encode_with_pauses` by calls of `encode` with so many texts of like length, the longest first."""
    tokens = encoder.count(texts)
    order = sorted(range(len(texts)), key=tokens.__getitem__, reverse=True)
    vectors = np.empty((len(texts), encoder.dimensions), np.float32)
    for at in range(0, len(order), size):
        places = order[at : at + size]
        vectors[places] = encoder.encode([texts[place] for place in places], kind=kind)
        pauses.take(places)
    return vectors


_WORD = re.compile(r"\w+")


HASHED_PIECE: Final = 4
"""Texts of one piece."""


class HashingEncoder:
    """The twin: a bag of hashed words. The same words give the same direction, in every process."""

    max_tokens = 254

    def __init__(self, dimensions: int = 64) -> None:
        self.dimensions = dimensions
        self.fingerprint = f"hashing-{dimensions}"

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def encode(self, texts: Sequence[str], *, kind: Kind) -> Vector:  # noqa: ARG002 - no prefixes here
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for place, (text, tokens) in enumerate(zip(texts, self.count(texts), strict=True)):
            if tokens > self.max_tokens:
                raise LimitError(f"text {place} has {tokens} tokens; the encoder takes {self.max_tokens}")
            for word in [*_WORD.findall(text.lower()), ""]:  # "": no text without a direction
                digest = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "big")
                vectors[place, digest % self.dimensions] += 1.0 if digest >> 63 else -1.0
            if not vectors[place].any():
                vectors[place, 0] = 1.0
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)

    def encode_with_pauses(self, texts: Sequence[str], *, kind: Kind, pauses: Pauses) -> Vector:
        return encode_in_pieces(self, texts, HASHED_PIECE, kind=kind, pauses=pauses)

    def close(self) -> None:
        """Nothing to close."""
