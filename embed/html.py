"""HTML as the text that a reader sees, in Markdown's marks for headings and lists."""

import re
from html.parser import HTMLParser
from typing import Final

_BLOCKS: Final = frozenset(
    {"address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figcaption", "figure"}
    | {"footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p"}
    | {"pre", "section", "table", "td", "th", "tr", "ul"}
)
_HIDDEN: Final = frozenset({"script", "style", "title"})
_TIGHT: Final = frozenset({"li", "br", "tr", "td", "th", "dt", "dd"})


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - none is read
        if tag in _HIDDEN:
            self._hidden += 1
        elif tag in _BLOCKS:
            self.parts.append("\n" if tag in _TIGHT else "\n\n")
            if tag[0] == "h" and tag[1:].isdigit():
                self.parts.append("#" * int(tag[1:]) + " ")
            elif tag == "li":
                self.parts.append("- ")

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag in _BLOCKS and tag not in _TIGHT:
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(re.sub(r"\s+", " ", data))


def readable(html: str) -> str:
    """The text of a page or a fragment. Broken HTML gives what can be read of it."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    text = re.sub(r"[ ]*\n[ ]*", "\n", "".join(reader.parts))
    return re.sub(r"\n{3,}", "\n\n", text).strip()
