"""Whether what a consumer was given of a raw topic is all that stood there. Pure."""

from collections.abc import Sequence


def missed(expected: int | None, offsets: Sequence[int], log_start: int) -> tuple[int, int] | None:
    """First and last offset of what retention took before it was read; None if nothing.

    `expected` is the offset that should come next, where that is known; `offsets` are those that came,
    ascending. A hole further on in the log is none of that: a mark of a transaction, which nobody is given.
    """
    before = expected
    for offset in offsets:
        if before is not None and before < offset <= log_start:
            return before, offset - 1
        before = offset + 1
    return None


def has_hole(expected: int | None, offsets: Sequence[int]) -> bool:
    """Whether an offset is skipped: a record that came twice skips none."""
    return missed(expected, offsets, max(offsets)) is not None
