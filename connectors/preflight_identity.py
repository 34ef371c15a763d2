"""Whether deletes and updates of a Postgres table say which row they are of. Pure."""

from collections.abc import Iterator
from typing import Final, TypeAlias

from connectors.checks import Check, Status
from connectors.postgres_facts import Table, Wanted

_SHOWN: Final = 3
"""So many partitions are named; the others are counted."""


def identity_checks(table: Table, title: str, wanted: Wanted) -> Iterator[Check]:
    """What is wrong with REPLICA IDENTITY of the table and of its partitions, which do not inherit it."""
    if found := _fault(table, table.identity, table.identity_key, wanted):
        yield _check(title, found, of="", alter=table.name)
    alike: dict[_Fault, list[str]] = {}
    for partition in table.partitions:
        if fault := _fault(table, partition.identity, partition.identity_key, wanted):
            alike.setdefault(fault, []).append(partition.name)
    for fault, names in alike.items():
        shown = ", ".join(names[:_SHOWN]) + (f" and {more} more" if (more := len(names) - _SHOWN) > 0 else "")
        each = names[0] if len(names) == 1 else "<each of them>"
        yield _check(title, fault, of=f"{shown}: ", alter=each)


def is_full(table: Table) -> bool:
    """Whether every change carries the whole row, of each partition too."""
    return table.identity == "f" and all(partition.identity == "f" for partition in table.partitions)


_Fault: TypeAlias = tuple[Status, str, str]
"""Verdict, what was found, and what mends it of `{table}`."""

_DEFAULT: Final = "ALTER TABLE {table} REPLICA IDENTITY DEFAULT"


def _fault(table: Table, identity: str, identity_key: tuple[str, ...], wanted: Wanted) -> _Fault | None:
    if identity == "n":
        return "fail", "REPLICA IDENTITY NOTHING: UPDATE and DELETE fail once it is published", _DEFAULT
    if wanted.replica_identity_full and identity != "f":
        what = "the configuration says replica_identity_full, and the table's is not"
        return "fail", what, "ALTER TABLE {table} REPLICA IDENTITY FULL (costs WAL), or take the setting back"
    if identity != "i":
        return None
    said = "REPLICA IDENTITY USING INDEX"
    if not identity_key:
        return (
            "fail",
            f"{said}, and that index is gone: UPDATE and DELETE fail once it is published",
            _DEFAULT,
        )
    if not set(table.primary_key) <= set(identity_key):
        key = ", ".join(identity_key)
        what = f"{said} of ({key}): a delete carries that and not the primary key, and no row is found by it"
        return "fail", what, _DEFAULT
    return "warn", f"{said}: once somebody drops the index, UPDATE and DELETE fail", _DEFAULT


def _check(title: str, fault: _Fault, *, of: str, alter: str) -> Check:
    status, what, fix = fault
    return Check(title, status, f"{of}{what}", fix.format(table=alter))
