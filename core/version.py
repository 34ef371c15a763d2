"""The order of the changes of one key.

`version = epoch * 2**40 + offset of the raw record`. An LSN or a timestamp is no such order:
not even for one key is an LSN monotone (two transactions may write in one order and commit
in the other). Stores compare versions as 64-bit floats, so they stay below 2**53.
"""

OFFSET_BITS = 40
LIMIT = 2**53


def version(epoch: int, offset: int) -> int:
    """The version of the raw record at `offset` in `epoch`; both count from 0."""
    if not 0 <= offset < 2**OFFSET_BITS:
        raise ValueError(f"offset {offset} does not fit {OFFSET_BITS} bits")
    made = (epoch << OFFSET_BITS) + offset
    if not 0 <= made < LIMIT:
        raise ValueError(f"epoch {epoch} is past the range in which versions compare exactly")
    return made


def epoch_of(made: int) -> int:
    """The epoch a version was made in."""
    return made >> OFFSET_BITS
