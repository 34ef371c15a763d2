"""What an operator's wish becomes, and what it is refused for. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from core.errors import ConfigurationError, TransientError
from core.settings import Reindex
from ingest.generation_plan import differences, started
from ingest.generations import Frozen, Generation, Pace, Pointer, Registry, dropped

UNSEEN_MS: Final = 5 * 60_000
"""Workers report every half a minute: one that has said nothing for so long does not run."""


@dataclass(frozen=True, slots=True)
class PaceWish:
    """As the command line says it: 0 lifts a limit, None leaves it as it is."""

    rate: float | None = None
    share: float | None = None

    def of(self, pace: Pace) -> Pace:
        return Pace(_limit(self.rate, pace.rate), _limit(self.share, pace.share))


def _limit(wished: float | None, before: float | None) -> float | None:
    return before if wished is None else wished or None


@dataclass(frozen=True, slots=True)
class Start:
    """What a start writes, and the generation that is followed from then on."""

    records: tuple[Generation, ...]
    generation: Generation
    said: str


def answering(registry: Registry, document: str) -> Generation:
    """The generation that is to answer. ConfigurationError if there is none."""
    live = registry.live(document)
    if live is None:
        known = sorted({one.document for one in registry.running()})
        raise ConfigurationError(
            f"document {document!r} has no generation that answers: a worker makes the first one when it"
            f" starts; recorded are {', '.join(known) or '(none)'}"
        )
    return live


def candidates(registry: Registry, document: str) -> list[Generation]:
    """Those that run and are newer than the one that answers, oldest first."""
    return [one for one in registry.of(document) if registry.role(one) == "candidate"]


def start(
    registry: Registry,
    document: str,
    frozen: Frozen,
    app: str,
    now: int,
    *,
    pace: PaceWish,
    force: bool,
    displace: bool,
) -> Start:
    """A new generation with this configuration, or the one that is being built with it already.

    With a pace, that of one that answered before and follows the log is changed, too. ConfigurationError
    where nothing changed (unless `force`), or where another candidate stands in the way (unless `displace`,
    which drops it).
    """
    live, rivals = answering(registry, document), candidates(registry, document)
    for one in rivals:
        if not differences(one.frozen, frozen):
            step = _paced(one, pace, f"generation {one.number} is being built with this configuration")
            # Those that a start which was killed has left: the newest would be promoted.
            left = [dropped(other) for other in rivals if displace and other != one]
            return replace(step, records=(*left, *step.records))
    changed = differences(live.frozen, frozen)
    if not changed and not force:
        raise ConfigurationError(
            f"nothing changed: generation {live.number}, which answers for {document}, is built with this"
            " configuration; --force builds it anew"
        )
    for one in registry.of(document):
        if registry.role(one) == "previous" and not differences(one.frozen, frozen) and not force:
            if pace != PaceWish():
                return _paced(one, pace, f"generation {one.number}, which answered before, follows the log")
            raise ConfigurationError(
                f"generation {one.number} of {document}, which answered before, is built with this"
                f" configuration and still follows the log: `tailrace reindex rollback {document}` makes it"
                " answer at once; --force builds another"
            )
    if rivals and not displace:
        names = ", ".join(
            f"generation {one.number} ({_changes(differences(live.frozen, one.frozen))})" for one in rivals
        )
        raise ConfigurationError(
            f"{names} of {document} is being built with another configuration: drop it first"
            f" (`tailrace reindex drop {document} {rivals[-1].number}`), or start with --replace"
        )
    made = replace(started(registry, document, frozen, app, now), pace=pace.of(Pace()))
    return Start(
        (*map(dropped, rivals), made),
        made,
        f"generation {made.number} of {document} begins: {_changes(changed)}",
    )


def _paced(running: Generation, pace: PaceWish, said: str) -> Start:
    paced = replace(running, pace=pace.of(running.pace))
    if paced == running:
        return Start((), running, said)
    return Start((paced,), paced, f"{said}; its pace was changed")


def promotion(registry: Registry, document: str, now: int) -> Pointer:
    """The newest candidate is to answer. ConfigurationError if there is none."""
    live, found = answering(registry, document), candidates(registry, document)
    if not found:
        _refuse_pending(registry, live, f"`tailrace reindex rollback {document}` takes the wish back")
        raise ConfigurationError(
            f"nothing to promote: generation {live.number} answers for {document} and no newer one runs;"
            f" `tailrace reindex start {document}` builds one"
        )
    return Pointer(document, found[-1].number, live.number, now)


def compared(before: Registry, registry: Registry, pointer: Pointer, now: int) -> Pointer:
    """The promotion that was decided on `before` and then judged, if it still is the same one.

    TransientError if either of the two that were compared no longer runs as it did, or another one answers
    by now: what was judged says nothing of others.
    """
    name = pointer.document
    for number in (pointer.live, pointer.previous or 0):
        then, found = before.find(name, number), registry.find(name, number)
        if (
            found is None
            or then is None
            or found.status != "running"
            or differences(then.frozen, found.frozen)
        ):
            raise TransientError(
                f"generation {number} of {name}, which was compared, no longer runs as it did: nothing was"
                " changed; look at `tailrace reindex ls`, run it again"
            )
    live = answering(registry, name)
    if live.number != pointer.previous:
        raise TransientError(
            f"generation {live.number} of {name} answers by now, and generation {pointer.live} was compared"
            f" with generation {pointer.previous}: nothing was changed; run it again"
        )
    return replace(pointer, at=now)


def rollback(registry: Registry, document: str, now: int) -> Pointer:
    """What answered before is to answer again. ConfigurationError if it no longer runs."""
    live = answering(registry, document)
    older = [one for one in registry.of(document) if registry.role(one) == "previous"]
    if not older:
        _refuse_pending(registry, live, f"`tailrace reindex promote {document}` takes the wish back")
        raise ConfigurationError(
            f"nothing to roll back to: generation {live.number} answers for {document} and no older one runs"
        )
    pointer = registry.pointers.get(document)
    before = pointer.previous if pointer is not None else None
    number = before if before in [one.number for one in older] else older[-1].number
    return Pointer(document, number or older[-1].number, live.number, now)


def _refuse_pending(registry: Registry, wished: Generation, way_back: str) -> None:
    """Raises ConfigurationError if what is to answer does not answer yet."""
    answers, document = registry.answering(wished.document), wished.document
    if answers is not None and answers != wished:
        raise ConfigurationError(
            f"generation {wished.number} of {document} is to answer already, and generation"
            f" {answers.number} does until it is level: `tailrace reindex status {document}` says"
            f" what it waits for, {way_back}"
        )


def still(pointer: Pointer, registry: Registry, now: int) -> Pointer:
    """The rollback that was decided, after a look at its target, if it still is the same one.

    TransientError if another wish came in between.
    """
    again = rollback(registry, pointer.document, now)
    if (again.live, again.previous) != (pointer.live, pointer.previous):
        raise TransientError(
            f"somebody else has just changed what is wished for {pointer.document}: nothing was changed; look"
            " at `tailrace reindex ls`, run it again"
        )
    return again


def drop(registry: Registry, document: str, number: int) -> Generation | None:
    """The record to write; None if it is dropped already. ConfigurationError for what answers."""
    found = registry.find(document, number)
    if found is None:
        known = ", ".join(str(one.number) for one in registry.of(document)) or "(none)"
        raise ConfigurationError(f"document {document!r} has no generation {number}: recorded are {known}")
    if found.status == "dropped":
        return None
    live, aliased = registry.live(document), registry.aliased.get(document)
    if found == live or (aliased is not None and aliased.number == number):
        raise ConfigurationError(
            f"generation {number} answers for {document}: promote another one first, or roll back"
        )
    return dropped(found)


def neglected(registry: Registry, generation: Generation, now: int) -> str | None:
    """Why nobody seems to work on a generation that runs; None if all is well."""
    if generation.status != "running":
        return None
    reports = registry.reports_of(generation)
    newest = max((report.at for report in reports), default=generation.started_at)
    waits = [r.waiting for r in reports if r.waiting and now - r.at <= UNSEEN_MS]
    if waits:
        return f"waits: {waits[0]}"
    if now - newest <= UNSEEN_MS:
        return None
    said = "no worker has reported on it yet" if not reports else "no worker has reported on it"
    since = f"{said} for {spoken((now - newest) / 1000)}"
    if registry.role(generation) == "live":
        return f"{since}: start a worker"
    drop_it = f"tailrace reindex drop {generation.document} {generation.number}"
    return f"abandoned? {since}: start a worker, or `{drop_it}`"


def gate(
    settings: Reindex,
    *,
    missing: int,
    different: int,
    overlap: float | None,
    recall: float | None,
    extra: int = 0,
) -> list[str]:
    """Why the candidate may not answer; empty if it may.

    `overlap` and `recall` are None where no saved question says anything about them: a bar that is
    configured and cannot be judged has not been passed.
    """
    why: list[str] = []
    if missing > settings.max_missing:
        why.append(f"{missing} documents are missing (max_missing: {settings.max_missing})")
    if different > settings.max_different:
        why.append(f"{different} documents are of other versions (max_different: {settings.max_different})")
    if settings.max_extra is not None and extra > settings.max_extra:
        why.append(f"{extra} documents answer only in the new one (max_extra: {settings.max_extra})")
    for name, found, least in (
        ("overlap", overlap, settings.min_overlap),
        ("recall", recall, settings.min_recall),
    ):
        if least is None:
            continue
        if found is None:
            why.append(f"min_{name} is {least}, and no saved question in {settings.queries} measures it")
        elif found < least:
            why.append(f"{name} is {found:.3f} (min_{name}: {least})")
    return why


def spoken(seconds: float) -> str:
    """A duration for people: `12 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    for size, unit, below, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{whole} s"


def _changes(names: Sequence[str]) -> str:
    return f"{', '.join(names)} changed" if names else "the same configuration, built anew"
