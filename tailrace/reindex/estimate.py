"""Records of a state topic, looked at: decoded, rendered and cut as the new generation would."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Final

import numpy as np

from core.errors import PermanentError
from core.settings import Cut, DocumentSettings
from core.state import Progress, Removed, StateRow, Truncate, decode_state
from embed.cutter import Cutter
from embed.encoder import Encoder
from embed.looks import TEXT, Look
from embed.model import Document
from embed.render import Renderer
from tailrace.reindex.sampling import Raw
from tailrace.reindex.stored import StoredTexts

KEPT_TEXTS: Final = 256
"""Texts that are kept to measure the encoder with: one call of the index stage."""

KEPT_DOCUMENTS: Final = 256
"""Documents that are kept to measure the rest with: two batches of the index stage."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is compared. Picklable: every process of a pass makes its own Looker of it."""

    name: str
    new: DocumentSettings
    live: DocumentSettings | None
    """None where the live generation is of another table: none of its documents are among the rows."""
    donors: tuple[DocumentSettings, ...]
    """Of running generations whose vectors the new one may take: of the same table and fingerprint."""


@dataclass(slots=True)
class Seen:
    """What looking has met on the way."""

    rows: int = 0
    row_seconds: float = 0.0
    """Decoding and rendering them."""
    refused: int = 0
    refusal: str = ""
    """The first one's reason."""
    texts: list[str] = field(default_factory=list)
    """Some that must be embedded, drawn at random."""
    documents: list[Document] = field(default_factory=list)

    def told(self) -> "Seen":
        """Without what is kept, to be sent to another process."""
        return replace(self, texts=[], documents=[])

    def add(self, other: "Seen") -> None:
        self.rows += other.rows
        self.row_seconds += other.row_seconds
        self.refused += other.refused
        self.refusal = self.refusal or other.refusal


