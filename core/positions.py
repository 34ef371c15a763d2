"""Source positions as people and clients spell them.

A Postgres position is an LSN, `16/B374D848`, or the same number in decimal. A MariaDB position is a
GTID, `0-4711-42`: domain, server, sequence number. Positions order what a database committed for
*freshness*; they never order the changes of one key (core.version does).

A position becomes one number, so that positions of one *line* order: LSNs are a line, and so are the
GTIDs of each domain, in which sequence numbers rise from server to server (gtid_strict_mode). Numbers
of two lines must not be compared: `reaches` does not.
"""

import re
from typing import Final

from core.errors import ContractError

_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)  # 20 digits hold any 64-bit number
_GTID = re.compile(r"([0-9]{1,10})-([0-9]{1,10})-([0-9]{1,20})", re.ASCII)
_LINE_BITS: Final = 64
"""Below them the number within a line; above them the line: 0 for LSNs, domain + 1 for GTIDs."""


def format_lsn(lsn: int) -> str:
    """As Postgres prints it: `pg_current_wal_lsn()`."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_position(text: str) -> int:
    """The position as a number that orders among those of its line: see `reaches`.

    From `16/B374D848`, decimal digits, or a GTID such as `0-4711-42` (`SELECT @@last_gtid` after the
    COMMIT, or `@@gtid_current_pos`). Raises ContractError, saying the spellings; and for GTIDs of
    several domains, which no single number orders.
    """
    text = text.strip()
    if (found := _LSN.fullmatch(text)) is not None:
        return (int(found[1], 16) << 32) + int(found[2], 16)
    if _NUMBER.fullmatch(text):
        return _within(int(text), text)
    if (found := _GTID.fullmatch(text)) is not None:
        return (int(found[1]) + 1 << _LINE_BITS) + _within(int(found[3]), text)
    if all(_GTID.fullmatch(one.strip()) for one in text.split(",")):
        raise ContractError(
            f"{text[:60]!r} names several GTID domains: only sources whose changes are all of one domain"
            " have an order; write that domain's GTID, such as 0-4711-42"
        )
    raise ContractError(
        f"{text[:60]!r} is no position: write an LSN such as 16/B374D848, or its number; for MariaDB a GTID"
        " such as 0-4711-42"
    )


def same_line(one: int, other: int) -> bool:
    """Whether two parsed positions order: two LSNs, or two GTIDs of one domain."""
    return one >> _LINE_BITS == other >> _LINE_BITS


def reaches(position: int, wanted: int) -> bool:
    """Whether what is covered up to `position` (-1: nothing) holds everything up to `wanted`."""
    return same_line(position, wanted) and position >= wanted


def describe_line(position: int) -> str:
    """What a parsed position is, for a message."""
    number = position >> _LINE_BITS
    return f"of GTID domain {number - 1}" if number else "an LSN"


def _within(number: int, text: str) -> int:
    if number >> _LINE_BITS:
        raise ContractError(f"{text!r} is no position: its number has more than 64 bits")
    return number
