"""Sentences, and the words that carry their meaning. Pure.

Markdown marks are taken off: what is quoted is read as plain text. The stop words are English;
in other languages every word counts, which makes quoting stricter, not looser.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

_END: Final = re.compile(
    r"(?<=[.!?\u2026])[\"'\u201d\u2019)\]]*\s+(?=[^a-z\d\s])"  # after a sentence; "ca. 480 g" goes on
    r"|(?<=[\u3002\uff01\uff1f])"  # the same in Chinese and Japanese
)
_ITEM: Final = re.compile(r"\s*(?:[-*+]|\d{1,3}[.)])\s+")
_HEADING: Final = re.compile(r"\s*#{1,6}\s+(.*)")
_RULE: Final = re.compile(r"[\s|:=-]+")
_FENCE: Final = re.compile(r"\s*(?:```|~~~)")
_EMPHASIS: Final = re.compile(r"(\*\*|__|\*|`)(?=\S)(.+?)(?<=\S)\1")
_LINK: Final = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*\)")
_WORD: Final = re.compile(r"\w+(?:[-'\u2019]\w+)*")
_SUFFIXES: Final = ("ies", "ing", "ed", "es", "s", "e")

LEAST_STEM: Final = 3
LEAST_PREFIX: Final = 4

_STOP_WORDS: Final = """
a about all also am an and any anybody anyone are as at be been bring but by can could did do does
far for from get give got had happen happens has have he her here his how i if in into is it its
just know like long make many may me might much must my need no not of off often old on only or our
out over please shall she should show so some take takes tell than that the their them then there
these they this those to too under up us very want was we were what when where which who whom whose
why will with would you your
"""
STOP: Final = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True, slots=True)
class Sentence:
    """`text` in plain letters; `heading`: what stands above it in its passage."""

    text: str
    heading: str = ""


def sentences(text: str) -> list[Sentence]:
    """Of a Markdown or plain text, in order: sentences, list items, and table rows with their headings."""
    found: list[Sentence] = []
    heading = ""
    for paragraph in _paragraphs(text):
        title = _HEADING.fullmatch(paragraph)
        if title is not None:
            heading = plain(title[1])
        elif paragraph.lstrip().startswith("|"):
            found += [Sentence(row, heading) for row in _rows(paragraph.splitlines())]
        else:
            item = _ITEM.match(paragraph)
            parts = (plain(part) for part in _END.split(paragraph[item.end() if item else 0 :]))
            found += [Sentence(part, heading) for part in parts if _WORD.search(part)]
    return found


def sentence_ends(text: str) -> list[int]:
    """Where the text may be cut so that whole sentences stand before the cut."""
    ends = [match.start() for match in _END.finditer(text)]
    ends += [match.start() for match in re.finditer(r"\n\s*", text)]
    return sorted({end for end in ends if text[:end].strip()})


def plain(text: str) -> str:
    """One line without the marks of lists, emphasis and links."""
    text = _LINK.sub(r"\1", _ITEM.sub("", text, count=1) if _ITEM.match(text) else text)
    return " ".join(_EMPHASIS.sub(r"\2", text).split())


def content_words(text: str) -> frozenset[str]:
    """Stems of the words that are no stop words."""
    return frozenset(stem(word) for word in _WORD.findall(text.lower()) if word not in STOP)


def names(question: str) -> frozenset[str]:
    """Words of a question that name one thing: a capital or a digit in them, not at its start."""
    words = _WORD.findall(question)
    if question.upper() == question:
        return frozenset()
    return frozenset(
        stem(word.lower())
        for word in words[1:]
        if word.lower() not in STOP and any(letter.isupper() or letter.isdigit() for letter in word)
    )


def stem(word: str) -> str:
    """Without the commonest English endings: `returns`, `returned` and `return` are one."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= LEAST_STEM:
            return word[: -len(suffix)]
    return word


def shared(asked: Collection[str], said: Collection[str]) -> int:
    """How many of the asked stems are said, a long stem also as the beginning of another."""
    return sum(1 for word in asked if word in said or any(_begins(word, other) for other in said))


def _begins(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    return len(short) >= LEAST_PREFIX and long.startswith(short)


def _paragraphs(text: str) -> Iterator[str]:
    """Runs of lines; headings, list items and tables by themselves, code not at all."""
    lines: list[str] = []
    fenced = False
    for line in [*text.splitlines(), ""]:
        starts_fence = _FENCE.match(line) is not None
        row, was_row = line.lstrip().startswith("|"), bool(lines) and lines[0].lstrip().startswith("|")
        breaks = (
            not line.strip() or starts_fence or row != was_row or _HEADING.match(line) or _ITEM.match(line)
        )
        if lines and (breaks or _HEADING.match(lines[0])):
            yield "\n".join(lines)
            lines = []
        if starts_fence:
            fenced = not fenced
        elif line.strip() and not fenced:
            lines.append(line)


def _rows(lines: list[str]) -> Iterator[str]:
    """`Price: 9.90; Time: 1 day` for each row of a table; its columns' names are in the first."""
    table = [[plain(cell) for cell in line.strip().strip("|").split("|")] for line in lines]
    ruled = len(lines) > 1 and _RULE.fullmatch(lines[1]) is not None
    for cells in table[2:] if ruled else table:
        heads = table[0] if ruled and len(table[0]) == len(cells) else [""] * len(cells)
        yield "; ".join(f"{head}: {cell}" if head else cell for head, cell in zip(heads, cells, strict=True))
