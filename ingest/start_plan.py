"""What a start does about generations. Pure.

What is configured, recorded and stored goes in; what to make, run, point, lose and drop comes out, and
what to tell the operator, in plain words.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ingest.generation_plan import differences, next_number
from ingest.generations import Frozen, Generation, Pointer, Registry


@dataclass(slots=True)
class GenerationPlan:
    """What a start does: run these, make those first, point there, lose and drop those, and say so."""

    run: list[Generation] = field(default_factory=list)
    make: list[Generation] = field(default_factory=list)
    """A part of `run`: to be recorded before their collections are made; those found again, too."""
    point: list[Pointer] = field(default_factory=list)
    """Wishes to be recorded, after what they point at was made."""
    drop: list[Generation] = field(default_factory=list)
    lose: list[Generation] = field(default_factory=list)
    """To be recorded as lost: what is not here may be elsewhere, and is not to be deleted there."""
    said: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Found:
    """What a start finds. `app` names the collections; `now` in Unix ms.

    `collections`: those that exist in the index. `committed`: generations (document, number) whose
    consumer group has committed anything: without their collection they are lost, for the log would
    not be read again under the same number. `covered`: how many records of the log a generation has
    covered, as far as is known: of several that could answer for a lost one it is the fullest.
    """

    registry: Registry
    collections: Collection[str]
    committed: Collection[tuple[str, int]]
    app: str
    now: int
    covered: Mapping[tuple[str, int], int] = field(default_factory=dict)

    def here(self, one: Generation) -> bool:
        return one.collection(self.app) in self.collections

    def usable(self, one: Generation) -> bool:
        """Whether it stands, or is yet to be made."""
        return self.here(one) or (one.document, one.number) not in self.committed


def plan_generations(configured: Mapping[str, Frozen], found: Found) -> GenerationPlan:
    """Decide what a start does.

    What is not found is not dropped: an address may be wrong, a volume not mounted. Where a later start
    finds it again, and not what was built in its place, it answers again.
    """
    plan = GenerationPlan()
    if _elsewhere(configured, found):
        plan.said.append(
            "none of the indexes that are recorded is here: is the address right (index.url, index.path), is"
            " the volume mounted? Nothing is deleted: a start that finds them again goes on with them"
        )
    for name, frozen in configured.items():
        _plan_document(plan, name, frozen, found)
    for generation in found.registry.generations:
        if generation.document not in configured and generation.status != "dropped":
            plan.drop.append(generation)
            plan.said.append(
                f"document {generation.document}: no longer configured; its index (generation"
                f" {generation.number}) is dropped, for it would no longer hear of deletions"
            )
    plan.run.sort(key=lambda one: (one.document, one.number))
    return plan


def _plan_document(plan: GenerationPlan, name: str, frozen: Frozen, found: Found) -> None:
    live = found.registry.live(name)
    others = [one for one in found.registry.of(name) if one.status == "running" and one != live]
    standing = [one for one in others if found.usable(one)]
    again = [one for one in found.registry.of(name) if one.status == "lost" and found.here(one)]
    plan.run += standing
    for one in others:
        if one not in standing:
            plan.lose.append(one)
            plan.said.append(
                f"document {name}: the index of generation {one.number}, which does not answer, is gone;"
                " `tailrace reindex start` builds another"
            )
    # What was to be built in place of another is not begun where that is found again.
    if live is not None and (found.here(live) or (found.usable(live) and not again)):
        plan.run.append(live)
        plan.said += [_found_beside(one, live) for one in again]
        plan.said += waiting(found.registry, live, frozen)
        return
    plan.lose += [] if live is None else [live]
    revived = [replace(one, status="running") for one in again]
    plan.run += revived
    plan.make += revived
    was = None if live is None else live.number
    spare = _spare(revived, standing, live, frozen, found)
    if spare is not None:
        plan.point.append(Pointer(name, spare.number, was, found.now))
        if spare in revived:
            plan.said.append(_found_again(spare, live))
        else:
            plan.said.append(_answers_instead(spare, live, frozen, found.covered))
        return
    number = next_number(name, found.registry, found.collections, found.app)
    fresh = Generation(name, number, "running", frozen, found.now)
    plan.run.append(fresh)
    plan.make.append(fresh)
    plan.point.append(Pointer(name, fresh.number, was, found.now))
    if live is not None:
        plan.said.append(
            f"document {name}: the index of generation {live.number} is gone; generation {fresh.number}"
            " is built anew from the state topic, answers are incomplete until it has caught up"
        )
    else:
        plan.said.append(
            f"document {name}: new; its index is filled from the state topic of {frozen.document.table}"
        )


def _elsewhere(configured: Collection[str], found: Found) -> bool:
    """Whether nothing is found that was ever filled: more like another store than a loss."""
    recorded = [one for one in found.registry.running() if one.document in configured]
    filled = [one for one in recorded if (one.document, one.number) in found.committed]
    return bool(filled) and not any(map(found.here, recorded))


def _spare(
    revived: Sequence[Generation],
    standing: Sequence[Generation],
    lost: Generation | None,
    frozen: Frozen,
    found: Found,
) -> Generation | None:
    """What answers instead of a lost one: what it was built in place of, if that is found again.

    Else the fullest; where nothing is known, what has answered before. A candidate that is not known to
    hold anything is as good as a new generation if it is built with the configuration of the file, and no
    better.
    """
    pointer = None if lost is None else found.registry.pointers.get(lost.document)
    before = [one for one in revived if pointer is not None and one.number == pointer.previous]
    if before:
        return before[0]

    def rank(one: Generation) -> tuple[int, bool, bool, int]:
        older = lost is not None and one.number < lost.number
        return (
            found.covered.get((one.document, one.number), 0),
            older,
            not differences(one.frozen, frozen),
            one.number,
        )

    fit = [one for one in [*revived, *standing] if any(rank(one)[:3])]
    return max(fit, key=rank, default=None)


def _found_beside(one: Generation, live: Generation) -> str:
    return (
        f"document {one.document}: the index of generation {one.number}, which had been gone, is found again,"
        f" and generation {live.number} answers: `tailrace reindex drop {one.document} {one.number}`"
        " deletes it"
    )


def _found_again(one: Generation, live: Generation | None) -> str:
    instead = "" if live is None else f"; that of generation {live.number}, built meanwhile, is not here"
    return (
        f"document {one.document}: the index of generation {one.number} is found again and answers{instead}"
    )


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
