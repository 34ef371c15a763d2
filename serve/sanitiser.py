"""Makes an answer safe to show: no images, no links but to cited pages, no unknown citations.

The text is data, whoever wrote it: a model steered by a row could put secrets into the address of
an image, which a reader's program fetches unasked. So nothing is parsed as Markdown; the marks that
make Markdown or HTML active are broken wherever they stand, in any spelling. Works on a stream:
only whole words leave, so a link cut in two by the network is still seen whole.
"""

import re
from collections.abc import Callable, Collection, Iterator
from typing import Final, TypeAlias

from serve.prompt import visible

LONGEST_WORD: Final = 4096
"""Characters held back at most. A longer word is broken by a space: it is no prose."""

REMOVED: Final = "[link removed]"

Cite: TypeAlias = Callable[[int, int], str]
"""A known number and where its mark begins in the answer, to the mark."""

Known: TypeAlias = Callable[[int], bool]
"""Whether a citation of this number may stand. One that may not is asked about once."""

_GAP: Final = r"\s\u3000-\u3002\uff01\uff0c\uff1b\uff1f"  # Chinese and Japanese sentences have no spaces
_OPEN_CITATION: Final = re.compile(r"\[[\d,;\s]{0,100}\Z")
_NUMBERS: Final = r"\[\s{0,2}\d{1,4}(?:\s{0,2}[,;]\s{0,2}\d{1,4}){0,8}\s{0,2}\]"
_TOKEN: Final = re.compile(rf"(?P<gap>[{_GAP}]+)|(?P<word>(?:{_NUMBERS}|[^{_GAP}])+)")
_CITATION: Final = re.compile(_NUMBERS)
_LINK: Final = re.compile(r"\]\(([^()\s<>]+)\)")
_ADDRESS: Final = re.compile(
    r"(?i)://|(?<![a-z0-9])www\.|www\.(?![\W_]*\Z)"  # some see it within a word; "Awww." is none
    r"|(?<![a-z0-9])(?:data|javascript|vbscript|file|blob|mailto|tel|xmpp):(?=[^\s\d])"
)
_IMAGE: Final = re.compile(r"!+(?=\[)")
_BRACKETS: Final = re.compile(r"\](?=[(\[:])")
_ENTITY: Final = re.compile(r"&(?=#|\w+;)")
_TAG: Final = re.compile(r"<(?=[A-Za-z/!?])")
_ENDS_ADDRESS: Final = " \t\n"
"""What every program takes for the end of an address: some read on over other gaps."""

_LEADING, _TRAILING = "([<{\"'*_", ".,;:!?)]}>\"'*_"


class Sanitiser:
    """One answer, word by word.

    `feed` gives what may be shown so far, `finish` the rest. The same text gives the same result
    however it is divided.
    """

    def __init__(self, allowed_urls: Collection[str], cite: Cite, *, known: Known = lambda _: True) -> None:
        self._allowed = frozenset(allowed_urls)
        self._cite, self._known = cite, known
        self._held = ""
        self._shown = 0

    def feed(self, text: str) -> str:
        self._held += visible(text)
        opened = _OPEN_CITATION.search(self._held)
        end = len(self._held) if opened is None else opened.start()
        cut = 0
        for token in _TOKEN.finditer(self._held):
            whole = token["gap"] is not None or token.end() < len(self._held)
            if token.end() > end or not whole:
                break
            cut = token.end()
        made = self._take(cut)
        while len(self._held) > LONGEST_WORD:
            made += self._take(LONGEST_WORD) + " "
            self._shown += 1
        return made

    def finish(self) -> str:
        return self._take(len(self._held))

    def _take(self, cut: int) -> str:
        taken, self._held = self._held[:cut], self._held[cut:]
        made = word = ""
        for token in _TOKEN.finditer(taken):
            if gap := token["gap"]:
                made += gap if gap[0] in _ENDS_ADDRESS else _closed(word) + gap
                continue
            for piece in _pieces(token["word"]):
                word = self._word(piece, self._shown + len(made))
                made += word
        self._shown += len(made)
        return made

    def _word(self, word: str, at: int) -> str:
        word = self._without_unknown(word)
        made, done = "", 0
        for citation in _CITATION.finditer(word):
            plain = self._plain(word[done : citation.start()])
            made += plain + _closed(plain)
            done = citation.end()
            for number in re.findall(r"\d+", citation[0]):
                mark = self._cite(int(number), at + len(made))
                made += " " + mark if made.endswith("]") and mark.startswith("(") else mark
            if word[done : done + 1] in {"(", ":"} and made.endswith("]"):
                made += " "  # neither a link nor the definition of one
        return made + self._plain(word[done:])

    def _without_unknown(self, word: str) -> str:
        """Before anything else is looked at: what stood around a citation that goes is one text then.

        That text may spell another citation, so until nothing goes.
        """
        while (kept := _CITATION.sub(self._known_part, word)) != word:
            word = kept
        return word

    def _known_part(self, citation: re.Match[str]) -> str:
        numbers = re.findall(r"\d+", citation[0])
        known = [number for number in numbers if self._known(int(number))]
        return citation[0] if known == numbers else "".join(f"[{number}]" for number in known)

    def _plain(self, word: str) -> str:
        """A word without citations. Links to cited pages stay, and end where they end."""
        made, done = "", 0
        for link in _LINK.finditer(word):
            if link[1] in self._allowed:
                made += self._broken(word[done : link.start()]) + link[0]
                done = link.end()
                made += " " if word[done:].strip(_TRAILING) else ""
        return made + self._broken(word[done:])

    def _broken(self, word: str) -> str:
        if _has_address(word) and word.lstrip(_LEADING).rstrip(_TRAILING) not in self._allowed:
            return REMOVED
        word = _BRACKETS.sub("] ", _IMAGE.sub("", word))
        return _TAG.sub("&lt;", _ENTITY.sub("&amp;", word))


def _has_address(word: str) -> bool:
    """Some programs look for addresses in what is shown, where an escape's backslash is gone."""
    return _ADDRESS.search(word) is not None or _ADDRESS.search(word.replace("\\", "")) is not None


def _closed(shown: str) -> str:
    """What has to follow a word, so that nothing else becomes a part of its address."""
    return " " if _ADDRESS.search(shown) else ""


def _pieces(word: str) -> Iterator[str]:
    for start in range(0, len(word), LONGEST_WORD):
        yield word[start : start + LONGEST_WORD] + (" " if start + LONGEST_WORD < len(word) else "")
