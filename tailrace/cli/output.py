"""How commands speak: data on stdout, messages on stderr, no animation off a terminal.

Much of what is said was written by others: rows, names and traces of a cluster. A terminal obeys
control characters, so none passes but the ends of lines and tabs; nor half a pair of UTF-16, which no
encoding knows.
"""

import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def plain(text: str) -> str:
    r"""The text with control characters spelled out, `\x1b`; the ends of lines and tabs stay."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text.replace("\r\n", "\n"))


def say(message: str) -> None:
    """One line for a person."""
    print(plain(message), file=sys.stderr)  # noqa: T201 - the interface


def put(text: str) -> None:
    """Data for a person or a program."""
    print(plain(text))  # noqa: T201 - the interface


def put_json(data: Any, indent: int | None = 2) -> None:
    """Data for a program; on one line where `indent` is None."""
    made = json.dumps(data, ensure_ascii=False, indent=indent, default=str)
    # JSON itself escapes those below the space only.
    print(_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", made))  # noqa: T201 - the interface


def clear() -> None:
    """Begin the terminal's page anew."""
    print("\033[H\033[2J")  # noqa: T201 - our own codes


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be."""
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [headings, ["-" * width for width in widths], *rows]
    ]
    return "\n".join(lines)


def lag(milliseconds: int | None) -> str:
    """A lag for a person; `unknown` where nobody can say."""
    return "unknown" if milliseconds is None else f"{milliseconds} ms"


def when(milliseconds: int | None) -> str:
    """A time in ms since 1970, for a person; `unknown` for none."""
    if milliseconds is None:
        return "unknown"
    made = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return made.replace("+00:00", "Z")
