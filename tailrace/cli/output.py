"""How commands speak: data on stdout, messages on stderr, no animation off a terminal."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any


def say(message: str) -> None:
    """One line for a person."""
    print(message, file=sys.stderr)  # noqa: T201 - the interface


def put(text: str) -> None:
    """Data for a person or a program."""
    print(text)  # noqa: T201 - the interface


def put_json(data: Any) -> None:
    """Data for a program."""
    put(json.dumps(data, ensure_ascii=False, indent=2, default=str))


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be."""
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [headings, ["-" * width for width in widths], *rows]
    ]
    return "\n".join(lines)


def when(milliseconds: int | None) -> str:
    """A time in ms since 1970, for a person; `unknown` for none."""
    if milliseconds is None:
        return "unknown"
    made = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return made.replace("+00:00", "Z")
