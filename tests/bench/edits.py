"""What an edit of a long document costs: pieces that the encoder has not met.

Sixty made-up Markdown documents of about sixty pieces, edited at random places: a word replaced, a
sentence inserted, a hundred characters deleted, a paragraph inserted.
"""

import random
import statistics
from collections.abc import Sequence
from typing import Final

from core.settings import Cut, OpenVinoEncoder
from embed.cutter import Count, Cutter
from embed.encoders.openvino import OpenVinoModel

BARS: Final = {
    "replace word": (1.4, 3),
    "insert sentence": (1.9, 3),
    "delete 100 characters": (1.8, 3),
    "insert paragraph": (2.4, 4),
}
"""Mean and 95th percentile of new pieces for each edit."""

_WORDS: Final = """
the a of to and in for on with that this is are was by from as at it or be not can will has have
order payment customer invoice delivery warehouse parcel refund address account password session
server cluster replica snapshot partition offset record topic consumer producer schema column table
value key index query search result answer question document version change update delete insert
commit transaction lock timeout retry failure error warning message queue worker service request
response header status code client browser mobile application release feature button screen page
when then after before while until because although always never often usually rarely only also
must should could please contact support team within three days of your purchase date open closed
small large new old fast slow early late first second last next previous current local remote safe
"""
WORDS: Final = _WORDS.split()


def sentence(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(6, 24))).capitalize() + "."


def paragraph(chance: random.Random) -> str:
    kind = chance.random()
    if kind < 0.12:
        return "\n".join(f"- {sentence(chance)}" for _ in range(chance.randint(3, 7)))
    if kind < 0.17:
        lines = (
            f"{chance.choice(WORDS)} = {chance.choice(WORDS)}({chance.randint(0, 99)})" for _ in range(6)
        )
        return "```python\n" + "\n".join(lines) + "\n```"
    return " ".join(sentence(chance) for _ in range(chance.randint(1, 6)))


def document(chance: random.Random, paragraphs: int = 115) -> str:
    """Markdown with a heading before every eighth paragraph or so."""
    parts = []
    for _ in range(paragraphs):
        if chance.random() < 0.12:
            parts.append("#" * chance.randint(1, 3) + " " + " ".join(chance.choices(WORDS, k=4)))
        parts.append(paragraph(chance))
    return "\n\n".join(parts)


def edited(text: str, kind: str, chance: random.Random) -> str:
    at = text.index(" ", chance.randrange(len(text) // 20, len(text) * 9 // 10))
    if kind == "replace word":
        return f"{text[:at]} revised{text[text.index(' ', at + 1) :]}"
    if kind == "insert sentence":
        return f"{text[:at]} {' '.join(chance.sample(WORDS, 18))}.{text[at:]}"
    if kind == "delete 100 characters":
        return text[:at] + text[at + 100 :]
    gap = text.find("\n\n", at)
    return f"{text[:gap]}\n\n{' '.join(chance.sample(WORDS, 60))}.{text[gap:]}"


def new_pieces(cutter: Cutter, texts: Sequence[str], kind: str, rounds: int) -> list[int]:
    chance = random.Random(9)  # noqa: S311 - the same edits every time
    counts = []
    for text in texts:
        before = set(cutter.cut(text))
        counts += [len(set(cutter.cut(edited(text, kind, chance))) - before) for _ in range(rounds)]
    return sorted(counts)


def cautious_words(texts: Sequence[str]) -> list[int]:
    """Tokens as a tokenizer might count them, without one."""
    return [sum(1 + len(word) // 6 for word in text.split()) for text in texts]


def measure(
    count: Count, *, documents: int = 60, rounds: int = 4, settings: Cut | None = None
) -> dict[str, object]:
    """Mean and 95th percentile for each kind of edit, and whether all of them meet their bar."""
    chance = random.Random(4)  # noqa: S311 - the same texts every time
    texts = [document(chance) for _ in range(documents)]
    cutter = Cutter(settings or Cut(), count, 254)
    figures: dict[str, object] = {
        "pieces of a document": statistics.mean(len(cutter.cut(text)) for text in texts)
    }
    figures["tokens of a piece"] = statistics.mean(n for text in texts for n in count(cutter.cut(text)))
    good = True
    for kind, (mean, most) in BARS.items():
        counts = new_pieces(cutter, texts, kind, rounds)
        figures[f"{kind}, mean"] = statistics.mean(counts)
        figures[f"{kind}, p95"] = counts[len(counts) * 19 // 20]
        good = good and statistics.mean(counts) <= mean and counts[len(counts) * 19 // 20] <= most
    return {**figures, "ok": good}


def run() -> dict[str, object]:
    """With the tokens of the default model, at the default limits."""
    encoder = OpenVinoModel.load(OpenVinoEncoder().model).encoder(threads=1)
    try:
        return measure(encoder.count)
    finally:
        encoder.close()
