"""Answers without a model: the sentences that answer, quoted, and the rows that were asked for.

A sentence counts if it means what the question means and says its words. Meaning is the cosine of
question and sentence, by itself and below its title, averaged: alone, a sentence lacks its subject
("It weighs 480 g"); with the title, every sentence of a page looks alike. Words are the share of
the question's content words in the sentence, or half as much where only title or heading say them.
A name or number in the question must be in the passage or its title: "the R-value of the Airfloat 8"
is not answered by a page about R-values.

The thresholds come from the sample shop with all-MiniLM-L6-v2 (tests/unit/test_extract_calibration.py
holds them): sentences that answer score 0.75 and more, the best of a shop whose article is gone 0.70
and less, other topics 0.6 and less.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core.state import Json
from retrieve.model import Hit, Rows
from serve.citations import Cited
from serve.ports import Similarity
from serve.sanitiser import Sanitiser
from serve.sentences import Sentence, content_words, names, sentences, shared

UNKNOWN: Final = "I do not know: nothing in the indexed documents answers this."

SURE: Final = 0.735
"""Least score of a quote."""

WORDS: Final = 0.25
"""What the share of shared words adds to the cosine."""

BESIDE: Final = 0.06
"""A further sentence is quoted if its score is so near to the best one's."""

MOST_QUOTES: Final = 3
PASSAGES: Final = 8
CANDIDATES: Final = 64
FINALISTS: Final = 12
"""Sentences compared by themselves, and with their titles: some 70 ms of the query encoder at most."""

LONGEST: Final = 700
"""Characters of a sentence: the encoder takes about 250 tokens. A longer one is no sentence."""

ASKED, ASKED_BY_NAME = 0.36, 0.25
"""Least cosine of question and state entry; the lower one if they share a word."""


@dataclass(frozen=True, slots=True)
class Extract:
    """An answer, its citations, and whether anything answered."""

    text: str
    cited: Cited
    known: bool


@dataclass(frozen=True, slots=True)
class _Quote:
    n: int
    text: str
    score: float
    place: int


async def extract(
    question: str,
    hits: Sequence[Hit],
    state: Mapping[str, Rows],
    keys: Mapping[str, str],
    similarity: Similarity,
    *,
    min_relevance: float,
    profile: str = "",
) -> Extract:
    """The answer to `question` that `hits` and the joined `state` entries (of these `keys`) hold.

    `min_relevance`: least cosine of the question and a quoted sentence, or the passage around it.
    """
    cited = Cited(hits, profile)
    rows = await _asked_rows(question, state, keys, similarity)
    quotes = await _quotes(question, hits, similarity, min_relevance)
    text = "\n\n".join(rows)
    for quote in quotes:
        separator = "" if not text else "\n\n" if quote is quotes[0] else " "
        text += separator + inert(quote.text) + " "
        text += cited.mark(quote.n, len(text), quote.text)
    return Extract(text or UNKNOWN, cited, known=bool(text))


def inert(text: str) -> str:
    """A row's text as plain words: no links, no images, and no marks that look like ours."""
    sanitiser = Sanitiser((), lambda n, _: f"({n})")
    return sanitiser.feed(text) + sanitiser.finish()


async def _quotes(
    question: str, hits: Sequence[Hit], similarity: Similarity, min_relevance: float
) -> list[_Quote]:
    asked, named = content_words(question), names(question)
    candidates: list[tuple[int, Hit, Sentence]] = []
    for n, hit in enumerate(hits[:PASSAGES], 1):
        words = content_words(f"{hit.title}\n{hit.text}")
        # One sentence in a passage about something else is far from the question only as a passage.
        near = hit.relevance >= min_relevance or 2 * shared(asked, words) > len(asked)
        if near and shared(named, words) == len(named):
            candidates += [(n, hit, s) for s in sentences(hit.text) if len(s.text) <= LONGEST]
    candidates = candidates[:CANDIDATES]
    if not asked or not candidates:
        return []
    alone = await similarity(question, [sentence.text for _, _, sentence in candidates])
    added = [_said(asked, sentence, hit.title) for _, hit, sentence in candidates]
    order = sorted(range(len(candidates)), key=lambda i: -(alone[i] + added[i]))[:FINALISTS]
    titled = await similarity(question, [_titled(*candidates[i][1:]) for i in order])
    scored = [
        _Quote(candidates[i][0], candidates[i][2].text, (alone[i] + below) / 2 + added[i], i)
        for i, below in zip(order, titled, strict=True)
        if max(alone[i], candidates[i][1].relevance) >= min_relevance
    ]
    return chosen(scored)


def chosen(scored: Sequence[_Quote]) -> list[_Quote]:
    """The best quote if it is sure, and those near it, in order of their passages; no text twice."""
    best = max((quote.score for quote in scored), default=0.0)
    if best < SURE:
        return []
    ordered = sorted(scored, key=lambda quote: -quote.score)
    near = {q.text: q for q in reversed(ordered) if q.score >= max(SURE, best - BESIDE)}
    kept = sorted(near.values(), key=lambda quote: -quote.score)[:MOST_QUOTES]
    return sorted(kept, key=lambda quote: quote.place)


def _said(asked: frozenset[str], sentence: Sentence, title: str) -> float:
    here = content_words(sentence.text)
    own = shared(asked, here)
    around = shared(asked, here | content_words(f"{title} {sentence.heading}")) - own
    # One word in common says little where it is the only one: "my order" is in every page of a shop.
    share = (own + around / 2) / len(asked)
    return WORDS * share * min(1.0, len(asked) / 2)


def _titled(hit: Hit, sentence: Sentence) -> str:
    return f"{hit.title}: {sentence.text}"[:LONGEST]


async def _asked_rows(
    question: str, state: Mapping[str, Rows], keys: Mapping[str, str], similarity: Similarity
) -> list[str]:
    """One paragraph for each entry that the question is about."""
    if not state:
        return []
    described = {view: _describe(view, rows) for view, rows in state.items()}
    cosines = await similarity(question, [text[:LONGEST] for text in described.values()])
    asked = content_words(question)
    said = []
    for (view, text), cosine in zip(described.items(), cosines, strict=True):
        if cosine >= (ASKED_BY_NAME if shared(asked, content_words(text)) else ASKED):
            said.append(_listed(view, keys.get(view, ""), state[view]))
    return said


def _describe(view: str, rows: Rows) -> str:
    name = view.replace("_", " ")
    return f"{name}: {_spelled(rows[0])}" if rows else name


def _listed(view: str, key: str, rows: Rows) -> str:
    name = f"{view.replace('_', ' ')} {key}".strip()
    if not rows:
        return inert(f"{name}: there are no rows.")
    return "\n".join(
        [inert(f"{name}, as the database has it now:"), *(inert(f"- {_spelled(r)}") for r in rows)]
    )


def _spelled(row: Mapping[str, Json]) -> str:
    shown = (
        f"{name.replace('_', ' ')} {'yes' if value is True else 'no' if value is False else value}"
        for name, value in row.items()
        if value is not None and value != ""
    )
    return ", ".join(shown)
