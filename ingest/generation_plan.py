"""What is done about generations: at a start, and while a worker follows their topic. Pure.

What is configured, recorded and stored goes in; what to make, run, point and drop comes out, and
what to tell the operator, in plain words.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from core.topics import collection_name
from ingest.generations import Frozen, Generation, Pointer, Registry


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """What a start does: run these, make those first, point there, drop those, and say so."""

    run: tuple[Generation, ...]
    make: tuple[Generation, ...]
    """A part of `run`: to be recorded before their collections are made."""
    point: tuple[Pointer, ...]
    """Wishes to be recorded, after what they point at was made."""
    drop: tuple[Generation, ...]
    said: tuple[str, ...]


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


def plan_generations(
    configured: Mapping[str, Frozen],
    registry: Registry,
    collections: Collection[str],
    committed: Collection[tuple[str, int]],
    app: str,
    now: int,
    covered: Mapping[tuple[str, int], int] | None = None,
) -> GenerationPlan:
    """Decide what a start does.

    `collections`: those that exist in the index. `committed`: generations (document, number) whose
    consumer group has committed anything: without their collection they are lost, for the log would
    not be read again under the same number. `covered`: how many records of the log a generation has
    covered, as far as is known: of several that could answer for a lost one it is the fullest.
    """
    covered = covered or {}
    run: list[Generation] = []
    make: list[Generation] = []
    point: list[Pointer] = []
    drop: list[Generation] = []
    said: list[str] = []
    for name, frozen in configured.items():
        live = registry.live(name)
        stands = live is not None and live.collection(app) in collections
        for one in registry.of(name):
            if one.status == "dropped" or one == live:
                continue
            if one.collection(app) in collections or (name, one.number) not in committed:
                run.append(one)
            else:
                drop.append(one)
                said.append(
                    f"document {name}: the index of generation {one.number}, which does not answer, is gone:"
                    " it is dropped; `tailrace reindex start` builds another"
                )
        if live is not None and (stands or (name, live.number) not in committed):
            run.append(live)
            said += waiting(registry, live, frozen)
            continue
        spare = _spare([one for one in run if one.document == name], live, frozen, covered)
        if spare is not None:
            point.append(Pointer(name, spare.number, None, now))
            drop += [] if live is None else [live]
            said.append(_answers_instead(spare, live, frozen, covered))
            continue
        fresh = Generation(name, next_number(name, registry, collections, app), "running", frozen, now)
        run.append(fresh)
        make.append(fresh)
        point.append(Pointer(name, fresh.number, None, now))
        if live is not None:
            drop.append(live)
            said.append(
                f"document {name}: the index of generation {live.number} is gone; generation {fresh.number}"
                " is built anew from the state topic, answers are incomplete until it has caught up"
            )
        else:
            said.append(
                f"document {name}: new; its index is filled from the state topic of {frozen.document.table}"
            )
    for generation in registry.running():
        if generation.document not in configured:
            drop.append(generation)
            said.append(
                f"document {generation.document}: no longer configured; its index (generation"
                f" {generation.number}) is dropped, for it would no longer hear of deletions"
            )
    run.sort(key=lambda one: (one.document, one.number))
    return GenerationPlan(tuple(run), tuple(make), tuple(point), tuple(drop), tuple(said))


def _spare(
    standing: Sequence[Generation],
    lost: Generation | None,
    frozen: Frozen,
    covered: Mapping[tuple[str, int], int],
) -> Generation | None:
    """What answers instead of a lost one: the fullest; where nothing is known, what has answered before.

    A candidate that is not known to hold anything is as good as a new generation if it is built with the
    configuration of the file, and no better.
    """

    def rank(one: Generation) -> tuple[int, bool, bool, int]:
        older = lost is not None and one.number < lost.number
        return (
            covered.get((one.document, one.number), 0),
            older,
            not differences(one.frozen, frozen),
            one.number,
        )

    fit = [one for one in standing if any(rank(one)[:3])]
    return max(fit, key=rank, default=None)


def _answers_instead(
    spare: Generation, lost: Generation | None, frozen: Frozen, covered: Mapping[tuple[str, int], int]
) -> str:
    full = covered.get((spare.document, spare.number), 0)
    least = covered.get((spare.document, lost.number), 1) if lost is not None else 1
    return (
        f"document {spare.document}: the index that answered is gone; generation {spare.number}"
        + (
            ", which is built with the configuration of the file, answers"
            if not differences(spare.frozen, frozen)
            else ", which is built with another configuration than the file's, answers"
        )
        + ("" if full >= max(least, 1) else "; answers are incomplete until it has caught up")
    )


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
        elif not target and one.collection(app) in collections:
            actions.append(Discard(one))
    return actions


def waiting(registry: Registry, live: Generation, frozen: Frozen) -> list[str]:
    """What to say of a file that differs from the record; nothing where a candidate is built with it."""
    changed = differences(live.frozen, frozen)
    if not changed:
        return []
    for one in registry.of(live.document):
        if one.status == "running" and one.number > live.number and not differences(one.frozen, frozen):
            return [
                (
                    f"document {live.document}: generation {one.number} is built with the file's settings,"
                    f" and generation {live.number} answers: `tailrace reindex promote {live.document}`"
                    " makes the new one answer"
                )
            ]
    return [
        (
            f"document {live.document}: {', '.join(changed)} in the configuration differ from generation"
            f" {live.number}, which goes on unchanged; the change waits for a reindex:"
            f" `tailrace reindex plan {live.document}`"
        )
    ]


def differences(old: Frozen, new: Frozen) -> list[str]:
    """Names of the document's settings that differ, and `encoder` where its vectors would."""
    before, after = old.document.model_dump(), new.document.model_dump()
    changed = [name for name in before if before[name] != after[name]]
    return [*changed, "encoder"] if old.fingerprint != new.fingerprint else changed


def next_number(name: str, registry: Registry, collections: Collection[str], app: str) -> int:
    """Above every number ever recorded, and of no collection that a log now gone has left."""
    number = max((one.number for one in registry.of(name)), default=0) + 1
    while collection_name(app, name, number) in collections:
        number += 1
    return number


def owned_collections(app: str, documents: Collection[str], collections: Collection[str]) -> list[str]:
    """Those that are named, whole, as generations of these documents.

    `shop-prod-articles-g3` begins like one of the app `shop`, and belongs to another.
    """
    names = "|".join(re.escape(f"{app}-{document}") for document in documents)
    return [name for name in collections if names and re.fullmatch(rf"(?:{names})-g[0-9]+", name)]


def started(
    registry: Registry, document: str, frozen: Frozen, collections: Sequence[str], app: str, now: int
) -> Generation:
    """The next generation of a document, to be recorded."""
    return Generation(document, next_number(document, registry, collections, app), "running", frozen, now)