class Looker:
    """Looks at records, window by window. `seen` grows with them."""

    def __init__(self, subject: Subject, encoder: Encoder, stored: StoredTexts) -> None:
        self._new = Renderer(subject.name, subject.new)
        self._counts = counts = _Counts(encoder)
        self._cut, self._cutter = subject.new.cut, _cutter(subject.new.cut, counts)
        self._live = None if subject.live is None else Renderer(subject.name, subject.live)
        self._same = subject.live == subject.new
        self._donors = [
            _Donor(Renderer(subject.name, one), one.cut, _cutter(one.cut, counts), one == subject.live)
            for one in _different(subject.donors)
        ]
        self._encoder, self._stored = encoder, stored
        self._chance, self._offered = random.Random(7), 0  # noqa: S311 - which texts are timed
        self.seen = Seen()

    def look(self, records: Sequence[Raw], window: int, *, cut: bool) -> list[Look]:
        """One look a record, but none for records of progress. Raises what decode_state raises."""
        return list(self._looks(records, window, cut=cut))

    def _looks(self, records: Sequence[Raw], window: int, *, cut: bool) -> Iterator[Look]:
        for raw in records:
            began = time.perf_counter()
            record = decode_state(raw.key, raw.value, raw.headers)
            place = window, raw.partition, raw.offset
            match record:
                case Progress():
                    pass
                case Truncate():
                    yield Look("truncate", *place, record.version)
                case Removed():
                    yield Look("removed", *place, record.version, raw.key or b"")
                case StateRow():
                    yield self._row(record, place, raw.key or b"", began, cut=cut)

    def _row(
        self, row: StateRow, place: tuple[int, int, int], key: bytes, began: float, *, cut: bool
    ) -> Look:
        self._counts.forget()
        document = self._document(row)
        self.seen.rows += 1
        self.seen.row_seconds += time.perf_counter() - began
        was = document is not None if self._same else self._was(row)
        if document is None:
            return Look("none", *place, row.version, key, was, 0 if cut else None, self._before(row, cut=cut))
        if not cut:
            return Look("document", *place, row.version, key, was)
        try:
            pieces = self._cutter.cut(document.text)
        except PermanentError as error:
            self._refuse(error)
            return Look("none", *place, row.version, key, was, 0)
        available, before = self._given(row, document.text, pieces)
        missing = [piece for piece in dict.fromkeys(pieces) if piece not in available]
        available |= self._stored.known(missing)
        missing = [piece for piece in missing if piece not in available]
        self._keep(document, missing)
        return Look(
            "document",
            *place,
            row.version,
            key,
            was,
            len(pieces),
            before,
            sum(piece in available for piece in pieces),
            sum(map(len, pieces)),
            self._packed(missing),
        )

    def _document(self, row: StateRow) -> Document | None:
        try:
            made = self._new.render(row)
        except PermanentError as error:
            self._refuse(error)
            return None
        return made if isinstance(made, Document) else None

    def _was(self, row: StateRow) -> bool:
        return self._live is not None and _rendered(self._live, row) is not None

    def _before(self, row: StateRow, *, cut: bool) -> int:
        """Chunks of the live generation of a row that is no document of the new one."""
        if self._same or not cut:
            return 0
        return next((len(one.pieces(row)) for one in self._donors if one.live), 0)

    def _given(self, row: StateRow, text: str, pieces: Sequence[str]) -> tuple[set[str], int]:
        """Texts that stand in this row's chunks elsewhere, and how many the live generation has of it."""
        given: set[str] = set()
        before = 0
        for donor in self._donors:
            made = donor.pieces(row, (text, self._cut, pieces))
            given.update(made)
            if donor.live:
                before = len(made)
        return given, before

    def _packed(self, texts: Sequence[str]) -> bytes:
        packed = np.empty(len(texts), TEXT)
        packed["text"] = [
            int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little")
            for text in texts
        ]
        packed["tokens"] = self._encoder.count(texts)
        return packed.tobytes()

    def _keep(self, document: Document, texts: Sequence[str]) -> None:
        if len(self.seen.documents) < KEPT_DOCUMENTS:
            self.seen.documents.append(document)
        for text in texts:
            self._offered += 1
            if len(self.seen.texts) < KEPT_TEXTS:
                self.seen.texts.append(text)
            elif (place := self._chance.randrange(self._offered)) < KEPT_TEXTS:
                self.seen.texts[place] = text

    def _refuse(self, error: PermanentError) -> None:
        self.seen.refused += 1
        self.seen.refusal = self.seen.refusal or str(error)


@dataclass(frozen=True, slots=True)
class _Donor:
    renderer: Renderer
    cut: Cut
    cutter: Cutter
    live: bool

    def pieces(self, row: StateRow, known: tuple[str, Cut, Sequence[str]] | None = None) -> Sequence[str]:
        """Its chunks' texts; `known` are those of another cut, which may be the same."""
        document = _rendered(self.renderer, row)
        if document is None:
            return ()
        if known is not None and (document.text, self.cut) == known[:2]:
            return known[2]
        try:
            return self.cutter.cut(document.text)
        except PermanentError:
            return ()


def _rendered(renderer: Renderer, row: StateRow) -> Document | None:
    try:
        made = renderer.render(row)
    except PermanentError:
        return None
    return made if isinstance(made, Document) else None


class _Counts:
    """An encoder's counts, remembered for one row: every cutter asks for the same units of its text."""

    def __init__(self, encoder: Encoder) -> None:
        self._count, self.max_tokens = encoder.count, encoder.max_tokens
        self._known: dict[tuple[str, ...], list[int]] = {}

    def __call__(self, texts: Sequence[str]) -> list[int]:
        key = tuple(texts)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._count(texts)
        return found

    def forget(self) -> None:
        self._known.clear()


def _cutter(cut: Cut, counts: _Counts) -> Cutter:
    return Cutter(cut, counts, counts.max_tokens)


def _different(donors: Sequence[DocumentSettings]) -> list[DocumentSettings]:
    found: list[DocumentSettings] = []
    for one in donors:
        if one not in found:
            found.append(one)
    return found
