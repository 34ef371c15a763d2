"""What a connector's configuration breaks, as it is told to whoever wrote it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

from connectors.masking import is_reference, is_secret_key, masked_text

_QUOTES_NOTHING: Final = frozenset({"client-door", "exfiltration", "injection"})
"""Rules that say in words what was found."""


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

    def without_secrets(self, config: Mapping[str, str]) -> Self:
        """Itself without what `config` holds in clear under a secret's key: it may stand elsewhere too."""
        return self if self.found is None else replace(self, found=masked_text(self.found, config))

    def __str__(self) -> str:
        return f"{masked_text(self.key)} {self._found()}: {self.why}; write {self.want} [{self.rule}]"

    def _found(self) -> str:
        if self.found is None:
            return "is not set"
        in_words = self.rule in _QUOTES_NOTHING
        if is_secret_key(self.key) and not (in_words or is_reference(self.found)):
            return "is a literal"
        return f"is {masked_text(self.found)}"
