"""Column values as Debezium spells them, made one value where it spells one value in two ways.

What is made canonical, and nothing else (a string of any other shape stays as it came):

* fractional seconds of a whole ISO date-time lose trailing zeros: MariaDB's snapshot writes
  `…:00Z` where its stream writes `…:00.000Z`. A text column that holds nothing but such a
  date-time is spelled the same way; it still names the same instant.
* `date 'infinity'` of Postgres, which is one number or date in a snapshot and another in the
  stream, each the wreck of an overflow, becomes `"infinity"`. Postgres has no date so late or
  so early, so no true date is hit. Without isostring the two come as integers, and an integer
  column that holds exactly -622191234 or -2147472692 reads `"infinity"` as well: one more
  reason for the preset. `timestamp '-infinity'` as isostring becomes `"-infinity"`. The same in
  keys, or a row and its delete would have two; but not for integers, which may be ids.
* a boolean of MariaDB becomes 0 or 1: its BOOLEAN is a tinyint, and comes as a number or as a
  boolean depending on whether the connector met the table in a snapshot or in the stream.
* a lone surrogate, in a string or in the JSON text of a json column, becomes U+FFFD.

`"NAN"` (numeric) and `"NaN"` (float) are the same in snapshot and stream and stay: a text may
say NAN. Dates before Christ stay ISO text with a minus. Two things cannot be undone here:
MariaDB's zero timestamp (null in a snapshot, 1970 in the stream), and NULL that the converter
replaced by the column's default. Only top-level values are looked at, never array elements.
"""

import base64
import hashlib
import json
import re
import uuid
from typing import Final

from core.errors import DecodeError, LimitError
from core.state import Json

MAX_DEPTH: Final = 32
"""Nesting of one column's value. A Postgres array has at most 6 dimensions; json comes as text."""

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**64 - 1
"""Past these no database sends an integer, and the next parser would make a float of it."""

_ONE_VALUE: Final[dict[str | int, str]] = {
    "+292278994-08-16Z": "infinity",  # a snapshot's date
    "-5877611-06-21Z": "infinity",  # the same date, streamed
    -622191234: "infinity",  # the two as days since 1970
    -2147472692: "infinity",
    "-290308-12-21T19:59:27.6Z": "-infinity",  # a timestamp, both ways
}
_FRACTION: Final = re.compile(r"([+-]?\d{4,9}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d*?)0+Z", re.ASCII)

# One escape sequence of JSON at a time, so that an escaped backslash before `u` is no escape of
# its own; a pair of surrogates counts as one, what is left of them is alone.
_ESCAPE: Final = re.compile(
    rb"\\(?:u(?:[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|(?P<nul>0000))|.)",
    re.DOTALL,
)


def canonical(value: Json) -> Json:
    """The one spelling of a value from Postgres (module docstring)."""
    if isinstance(value, str):
        return _trimmed(_ONE_VALUE.get(value, value)) if value[-1:] == "Z" else value
    return _ONE_VALUE.get(value, value) if type(value) is int else value


def key_value(value: Json) -> Json:
    """The one spelling of a key's value from Postgres: of its infinities, in text.

    Fractions stay: snapshot and stream have the same ones, and two texts must not become one key.
    """
    return _ONE_VALUE.get(value, value) if isinstance(value, str) else value


def mysql_value(value: Json) -> Json:
    """The one spelling of a value from MariaDB or MySQL, keys included."""
    if isinstance(value, str):
        return _trimmed(value) if value[-1:] == "Z" else value
    return int(value) if isinstance(value, bool) else value


def _trimmed(value: str) -> str:
    found = _FRACTION.fullmatch(value)
    if found is None:
        return value
    return f"{found[1]}.{found[2]}Z" if found[2] else f"{found[1]}Z"


def repair_surrogates(data: bytes) -> tuple[bytes, int]:
    """JSON with each lone surrogate escape replaced by U+FFFD, and how many there were."""
    count = 0

    def replaced(found: re.Match[bytes]) -> bytes:
        nonlocal count
        if found["lone"] is None:
            return found[0]
        count += 1
        return rb"\ufffd"

    return _ESCAPE.sub(replaced, data), count


def has_escaped_nul(data: bytes) -> bool:
    """Whether some string of this JSON holds U+0000, which no later stage can store."""
    return rb"\u0000" in data and any(found["nul"] is not None for found in _ESCAPE.finditer(data))


def repair_json_text(value: Json) -> tuple[Json, int]:
    """The same for JSON *inside* a string: what a json column holds, and json[] in a list.

    Text that is no JSON stays, whatever it says about surrogates.
    """
    if isinstance(value, list):
        pairs = [repair_json_text(item) for item in value]
        return [item for item, _ in pairs], sum(count for _, count in pairs)
    if not isinstance(value, str) or value[:1] not in ("{", "[", '"') or "\\u" not in value:
        return value, 0
    repaired, count = repair_surrogates(value.encode())
    if not count:
        return value, 0
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return value, 0
    return repaired.decode(), count


def check(value: Json, *, depth: int = 0) -> None:
    """Raises DecodeError for an integer that no later stage can hold, LimitError for deep nesting."""
    if type(value) is int:
        if not INT_MIN <= value <= INT_MAX:
            raise DecodeError("an integer of more than 64 bits: set decimal.handling.mode to string")
        return
    if not isinstance(value, list | dict):
        return
    if depth >= MAX_DEPTH:
        raise LimitError(f"a value nested deeper than {MAX_DEPTH}: exclude the column from the connector")
    for item in value if isinstance(value, list) else value.values():
        kind = type(item)
        if kind is not str and kind is not float:
            check(item, depth=depth + 1)


class Placeholder:
    """What the connector sends for long text that an update left alone (unchanged TOAST).

    One token, `unavailable.value.placeholder`, in another shape for each type. A row whose
    user typed the token cannot be told apart: hence a random token for each connector.
    numeric[], bytea[] as hex and bytea as base64 come as null instead, indistinguishable from
    NULL: the connector's preflight refuses them as indexed columns.
    """

    def __init__(self, token: str) -> None:
        raw = token.encode()
        self._texts: Final = frozenset(
            {
                token,  # text, json, jsonb, xml, bytea as hex
                base64.b64encode(raw).decode(),  # bytea as bytes
                raw.hex(),
                json.dumps({token: token}, ensure_ascii=False, separators=(",", ":")),  # hstore
            }
        )
        self._lengths: Final = frozenset(map(len, self._texts))
        # uuid[]: what Java's nameUUIDFromBytes makes of the token.
        digest = hashlib.md5(raw, usedforsecurity=False).digest()
        self._uuid: Final = str(uuid.UUID(bytes=digest, version=3))
        self._codes: Final[list[Json]] = list(raw)  # int[], bigint[], date[]
        self._hstore: Final[dict[str, Json]] = {token: token}  # hstore.handling.mode=map

    def matches(self, value: Json) -> bool:
        """Whether the connector says by `value` that it does not know the value."""
        if isinstance(value, str):
            return len(value) in self._lengths and value in self._texts
        if isinstance(value, list):
            if len(value) == 1 and isinstance(value[0], str):  # text[], bytea[]; uuid[]
                return value[0] in self._texts or value[0] == self._uuid
            return value == self._codes and all(type(item) is int for item in value)
        return isinstance(value, dict) and value == self._hstore


def find_nul(value: Json) -> bool:
    """Whether a string in `value`, or a name in it, holds U+0000."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, list):
        return any(find_nul(item) for item in value)
    if isinstance(value, dict):
        return any("\0" in name for name in value) or any(map(find_nul, value.values()))
    return False
