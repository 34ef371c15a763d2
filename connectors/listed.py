"""Entries of Debezium's and Connect's lists, which are regular expressions: does one mean one name? Pure."""

import re

_LITERAL = re.compile(r"(?:\\[^A-Za-z0-9]|[^\\^$*+?{}\[\]|()\s])+")
"""A dot may stand bare, as everybody writes it; a backslash before a letter makes a class of characters."""

_ESCAPED = re.compile(r"\\(?=[^A-Za-z0-9])")


def literal(entry: str) -> str | None:
    """The one name that the entry means, without backslashes; None for a pattern."""
    return _ESCAPED.sub("", entry) if _LITERAL.fullmatch(entry) else None


def listed_names(value: str) -> list[str]:
    """The entries of a list, without the white space around them."""
    return [entry.strip() for entry in value.split(",") if entry.strip()]
