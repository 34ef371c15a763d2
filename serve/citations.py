"""What an answer's numbers stand for. A number that names no evidence is taken out, and counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from core.metrics import CITATIONS_REFUSED
from core.telemetry import logger
from retrieve.model import Hit
from serve.sanitiser import Sanitiser

log = logger(__name__)

LONGEST_QUOTE: Final = 500
"""Characters of `cited_text`: enough to find the passage; the hit has the whole of it."""


@dataclass(frozen=True, slots=True)
class Citation:
    """One mark `[n]` in the answer, from `start` to `end` (characters), and the passage it stands for."""

    n: int
    start: int
    end: int
    cited_text: str
    chunk_id: str
    document: str
    key: str
    title: str
    url: str | None
    version: int
    position: str
    committed_at: int
    stale: bool


class Cited:
    """Collects the citations of one answer. Only `hits`, the passages the answer was made from, count."""

    def __init__(self, hits: Sequence[Hit], profile: str) -> None:
        self._hits, self._profile = hits, profile
        self.citations: list[Citation] = []
        self.refused = 0

    def sanitiser(self) -> Sanitiser:
        """For a model's answer: checks its marks, and allows links to the pages of these passages only."""
        return Sanitiser({hit.url for hit in self._hits if hit.url}, self.mark, known=self.known)

    def known(self, n: int) -> bool:
        """Whether there is such a passage. A number that names none is counted."""
        if 1 <= n <= len(self._hits):
            return True
        self.refused += 1
        CITATIONS_REFUSED.labels(self._profile).inc()
        log.warning("a citation named no evidence", number=n, passages=len(self._hits))
        return False

    def mark(self, n: int, start: int, quote: str | None = None) -> str:
        """`[n]` for the answer, taken note of at `start`; `n` is known."""
        hit, mark = self._hits[n - 1], f"[{n}]"
        self.citations.append(
            Citation(
                n,
                start,
                start + len(mark),
                (quote or hit.text)[:LONGEST_QUOTE],
                hit.chunk_id,
                hit.document,
                hit.key,
                hit.title,
                hit.url,
                hit.version,
                hit.position,
                hit.committed_at,
                hit.stale,
            )
        )
        return mark
