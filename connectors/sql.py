"""Statements that a connector runs with its own rights: each of one harmless form, or refused.

Pure. No parser of SQL: what is not plainly harmless is refused, and a plain form always exists.
"""

import re
from typing import Final

_QUOTED = re.compile(r"'(?:[^']|'')*'")
_FORBIDDEN = re.compile(
    r"\b(drop|alter|create|grant|revoke|truncate|delete|copy|exec|execute|call|outfile|dumpfile|program|load_file"
    r"|pg_read_\w+|pg_ls_\w+|pg_stat_file|pg_sleep|lo_\w+|dblink\w*|xp_\w+|sp_\w+|openrowset|set_config"
    r"|benchmark|sleep)\b",
    re.IGNORECASE,
)
_WRITES = re.compile(r"(insert|update|replace|merge)\s", re.IGNORECASE)
_MESSAGE = re.compile(r"select\s+pg_logical_emit_message\s*\([^()]*(\(\)[^()]*)*\)(::\w+)?\s*", re.IGNORECASE)
_SELECT = re.compile(r"select\s", re.IGNORECASE)
_SET = re.compile(
    r"set\s+(?!global\b|persist|role\b|authorization\b|session\s+authorization\b)[\w.@]+(\s+[\w.@]+)?"
    r"(\s*=\s*|\s+to\s+|\s+)[\w'\", .:+/-]+",
    re.IGNORECASE,
)
_SEVERAL: Final = "it holds more than one statement, or a comment or quotes that may hide one"


def wrong_heartbeat(statement: str) -> str | None:
    """Why this may not run at each heartbeat; None if it may."""
    bare = _bare(statement)
    if bare is None:
        return _SEVERAL
    if _MESSAGE.fullmatch(bare):
        return None
    if not _WRITES.match(bare) or _FORBIDDEN.search(bare):
        return "the connector's role would run it for ever, and it does more than to write one row"
    return None


def wrong_initial_statements(statements: str) -> str | None:
    """Why these may not run at each connection; None if they may."""
    if re.search(r"--|/\*|\\|\$\$", statements):
        return _SEVERAL
    parts = [part.strip() for part in statements.split(";")]
    if all(_SET.fullmatch(part) and not _FORBIDDEN.search(part) for part in parts if part):
        return None
    return "the connector's role would run them at each connection, and they do more than to set options"


def wrong_select(statement: str) -> str | None:
    """Why this may not read a table for a snapshot; None if it may."""
    bare = _bare(statement)
    if bare is None:
        return _SEVERAL
    if not _SELECT.match(bare) or _FORBIDDEN.search(bare) or re.search(r"\binto\b", bare, re.IGNORECASE):
        return "the connector's role would run it, and it does more than to read a table"
    return None


def _bare(statement: str) -> str | None:
    """The one statement without what stands in quotes; None if it may be several.

    A backslash is refused: dialects disagree on whether it escapes a quote.
    """
    if "\\" in statement:
        return None
    bare = _QUOTED.sub("''", statement.strip().removesuffix(";"))
    return None if re.search(r";|--|/\*|#|\$\$|\$\w+\$|'(?!')(?<!'')", bare) else bare.strip()
