"""Texts become vectors: from the store, from an index, and only then from the encoder."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Final
from uuid import UUID

import numpy as np

from core.errors import ConfigurationError, LimitError, PermanentError
from core.metrics import ENCODE
from embed.encoder import Encoder
from embed.index import Collection
from embed.model import Vector
from embed.store import VectorStore

TOGETHER: Final = 256
"""Texts of one call of the encoder, which sorts and pads within it: a crash may cost two calls again."""

PLAIN: Final = "text"
"""What every encoder takes: where all texts are refused, this one tells their fault from the encoder's."""


@dataclass(slots=True)
class Vectors:
    """By text; a text that the encoder will never take is in `refused` instead."""

    found: dict[str, Vector] = field(default_factory=dict)
    refused: dict[str, PermanentError] = field(default_factory=dict)
    paid: set[str] = field(default_factory=set)
    """Texts that the encoder was called for."""
    fresh: SimpleQueue[dict[str, Vector]] = field(default_factory=SimpleQueue)
    """Made, and not stored yet."""


class Vectorizer:
    """Vectors of texts for one collection. What the encoder makes is checked, and kept for the next time.

    `donors`: other collections of the same document whose vectors this encoder has made.
    """

    def __init__(
        self,
        document: str,
        collection: Collection,
        encoder: Encoder,
        store: VectorStore,
        donors: Callable[[], Sequence[Collection]] = tuple,
    ) -> None:
        self._document, self._collection = document, collection
        self._encoder, self._store, self._donors = encoder, store, donors

    def add(
        self, vectors: Vectors, texts: Iterable[str], old: Sequence[UUID], rows: Sequence[UUID] = ()
    ) -> None:
        """Complete `vectors` with these texts. `old` are chunks that may carry some of them.

        `rows` are the ids of the manifests that the texts are for: donors have them under the same ids.
        Raises TransientError if encoder or index may answer later; what was embedded before is in `fresh`.
        Raises ConfigurationError if the encoder refuses every text.
        """
        missing = [text for text in dict.fromkeys(texts) if text not in vectors.found]
        self._take(vectors, self._store.get(self._encoder.fingerprint, missing))
        missing = [text for text in missing if text not in vectors.found]
        if missing and old:
            self._take(vectors, self._indexed(self._collection, frozenset(missing), old))
            missing = [text for text in missing if text not in vectors.found]
        for donor in self._donors() if missing and rows else ():
            self._take(vectors, self._given(donor, frozenset(missing), rows))
            missing = [text for text in missing if text not in vectors.found]
        for at in range(0, len(missing), TOGETHER):
            made, refused = self._encode(missing[at : at + TOGETHER])
            if not made:
                self._try_plain()
            vectors.fresh.put(made)
            vectors.found |= made
            vectors.refused |= refused
            vectors.paid |= made.keys()
            if vectors.fresh.qsize() > 1:  # whoever writes has not come to it: one row may need many calls
                self.store(vectors)

    def store(self, vectors: Vectors) -> None:
        """For the next time, what was embedded since the last call. From any thread."""
        with suppress(Empty):
            while True:
                self._store.put(self._encoder.fingerprint, vectors.fresh.get_nowait())

    def _take(self, vectors: Vectors, known: dict[str, Vector]) -> None:
        vectors.found.update((text, vector) for text, vector in known.items() if self._usable(vector))

    def _indexed(
        self, collection: Collection, missing: frozenset[str], chunks: Sequence[UUID]
    ) -> dict[str, Vector]:
        """The store is bounded, and another worker's: chunks that are replaced have vectors too."""
        texts = {one: chunk.text for one, chunk in collection.chunks(chunks).items() if chunk.text in missing}
        return {texts[one]: vector for one, vector in collection.vectors(list(texts)).items()}

    def _given(self, donor: Collection, missing: frozenset[str], rows: Sequence[UUID]) -> dict[str, Vector]:
        try:
            manifests = donor.manifests(rows).values()
            chunks = [
                chunk
                for one in manifests
                if one.fingerprint == self._encoder.fingerprint
                for chunk in one.chunks
            ]
            return self._indexed(donor, missing, chunks) if chunks else {}
        except ConfigurationError:  # it was dropped since
            return {}

    def _encode(self, texts: Sequence[str]) -> tuple[dict[str, Vector], dict[str, PermanentError]]:
        """A refusal is traced to its texts by halving: one text must not fail the others."""
        try:
            rows = self._called(texts)
        except PermanentError as error:
            if len(texts) == 1:
                return {}, {texts[0]: error}
            half = len(texts) // 2
            (made, refused), (more, others) = self._encode(texts[:half]), self._encode(texts[half:])
            return made | more, refused | others
        made = {text: row for text, row in zip(texts, rows, strict=True) if self._usable(row)}
        wrong = LimitError("the encoder gave a vector that is zero or not a number: check its model")
        return made, {text: wrong for text in texts if text not in made}

    def _try_plain(self) -> None:
        _, refused = self._encode([PLAIN])
        for error in refused.values():
            raise ConfigurationError(
                f"the encoder refuses every text of {self._document}, a plain word too ({error}):"
                " check its model, limits and address"
            ) from error

    def _called(self, texts: Sequence[str]) -> Vector:
        with ENCODE.labels(self._document).time():
            rows = self._encoder.encode(texts, kind="document")
        wanted = (len(texts), self._collection.dimensions)
        if rows.shape != wanted:
            raise LimitError(f"the encoder gave an array of {rows.shape}, not {wanted}: check its model")
        return rows

    def _usable(self, vector: Vector) -> bool:
        return vector.shape == (self._collection.dimensions,) and 0 < float(np.dot(vector, vector)) < np.inf
