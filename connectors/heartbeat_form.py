"""The statement that a connector runs at each heartbeat: of one harmless form, or refused.

Pure. No parser of SQL: a form of its own, narrow enough to mean the same to every database.
"""

import re
from typing import Final

_QUOTED_NAME: Final = r"""(?:"[^"'`\\;]+"|`[\w $]+`|\[[\w $]+\])"""
"""A quote of one database is an operator of another: within `…` and […] stands nothing but a plain name."""

_NAME: Final = rf"(?:[a-z_][\w$]*|{_QUOTED_NAME})"
_DOTTED: Final = rf"{_NAME}(?:\.{_NAME}){{0,2}}"
_STRING: Final = r"'(?:[^'\\]|'')*'"
_TYPE: Final = r"(?:text|varchar|timestamptz|timestamp|date|time|bigint|integer|int|uuid)"
_NOW: Final = (
    r"(?:(?:now|current_timestamp|localtimestamp|clock_timestamp|statement_timestamp|transaction_timestamp"
    r"|utc_timestamp|unix_timestamp|sysdate|getdate|getutcdate|sysdatetime|sysutcdatetime|sysdatetimeoffset)"
    r"\s*\(\s*[0-6]?\s*\))"
)
_VALUE: Final = (
    rf"(?:{_STRING}|-?\d+(?:\.\d+)?|{_NOW}|values\s*\(\s*{_NAME}\s*\)|{_DOTTED})"
    rf"(?:\s*::\s*{_TYPE})?(?:\s*[+-]\s*\d+)?"
)
"""A literal, the time, or a column of the row itself, which a number may be added to."""


def _listed(one: str) -> str:
    return rf"{one}(?:\s*,\s*{one})*"


_TABLE: Final = rf"(?P<table>{_DOTTED})"
_ASSIGNED: Final = _listed(rf"{_DOTTED}\s*=\s*{_VALUE}")
_CONDITION: Final = rf"{_DOTTED}\s*(?:=|<>|<=|>=|<|>)\s*{_VALUE}"
_WHERE: Final = rf"(?:\s+where\s+{_CONDITION}(?:\s+and\s+{_CONDITION})*)?"
_CONFLICT: Final = (
    rf"\s*on\s+conflict(?:\s*\(\s*{_listed(_NAME)}\s*\)|\s+on\s+constraint\s+{_NAME})?"
    rf"\s*do\s+(?:nothing|update\s+set\s+{_ASSIGNED}{_WHERE})"
)
_DUPLICATE: Final = rf"(?:\s*as\s+{_NAME})?\s*on\s+duplicate\s+key\s+update\s+{_ASSIGNED}"

_INSERT: Final = (
    rf"(?:insert\s+(?:ignore\s+)?into|replace\s+into)\s+{_TABLE}(?:\s*\(\s*{_listed(_NAME)}\s*\)\s*|\s+)"
    rf"values?\s*\(\s*{_listed(_VALUE)}\s*\)(?:{_CONFLICT}|{_DUPLICATE})?"
)
_UPDATE: Final = rf"update\s+{_TABLE}\s+set\s+{_ASSIGNED}{_WHERE}"
_WRITES: Final = tuple(re.compile(form, re.IGNORECASE | re.ASCII) for form in (_INSERT, _UPDATE))
_MESSAGE: Final = re.compile(
    r"select\s+(?:pg_catalog\.)?pg_logical_emit_message\s*\(\s*(?:true|false)\s*,"
    rf"\s*{_STRING}\s*,\s*{_VALUE}(?:\s*,\s*(?:true|false))?\s*\)(?:\s*::\s*{_TYPE})?",
    re.IGNORECASE | re.ASCII,
)
_OF_BEATS: Final = re.compile(
    r"beat|alive|watchdog|pulse|(?<![^\W_])(?:hb|ping|tick)(?![^\W_])", re.IGNORECASE | re.ASCII
)
"""A table that is there for beats says so in its name: no other thing tells it from a table of users."""

_FOR_EVER: Final = "the connector's role would run it for ever"


def wrong_heartbeat(statement: str) -> str | None:
    """Why this may not run at each heartbeat; None if it may."""
    one = statement.strip().removesuffix(";").strip()
    if _MESSAGE.fullmatch(one):
        return None
    found = next(filter(None, (form.fullmatch(one) for form in _WRITES)), None)
    if found is None:
        return f"{_FOR_EVER}, and it does more than to write one row of plain values"
    if not _OF_BEATS.search(found["table"].rpartition(".")[2]):
        return f"{_FOR_EVER}, and its table's name does not tell that it is for beats"
    return None
