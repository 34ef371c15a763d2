"""What a connector's configuration breaks, as it is told to whoever wrote it."""

from dataclasses import dataclass

from connectors.masking import is_reference, is_secret_key, masked_text


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that a configuration breaks. `rule` is what `accept` names; `want` is what to write.

    As text it shows no password that `found` or `key` holds. What has no form of its own, such as a
    statement, is not to be in them at all.
    """

    rule: str
    key: str
    found: str | None
    want: str
    why: str

    def __str__(self) -> str:
        return f"{masked_text(self.key)} {self._found()}: {self.why}; write {self.want} [{self.rule}]"

    def _found(self) -> str:
        if self.found is None:
            return "is not set"
        if is_secret_key(self.key) and not is_reference(self.found):
            return "is a literal"
        return f"is {masked_text(self.found)}"
