"""What an inspection found: one line for people, one verdict for programs."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """`what` says what was looked at and found; `fix` what to do, empty when all is well."""

    name: str
    status: Status
    what: str
    fix: str = ""


def worst(checks: list[Check]) -> Status:
    """The worst verdict of all; ok if there are none."""
    found = {check.status for check in checks}
    return "fail" if "fail" in found else "warn" if "warn" in found else "ok"


def unknown_columns(table: str, names: Collection[str]) -> list[Check]:
    """The verdict on columns that the configuration uses and the table does not have."""
    if not names:
        return []
    what = f"has no column {', '.join(sorted(names))}, which the configuration uses"
    return [Check(table, "fail", what, "correct the name in tailrace.yaml")]
