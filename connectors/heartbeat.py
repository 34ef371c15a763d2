"""What heartbeat.action.query writes, and which rights that takes. Pure."""

import re
from dataclasses import dataclass
from typing import Final

_NAME: Final = r'(?:`[^`]+`|"[^"]+"|[\w$]+)'
_STATEMENT = re.compile(
    r"\s*(?:(?P<insert>INSERT)(?:\s+(?:LOW_PRIORITY|DELAYED|HIGH_PRIORITY|IGNORE))*\s+INTO"
    r"|(?P<replace>REPLACE)(?:\s+(?:LOW_PRIORITY|DELAYED))*\s+INTO"
    r"|UPDATE(?:\s+(?:ONLY|LOW_PRIORITY|IGNORE))*)"
    rf"\s+(?P<name>{_NAME}(?:\s*\.\s*{_NAME})?)(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_PART = re.compile(_NAME)


@dataclass(frozen=True, slots=True)
class Beat:
    table: str
    """`schema.table`; without the schema where the statement leaves it out."""

    needs: frozenset[str]
    """Of SELECT, INSERT, UPDATE, DELETE, on that table."""


def beat_of(query: str, *, folded: bool) -> Beat | None:
    """The table that the statement writes; None for a statement of another kind, of which nothing is known.

    `folded`: the database takes names without quotes in lower case, as Postgres does.
    """
    found = _STATEMENT.match(query)
    if found is None:
        return None
    parts = [
        part[1:-1] if part[0] in '`"' else part.lower() if folded else part
        for part in _PART.findall(found["name"])
    ]
    return Beat(".".join(parts), frozenset(_needs(found)))


def _needs(found: re.Match[str]) -> set[str]:
    rest = found["rest"].upper()
    if found["replace"]:
        return {"INSERT", "DELETE"}
    if not found["insert"]:
        return {"UPDATE", "SELECT"} if re.search(r"\bWHERE\b", rest) else {"UPDATE"}
    if re.search(r"\bDO\s+UPDATE\b|\bON\s+DUPLICATE\s+KEY\b", rest):
        return {"INSERT", "UPDATE", "SELECT"}
    return {"INSERT", "SELECT"} if re.search(r"\bON\s+CONFLICT\s*\(", rest) else {"INSERT"}
