"""Keys of a configuration that end with a name of the user's, which says nothing of the value. Pure."""

from typing import Final

_NAMING: Final = (
    "snapshot.select.statement.overrides.",
    "snapshot.collection.filter.overrides.",
    "column.mask.hash.",
)


def ends_with_a_name(key: str) -> bool:
    """Whether it ends with a table's name, or a salt: `….addresses` holds no address, `….tokens` no token."""
    return key.startswith(_NAMING)
