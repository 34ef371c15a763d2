"""The encoder seam: texts to vectors."""

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal, Protocol, TypeAlias

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

    @property
    def batch_size(self) -> int:
        """Texts of one call in the background: few, as an edit waits behind it, and enough for its costs."""
        ...

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without the model's own marks. Texts that end at white space add up."""
        ...

    def encode(self, texts: Sequence[str], *, kind: Kind) -> Vector: ...

    def close(self) -> None: ...


_WORD = re.compile(r"\w+")


class HashingEncoder:
    """The twin: a bag of hashed words. The same words give the same direction, in every process."""

    max_tokens = 254
    batch_size = 4

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

    def close(self) -> None:
        """Nothing to close."""
