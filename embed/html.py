"""HTML as the text that a reader sees, in Markdown's marks for headings and lists.

A tokenizer of its own, since a row's text may be made to be slow: `html.parser` looks from each tag
that is never closed to the end of the text again. Here each character is looked at a few times.
"""

import re
from collections.abc import Iterator
from html import unescape
from typing import Final, Literal, TypeAlias

_BLOCKS: Final = frozenset(
    {"address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figcaption", "figure"}
    | {"footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p"}
    | {"pre", "section", "table", "td", "th", "tr", "ul"}
)
_HIDDEN: Final = frozenset({"script", "style", "title"})
_TIGHT: Final = frozenset({"li", "br", "tr", "td", "th", "dt", "dd"})

_NAME = r"<(/?)([A-Za-z][^\s/>]*+)"
_QUOTED: Final = re.compile(_NAME + r"""(?:[^>=]++|=\s*+(?:"[^"]*+"|'[^']*+')?+)*+>""")
_BARE: Final = re.compile(_NAME + r"[^>]*+>")
_END: Final = re.compile(r">")
_UNREAD: Final = {  # what begins so is a comment, or read as one, to this end
    "<!--": re.compile(r"--!?>"),
    "<![CDATA[": re.compile(r"\]\]>"),
    "<!": _END,
    "<?": _END,
    "</": _END,
}
_CLOSING: Final = {tag: re.compile(rf"</{tag}(?=[\s/>])", re.IGNORECASE) for tag in _HIDDEN}
_LONG_NUMBER: Final = re.compile(r"&#([0-9]{8,})")

_Token: TypeAlias = tuple[Literal["text", "start", "end"], str]


def readable(html: str) -> str:
    """The text of a page or a fragment. Broken HTML gives what can be read of it."""
    parts = []
    for kind, value in _tokens(html):
        if kind == "text":
            parts.append(re.sub(r"\s+", " ", _characters(value)))
        elif kind == "start":
            parts.append(_opening(value))
        elif value in _BLOCKS and value not in _TIGHT:
            parts.append("\n\n")
    return re.sub(r"[ \n]+", _space, "".join(parts)).strip()


def _opening(tag: str) -> str:
    if tag not in _BLOCKS:
        return ""
    space = "\n" if tag in _TIGHT else "\n\n"
    if tag[0] == "h" and tag[1:].isdigit():
        return f"{space}{'#' * int(tag[1:])} "
    return f"{space}- " if tag == "li" else space


def _space(found: re.Match[str]) -> str:
    return "\n" * min(found[0].count("\n"), 2) or found[0]


def _characters(text: str) -> str:
    """References resolved. Python makes no integer of thousands of digits; past eight none is a character."""
    return unescape(_LONG_NUMBER.sub(lambda found: f"&#{found[1].lstrip('0')[:8] or 0}", text))


def _tokens(html: str) -> Iterator[_Token]:
    """Tags by their names, and the texts between them. What is hidden is left out."""
    last = html.rfind(">")  # behind it nothing is a tag
    tag, absent = _QUOTED, set[re.Pattern[str]]()
    done = at = 0
    while 0 <= (at := html.find("<", at)) < last:
        found = tag.match(html, at)
        if found is None and _BARE.match(html, at):
            # Its quotes swallow every end that is left: from here on quotes are not looked at.
            tag = _BARE
            found = tag.match(html, at)
        if found is not None:
            name, end = found[2].lower(), found.end()
            yield "text", html[done:at]
            yield "end" if found[1] else "start", name
            if html[end - 2] == "/":
                yield "end", name
            elif name in _HIDDEN and not found[1]:
                closed = _CLOSING[name].search(html, end)
                end = closed.start() if closed else len(html)
            done = at = end
        elif end := _unread(html, at, absent):
            yield "text", html[done:at]
            done = at = end
        else:
            at += 1
    yield "text", html[done:]


def _unread(html: str, at: int, absent: set[re.Pattern[str]]) -> int:
    """Where the comment that begins here ends; 0 if none does. An end that is `absent` is sought once."""
    for begin, pattern in _UNREAD.items():
        if html.startswith(begin, at) and pattern not in absent:
            found = pattern.search(html, at + 2)
            if found is not None:
                return found.end()
            absent.add(pattern)
    return 0
