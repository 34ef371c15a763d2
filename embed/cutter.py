"""Cut a text into pieces whose borders depend only on the text near them.

The text is divided into units (sentences, list items, lines) at borders of four strengths:
heading, paragraph, sentence, line. A text above the limit is divided in two at its strongest
border, the one with the smallest hash among equals, and each half again. An edit therefore
moves no border but those beside it, and the same text always gives the same pieces: a replay
equals a rebuild. (Filling pieces from the front up to the limit, as text splitters do, changes
every piece after an edit: 20 to 60 times as many.)

langchain-text-splitters knows where the declarations of some twenty languages begin, and is asked
for that. Its Markdown splitter is not used: it drops the text after a fence that is never closed.
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Final, TypeAlias
from zlib import crc32

from core.errors import ConfigurationError, LimitError
from core.settings import Cut
from embed.html import readable

Count: TypeAlias = Callable[[Sequence[str]], list[int]]
Border: TypeAlias = tuple[int, int]
"""Where a unit begins, and how strong the border before it is: the lower, the stronger."""

MAX_CHARACTERS: Final = 2_000_000
"""Of one text: twice the largest record that a Kafka broker takes by default."""

CHARACTERS_PER_TOKEN: Final = 16
"""A token stands for at most so many characters when pieces are measured. Prose has 4 to 5; a word
past the tokenizer's longest is one unknown token, however long it is."""

TAIL: Final = 24
"""Characters before a border that decide its hash: an edit elsewhere in the unit moves no border."""

DEEPEST: Final = 64
"""Divisions inside each other, twice what random hashes need; below, texts made to be slow are halved."""

HEADING, PARAGRAPH, SENTENCE, LINE = range(4)

# Begins with a class of characters: the search then looks at nothing else.
_PROSE = (
    r"[.!?\u2026\u3002\uff01\uff1f\n](?:"
    r"(?<=[.!?\u2026])[\"'\u201d\u2019)\]]*\s+(?![a-z\s])"  # after a sentence
    r"|(?<=[\u3002\uff01\uff1f])"  # the same in Chinese and Japanese, which leave no space
    r"|(?<=\n)(?:[ \t\r]*\n)+"  # after a blank line
)
_PLAIN = re.compile(_PROSE + ")")
_MARKDOWN = re.compile(_PROSE + r"|(?<=\n)(?=[ \t]*(?:[-*+>|]|\d{1,9}[.)]|#{1,6} )))")
_FENCE = re.compile(
    r"^[ ]{0,3}(```|~~~)(?![^\n]*\1).*?(?:\n[ ]{0,3}\1[`~ \t\r]*(?:\n(?:[ \t\r]*\n)*|\Z)|\Z)",
    re.MULTILINE | re.DOTALL,
)
_HEADING = re.compile(r"#{1,6} ")
_LINE = re.compile(r"\n")


