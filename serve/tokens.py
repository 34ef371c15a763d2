"""How many tokens a text takes, where the model's own tokenizer is not at hand.

A cautious estimate: more than WordPiece and byte-pair vocabularies make of ordinary text, so that
a budget kept by it is kept in the model's own count. Random letters may take more than is said
here; a provider's refusal is then an error that says so, never a prompt cut in silence.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

TokenCount: TypeAlias = Callable[[str], int]
"""Tokens of a text. Of a text in two parts at most the sum of the parts'."""

CHARACTERS_PER_TOKEN: Final = 3
"""English prose has 4 to 5; identifiers and inflected languages about 3."""

BYTES_PER_TOKEN: Final = 2
"""Of letters beyond ASCII: accents take one token, Chinese and emoji up to two."""

MOST_CHARACTERS_PER_TOKEN: Final = 18
"""No estimate is less than a text's length by this: three letters, and 15 blanks that count nothing."""

PER_MESSAGE: Final = 6
"""Marks around one chat message: role, begin, end."""

_PIECE: Final = re.compile(
    r"(?P<word>[A-Za-z]+)|(?P<space>[ \t\r\n\f\v]+)|(?P<mark>[\x00-\x7f])|[^\x00-\x7f]+"
)


def estimate(text: str) -> int:
    """Letters in threes, each digit and mark by itself, other scripts by bytes, white space by lines."""
    return sum(map(_tokens, _PIECE.finditer(text)))


def _tokens(piece: re.Match[str]) -> int:
    length = piece.end() - piece.start()
    if piece["word"]:
        return -(-length // CHARACTERS_PER_TOKEN)
    if piece["space"]:
        return piece[0].count("\n") + length // 16
    if piece["mark"]:
        return 1
    return sum(-(-len(letter.encode("utf-8", "replace")) // BYTES_PER_TOKEN) for letter in piece[0])


def of_messages(contents: Iterable[str], count: TokenCount) -> int:
    """Tokens of a chat prompt."""
    return sum(count(content) + PER_MESSAGE for content in contents)
