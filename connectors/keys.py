"""Keys of a configuration that end with a name of the user's, which says nothing of the value. Pure."""

from typing import Final

_OF_TABLES: Final = ("snapshot.select.statement.overrides.", "snapshot.collection.filter.overrides.")


def names_a_table(key: str) -> bool:
    """Whether the key ends with a table's name: `….addresses` holds no address, `….tokens` no token."""
    return key.startswith(_OF_TABLES)
