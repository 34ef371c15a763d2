"""Source positions as people and clients spell them.

A Postgres position is an LSN, `16/B374D848`, or the same number in decimal. Positions order what
a database committed for *freshness*; they never order the changes of one key (core.version does).
"""

import re

from core.errors import ContractError

_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


def format_lsn(lsn: int) -> str:
    """As Postgres prints it: `pg_current_wal_lsn()`."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_position(text: str) -> int:
    """The position as a number that orders: from `16/B374D848` or decimal digits.

    Raises ContractError, saying both spellings.
    """
    found = _LSN.fullmatch(text.strip())
    if found is not None:
        return (int(found[1], 16) << 32) + int(found[2], 16)
    if re.fullmatch(r"\s*[0-9]{1,20}\s*", text):  # 20 digits hold any 64-bit number
        return int(text)
    raise ContractError(f"{text[:60]!r} is no position: write an LSN such as 16/B374D848, or its number")
