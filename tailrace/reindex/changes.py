"""What differs between a generation and the configuration of now, and what it means. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ingest.generation_plan import differences
from ingest.generations import Frozen

Meaning: TypeAlias = Literal["first", "nothing", "metadata", "recut", "reembed"]

_CUTS: Final = ("encoder.max_tokens", "encoder.characters_per_token")
"""Of an endpoint: they decide no vector, and where texts are cut."""


@dataclass(frozen=True, slots=True)
class ChangedSetting:
    """As the configuration spells it: dotted."""

    name: str
    old: object
    new: object


def changed(document: str, old: Frozen, new: Frozen) -> list[ChangedSetting]:
    """The settings that make another generation of it. An encoder's count only if vectors or cuts do."""
    at = f"documents.{document}"
    found = changed_settings(old.document.model_dump(mode="json"), new.document.model_dump(mode="json"), at)
    encoder = changed_settings(
        old.encoder.model_dump(mode="json"), new.encoder.model_dump(mode="json"), "encoder"
    )
    if old.fingerprint != new.fingerprint:
        # The same settings, and another model behind them, or another processor's precision.
        found += encoder or [("encoder (its model)", old.fingerprint, new.fingerprint)]
    elif "cut" in differences(old, new):
        found += [one for one in encoder if one[0] in _CUTS]
    return [ChangedSetting(*one) for one in found]


def meaning(old: Frozen, new: Frozen) -> Meaning:
    """The largest thing that the change does. `metadata`: rows are written anew, and no text moves."""
    differ = differences(old, new)
    if "encoder" in differ:
        return "reembed"
    if {"text", "cut", "table"}.intersection(differ):
        return "recut"
    return "metadata" if differ else "nothing"


def changed_settings(
    old: Mapping[str, object], new: Mapping[str, object], at: str
) -> list[tuple[str, object, object]]:
    """Names of the leaves that differ, dotted below `at`, with the old and the new value."""
    found: list[tuple[str, object, object]] = []
    for name in [*old, *(name for name in new if name not in old)]:
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += changed_settings(before, after, f"{at}.{name}")
        elif before != after:
            found.append((f"{at}.{name}", before, after))
    return found
