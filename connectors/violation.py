"""What a connector's configuration breaks, as it is told to whoever wrote it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that a configuration breaks. `rule` is what `accept` names; `want` is what to write."""

    rule: str
    key: str
    found: str | None
    want: str
    why: str

    def __str__(self) -> str:
        found = "is not set" if self.found is None else f"is {self.found}"
        return f"{self.key} {found}: {self.why}; write {self.want} [{self.rule}]"
