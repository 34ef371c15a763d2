"""Whatever a model writes, and however it is cut: what is shown links to cited pages only."""

import html
import re
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from serve.sanitiser import Sanitiser

PAGES = ("https://shop.example", "https://shop.example/a")
ADDRESSES = [*PAGES, "http://", "ftp://", "www.", "//", "evil.example/?q=s", "@evil.example", "?q=s", "xmpp:"]
MARKS = [
    "[",
    "]",
    "(",
    ")",
    "](",
    "][",
    "]:",
    "!",
    "![",
    "<",
    ">",
    "*",
    "_",
    "~",
    "\\",
    "&",
    "[1]",
    "[9]",
    "[1, 9]",
]
SPELLINGS = [
    "http",
    ":",
    "/",
    "www",
    ".",
    "&#58;",
    "&colon;",
    "&amp;",
    "#58;",
    "<img src=",
    '"',
    "1",
    "a",
    "\u00e9",
]
GAPS = [" ", "\n", "\r", "\u00a0", "\u3000", "\u3002", "\uff0c", "\u2028", "\u200b", "\u00ad"]
TEXTS = st.lists(
    st.one_of(*map(st.sampled_from, (ADDRESSES, ADDRESSES, MARKS, MARKS, SPELLINGS, GAPS))), max_size=10
).map("".join)

_LITERAL = re.compile(r"(?i)(?:https?|ftp)://[^ \t\n<]*|(?<![^\W_])www\.[^ \t\n<]+|www\.[a-z0-9-][^ \t\n<]*")
_INLINE = re.compile(r"\]\(\s*([^)]*)\)")
_TRAILING = "?!.,:*_~'\"()[]{}>`;"


def _shown(text: str, cuts: list[int]) -> str:
    sanitiser = Sanitiser(PAGES, lambda n, _: f"[{n}]", known=lambda n: n <= 2)
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    made = [sanitiser.feed(text[a:b]) for a, b in pairwise(places)]
    return "".join([*made, sanitiser.finish()])


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 60), max_size=6))
@example("!![1]", [])
def test_only_cited_pages_are_linked(text: str, cuts: list[int]) -> None:
    shown = _shown(text, cuts)
    assert shown == _shown(text, [])
    assert "![" not in re.sub(r"!+(?=\[\d\])", "", shown)  # a mark after exclamations: nothing defines it
    assert "]:" not in shown
    assert not re.search(r"<[A-Za-z/!?]", shown)
    assert all(address in PAGES for address in _INLINE.findall(shown))
    # Programs that look for addresses do so in what is left of escapes and entities.
    read = re.sub(r"\\(?=[!-/:-@\[-`{-~])", "", html.unescape(shown))
    for found in _LITERAL.findall(read.replace("](", " ")):
        assert found.rstrip(_TRAILING) in PAGES
