"""What is done about generations while a worker follows their topic. Pure.

What is recorded, stored and followed goes in; what to run, point and discard next comes out.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from core.settings import OpenAIEncoder
from ingest.generations import Frozen, Generation, Registry


@dataclass(frozen=True, slots=True)
class Run:
    """Follow the log for this generation; its collection is made if it does not stand."""

    generation: Generation


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop following the log for it."""

    document: str
    number: int


@dataclass(frozen=True, slots=True)
class Point:
    """Move the alias of its document to it, as soon as it has covered what the alias's target has."""

    generation: Generation


@dataclass(frozen=True, slots=True)
class Discard:
    """Delete the collection of a dropped generation that nobody here follows any more."""

    generation: Generation


Action: TypeAlias = Run | Halt | Point | Discard


def reconcile(
    registry: Registry,
    documents: Collection[str],
    followed: Collection[tuple[str, int]],
    collections: Collection[str],
    aliases: Mapping[str, str | None],
    app: str,
    changed: Collection[tuple[str, int]] = (),
) -> list[Action]:
    """What a worker does next so that the index becomes what the topic says.

    `documents`: those that this worker is configured for; others are left alone. `followed`: the
    generations (document, number) that it follows now. `aliases`: by document, the collection that
    its alias points at. `changed`: those whose recorded configuration is no longer the one that this worker
    has begun to build them with: they are not followed. Doing any of it twice does no harm.
    """
    actions: list[Action] = []
    for one in registry.generations:
        if one.document not in documents:
            continue
        here = (one.document, one.number) in followed
        live = registry.live(one.document)
        target = aliases.get(one.document) == one.collection(app)
        if one.status == "running":
            if (one.document, one.number) in changed:
                actions += [Halt(one.document, one.number)] if here else []
            elif not here:
                actions.append(Run(one))
            elif live == one and not target:
                actions.append(Point(one))
        elif here and not target:
            actions.append(Halt(one.document, one.number))
        elif one.status == "dropped" and not target and one.collection(app) in collections:
            actions.append(Discard(one))
    return actions


def differences(old: Frozen, new: Frozen) -> list[str]:
    """Names of the document's settings that differ, and `encoder` where its vectors would.

    `cut` too where texts would be cut elsewhere because the encoder counts or takes another length.
    """
    before, after = old.document.model_dump(), new.document.model_dump()
    changed = [name for name in before if before[name] != after[name]]
    if old.fingerprint != new.fingerprint:
        return [*changed, "encoder"]
    return changed if "cut" in changed or _lengths(old) == _lengths(new) else [*changed, "cut"]


def _lengths(frozen: Frozen) -> tuple[float, ...]:
    """What decides a cut and is in no fingerprint: an endpoint's lengths, which are settings."""
    encoder = frozen.encoder
    if not isinstance(encoder, OpenAIEncoder):
        return ()
    return encoder.characters_per_token, min(encoder.max_tokens, frozen.document.cut.max_tokens)


def next_number(name: str, registry: Registry, collections: Collection[str], app: str) -> int:
    """Above every number ever recorded, and of every collection that a log now gone has left.

    So whoever takes the next one after it need not see the collections.
    """
    recorded = [one.number for one in registry.of(name)]
    left = [int(one.rpartition("-g")[2]) for one in owned_collections(app, [name], collections)]
    return max([*recorded, *left], default=0) + 1


def owned_collections(app: str, documents: Collection[str], collections: Collection[str]) -> list[str]:
    """Those that are named, whole, as generations of these documents.

    `shop-prod-articles-g3` begins like one of the app `shop`, and belongs to another.
    """
    names = "|".join(re.escape(f"{app}-{document}") for document in documents)
    return [name for name in collections if names and re.fullmatch(rf"(?:{names})-g[0-9]+", name)]


def started(registry: Registry, document: str, frozen: Frozen, app: str, now: int) -> Generation:
    """The next generation of a document, to be recorded by who does not see the index.

    What a log now gone has left there has lower numbers than what the first start after it recorded.
    """
    return Generation(document, next_number(document, registry, (), app), "running", frozen, now)