class Cutter:
    """Texts to pieces of `min_tokens` to `max_tokens` tokens, as `count` counts.

    `max_tokens` beside the settings is the encoder's own limit; the lower one holds. Fewer than
    `min_tokens` has a piece only where the text, or a unit above the limit, ends.

    Raises ConfigurationError if the encoder takes too little for `min_tokens`, or the language of
    code is unknown.
    """

    def __init__(self, settings: Cut, count: Count, max_tokens: int) -> None:
        self._most = min(settings.max_tokens, max_tokens)
        self._least = settings.min_tokens
        if self._least >= self._most:
            raise ConfigurationError(
                f"cut.min_tokens is {self._least}, and the encoder takes {max_tokens} tokens: write less"
            )
        self._kind, self._count = settings.kind, count
        self._declarations = _declarations(settings.language) if settings.kind == "code" else None

    def cut(self, text: str) -> list[str]:
        """The pieces in order, each with something to read in it and without white space around it.

        Raises LimitError for a text above MAX_CHARACTERS.
        """
        if len(text) > MAX_CHARACTERS:
            raise LimitError(
                f"a text of {len(text)} characters: the limit is {MAX_CHARACTERS}, store such files elsewhere"
            )
        if self._kind == "html":
            text = readable(text)
        pieces = (self._trim(piece) for piece in self._pieces(text))
        return [piece for piece in pieces if _says_something(piece)]

    def _trim(self, piece: str) -> str:
        # The first line of code keeps its indentation.
        return piece.strip("\r\n").rstrip() if self._kind == "code" else piece.strip()

    def _borders(self, text: str) -> list[Border]:
        if self._declarations is not None:
            return _code_borders(text, self._declarations)
        return (
            _markdown_borders(text) if self._kind != "plain" else _prose_borders(text, _PLAIN, 0, len(text))
        )

    def _pieces(self, text: str) -> Iterator[str]:
        borders = [(0, HEADING), *((at, level) for at, level in self._borders(text) if 0 < at < len(text))]
        ends = [*(at for at, _ in borders[1:]), len(text)]
        units = [text[at:end] for (at, _), end in zip(borders, ends, strict=True)]
        yield from self._grouped(units, [level for _, level in borders])

    def _grouped(self, units: Sequence[str], levels: Sequence[int]) -> Iterator[str]:
        sizes = self._sizes(units)
        large = [place for place, size in enumerate(sizes) if size > self._most]
        start = 0
        for end in [*large, len(units)]:
            for first, after in self._ranges(units[start:end], sizes[start:end], levels[start:end]):
                yield from self._checked(units[start + first : start + after])
            if end < len(units):  # larger than a piece may be: by its lines, or by plain lengths
                lines = units[end].splitlines(keepends=True)
                divided = len(lines) > 1
                yield from self._grouped(lines, [LINE] * len(lines)) if divided else self._slices(units[end])
            start = end + 1

    def _sizes(self, units: Sequence[str]) -> list[int]:
        # White space is free, and stripped where a piece begins and ends.
        return [
            max(tokens, -(-len(unit.strip()) // CHARACTERS_PER_TOKEN))
            for unit, tokens in zip(units, self._count(units), strict=True)
        ]

    def _ranges(
        self, units: Sequence[str], sizes: Sequence[int], levels: Sequence[int]
    ) -> Iterator[tuple[int, int]]:
        """Ranges of units, each at most the limit together."""
        ranks = [_rank(level, before) for level, before in zip(levels[1:], units, strict=False)]
        upto = [0, *accumulate(sizes)]
        open_ranges = [(0, len(units), 0)] if units else []
        while open_ranges:
            start, end, depth = open_ranges.pop()
            if upto[end] - upto[start] <= self._most:
                yield start, end
                continue
            # Borders that leave both sides `least`; all of them where there are none.
            first = bisect_left(upto, upto[start] + self._least, start + 1, end)
            last = bisect_right(upto, upto[end] - self._least, start + 1, end) - 1
            if first > last:
                first, last = start + 1, end - 1
            middle = (upto[start] + upto[end]) / 2
            window = ranks[first - 1 : last]
            best = min(window)
            if depth >= DEEPEST:
                at = min(max(bisect_left(upto, middle, start, end), first), last)
            elif window.count(best) == 1:
                at = first + window.index(best)
            else:
                equal = (first + place for place, rank in enumerate(window) if rank == best)
                at = min(equal, key=lambda border: abs(upto[border] - middle))
            open_ranges += [(at, end, depth + 1), (start, at, depth + 1)]

    def _checked(self, units: Sequence[str]) -> Iterator[str]:
        """The units joined. Token counts add up only over units that end at white space."""
        piece = "".join(units)
        if all(unit[-1].isspace() for unit in units[:-1]) or self._count([piece])[0] <= self._most:
            yield piece
        else:
            yield from self._slices(piece)

    def _slices(self, text: str) -> Iterator[str]:
        """Plain lengths, at white space where there is some; halved until each fits."""
        length = max(1, 2 * self._most)
        slices = _plain(text, length)
        while any(over := [tokens > self._most for tokens in self._count(slices)]):
            length = max(1, length // 2)
            slices = [
                part
                for piece, long in zip(slices, over, strict=True)
                for part in (_plain(piece, length) if long and len(piece) > 1 else [piece])
            ]
            if length == 1:
                break
        yield from slices


def _prose_borders(text: str, pattern: re.Pattern[str], start: int, end: int) -> list[Border]:
    found = []
    for match in pattern.finditer(text, start, end):
        at = match.end()
        if pattern is _MARKDOWN and _HEADING.match(text, at):
            found.append((at, HEADING))
        else:
            found.append((at, PARAGRAPH if match[0].count("\n") > 1 else SENTENCE))
    return found


def _markdown_borders(text: str) -> list[Border]:
    """A fence is one unit: nothing in it is a heading or a sentence."""
    found: list[Border] = []
    done = 0
    for fence in _FENCE.finditer(text):
        found += _prose_borders(text, _MARKDOWN, done, fence.start())
        if found and found[-1][0] == fence.start():
            found.pop()
        done = fence.end()
        # Code stays with the words before it rather than with those after it.
        found += [(fence.start(), SENTENCE), (done, HEADING if _HEADING.match(text, done) else PARAGRAPH)]
    return found + _prose_borders(text, _MARKDOWN, done, len(text))


def _code_borders(text: str, declarations: re.Pattern[str]) -> list[Border]:
    strong = {match.start() + 1 for match in declarations.finditer(text)}
    found = []
    for match in _LINE.finditer(text):
        at = match.end()
        blank = text[match.start() - 1 : match.start()] == "\n"
        found.append((at, HEADING if at in strong else PARAGRAPH if blank else LINE))
    return found


def _declarations(language: str | None) -> re.Pattern[str]:
    """Where declarations of this language begin, with the line end before them."""
    from langchain_text_splitters import (  # noqa: PLC0415 - takes half a second, and few documents are code
        Language,
        RecursiveCharacterTextSplitter,
    )

    try:
        separators = RecursiveCharacterTextSplitter.get_separators_for_language(Language(language))
    except ValueError as error:
        known = ", ".join(sorted(item.value for item in Language))
        raise ConfigurationError(f"cut.language: {language!r} is not known: write one of {known}") from error
    return re.compile("|".join(item for item in separators if item.startswith("\n") and item.strip()))


def _rank(level: int, before: str) -> int:
    """Lowest at the border to divide at: by strength, by hash of the words before it, by hash of the unit."""
    said = before.rstrip()
    return (level << 64) + (crc32(said[-TAIL:].encode()) << 32) + crc32(said.encode())


def _plain(text: str, length: int) -> list[str]:
    return re.findall(rf"(?s).{{1,{length}}}(?:\s|\Z)|.{{1,{length}}}", text)


def _says_something(piece: str) -> bool:
    """Whether anything but marks, controls, invisible characters and white space is in it."""
    return any(unicodedata.category(character)[0] not in "MCZ" for character in piece)
