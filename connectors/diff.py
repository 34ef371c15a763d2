"""What applying files to a cluster would do: files and live connectors in, steps out. Pure.

Nothing in a plan that is printed holds a secret: values are masked by the plugin's own PASSWORD types,
by the names of their keys, and where they were put in for a reference.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from connectors.live import LiveConnector, State
from connectors.masking import masked_config
from connectors.risks import normalised, risk

OWNER_KEY: Final = "tailrace.owner"
"""Whose connector it is: only what bears our mark may ever be pruned. Connect and the plugins take no
notice of a key that they do not know."""

_PROFILE: Final = "@"
_IMPLIED: Final[Mapping[str, str]] = {"tasks.max": "1"}
"""Connect's own default, which a file always says: of a live connector that is silent it is no change."""

Action: TypeAlias = Literal["create", "update", "state", "prune", "none"]


@dataclass(frozen=True, slots=True)
class Desired:
    """A connector as its file wants it, `${env:…}` filled in."""

    name: str
    config: Mapping[str, str] = field(repr=False)
    state: Literal["running", "paused", "stopped"] = "running"
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    origin: str = ""
    """Its file."""

    filled: frozenset[str] = frozenset()
    """The keys under which something was filled in: what they held before is as secret."""


@dataclass(frozen=True, slots=True)
class Change:
    """One key. `before` and `after` may be printed; None where the key is not there."""

    key: str
    before: str | None
    after: str | None
    risk: str | None = None

    @property
    def sign(self) -> str:
        return "+" if self.before is None else "-" if self.after is None else "~"

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {self.key}: {self.after}"
        if self.after is None:
            return f"- {self.key}: {self.before}"
        return f"~ {self.key}: {self.before} → {self.after}"


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to one connector. `state` is (is, shall be) where they differ."""

    name: str
    action: Action
    changes: tuple[Change, ...] = ()
    state: tuple[State, State] | None = None
    desired: Desired | None = field(default=None, repr=False)
    inherited: frozenset[str] = frozenset()
    """Keys of which a connector that goes with this plan has the same, such as its slot."""

    @property
    def risks(self) -> list[str]:
        return [f"{change.key}: {change.risk}" for change in self.changes if change.risk]


@dataclass(frozen=True, slots=True)
class Plan:
    """What applying would do.

    `orphans` bear our mark and no file names them; `foreign` are somebody else's and never touched;
    `conflicts` are reasons not to apply at all.
    """

    steps: tuple[Step, ...]
    orphans: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()

    @property
    def changes(self) -> list[Step]:
        """The steps that do something."""
        return [step for step in self.steps if step.action != "none"]

    def summary(self) -> str:
        """`3 changes: 1 create, 2 update`."""
        counted = Counter(step.action for step in self.changes)
        total = sum(counted.values())
        if not total:
            return "no changes"
        order: tuple[Action, ...] = ("create", "update", "state", "prune")
        parts = ", ".join(f"{counted[action]} {action}" for action in order if counted[action])
        return f"{total} change{'' if total == 1 else 's'}: {parts}"


def owner_mark(owner: str | None, profile: str | None) -> str | None:
    """What is written on a connector: `shop`, of a profile `shop@staging`.

    Each profile marks its own, so that none prunes another's. An owner with an `@` is the whole mark;
    `shop@` is that of no profile.
    """
    if owner is None or profile is None or _PROFILE in owner:
        return None if owner is None else owner.removesuffix(_PROFILE)
    return f"{owner}{_PROFILE}{profile}"


def is_of(mark: str | None, owner: str | None) -> bool:
    """Whether the mark is this owner's, of whichever profile."""
    return mark is not None and owner is not None and mark.split(_PROFILE)[0] == owner.split(_PROFILE)[0]


def plan(
    desired: Sequence[Desired],
    live: Mapping[str, LiveConnector],
    *,
    owner: str | None = None,
    prune: bool = False,
    kept: Collection[str] | None = frozenset(),
    password_keys: Mapping[str, Collection[str]] | None = None,
) -> Plan:
    """Compare. `owner` marks what is applied; without one nothing is marked and nothing ever pruned.

    `kept` are connectors that stand in files which are not being applied: no orphans; None if that is not
    known, so that there are none at all. `password_keys` are, for each connector class, the keys that its
    plugin types as PASSWORD.
    """
    keys = password_keys or {}
    marked = [_marked(one, owner) for one in desired]
    steps = [_step(one, live.get(one.name), keys) for one in marked]
    named = {one.name for one in desired}
    rest = [connector for name, connector in sorted(live.items()) if name not in named]
    ours = [one.name for one in rest if owner is not None and one.config.get(OWNER_KEY) == owner]
    orphans = [] if kept is None else [name for name in ours if name not in kept]
    if prune:
        steps = [_renamed(step, live, orphans) for step in steps]
        steps += [Step(name, "prune", state=(live[name].state, "absent")) for name in orphans]
    return Plan(
        steps=tuple(steps),
        orphans=tuple(orphans),
        foreign=tuple(one.name for one in rest if one.name not in ours),
        conflicts=tuple(_conflicts(marked, live, gone=set(orphans) if prune else set())),
    )


def _marked(one: Desired, owner: str | None) -> Desired:
    if owner is None:
        return one
    config = {**one.config, OWNER_KEY: owner}
    return replace(one, config=config)


def _step(wanted: Desired, found: LiveConnector | None, password_keys: Mapping[str, Collection[str]]) -> Step:
    changes = tuple(_changes(wanted, found, password_keys))
    if found is None:
        return Step(wanted.name, "create", changes, ("absent", wanted.state), wanted)
    # What is on its way is waited for, not told again.
    is_state = wanted.state if found.state == "starting" and wanted.state == "running" else found.state
    state = None if is_state == wanted.state else (found.state, wanted.state)
    action: Action = "update" if changes else "state" if state else "none"
    return Step(wanted.name, action, changes, state, wanted)


def _changes(
    wanted: Desired, found: LiveConnector | None, password_keys: Mapping[str, Collection[str]]
) -> list[Change]:
    old: Mapping[str, str] = {} if found is None else found.config
    implied: Mapping[str, str] = {} if found is None else _IMPLIED
    typed = {
        *password_keys.get(wanted.config.get("connector.class", ""), ()),
        *password_keys.get(old.get("connector.class", ""), ()),
    }
    shown_old = masked_config(old, password_keys={*typed, *wanted.filled}, secrets=wanted.secrets)
    shown_new = masked_config(wanted.config, password_keys=typed, secrets=wanted.secrets)
    changes = []
    for key in sorted({*old, *wanted.config}):
        before, after = old.get(key, implied.get(key)), wanted.config.get(key)
        if before is not None and after is not None and normalised(key, before) == normalised(key, after):
            continue
        shown = shown_old.get(key), shown_new.get(key)
        said = None if found is None else risk(key, *shown, wanted.name)
        changes.append(Change(key, *shown, said))
    return changes


def _renamed(step: Step, live: Mapping[str, LiveConnector], gone: Collection[str]) -> Step:
    """A new connector that takes over what one that goes has: its name alone leads to its offsets."""
    claims = _claims(step.desired.config) if step.desired is not None and step.action == "create" else []
    taken = {claim[0]: name for name in gone for claim in _claims(live[name].config) if claim in claims}
    if not taken:
        return step
    key, name = next(iter(taken.items()))
    said = (
        f"{name} has it and goes, and offsets are kept by name: everything is read again, and what is"
        " deleted meanwhile is told by no event: `tailrace resync` after"
    )
    changes = (replace(change, risk=said) if change.key == key else change for change in step.changes)
    return replace(step, changes=tuple(changes), inherited=frozenset(taken))


def _conflicts(desired: Sequence[Desired], live: Mapping[str, LiveConnector], *, gone: set[str]) -> list[str]:
    """Connectors that bear somebody else's mark, and two that claim what only one may have."""
    said = []
    for one in desired:
        theirs = live[one.name].config.get(OWNER_KEY) if one.name in live else None
        ours = one.config.get(OWNER_KEY)
        if theirs is not None and ours is not None and theirs != ours:
            whole = theirs if _PROFILE in theirs else f"{theirs}{_PROFILE if _PROFILE in ours else ''}"
            said.append(
                f"connector {one.name} belongs to {theirs!r}, not to {ours!r}: give yours another name,"
                f" or take it over with --owner {whole}"
            )
    after = {name: c.config for name, c in live.items() if name not in gone}
    after |= {one.name: one.config for one in desired}
    ours_names = {one.name for one in desired}
    holders: dict[tuple[str, ...], str] = {}
    for name in sorted(after, key=lambda name: (name in ours_names, name)):
        for claim in _claims(after[name]):
            other = holders.setdefault(claim, name)
            if other != name and name in ours_names:
                said.append(
                    f"connectors {other} and {name} have the same {claim[0]} {claim[-1]!r}: {_WHY[claim[0]]}"
                )
    return said


_PORTS: Final[Mapping[str, str]] = {
    "io.debezium.connector.postgresql.PostgresConnector": "5432",
    "io.debezium.connector.mariadb.MariaDbConnector": "3306",
    "io.debezium.connector.mysql.MySqlConnector": "3306",
}
"""Debezium's own default of database.port, for the databases whose servers hold what only one may have."""

_WHY: Final[Mapping[str, str]] = {
    "slot.name": "a slot has one reader, the other waits for ever",
    "publication.name": "its tables are for one of the two to say, and whoever drops it silences both",
    "topic.prefix": "they would write into the same topics",
    "database.server.id": "the server throws one of the two off",
}


def _claims(config: Mapping[str, str]) -> list[tuple[str, ...]]:
    """What only one connector may have. Slot and server id: on one server; publication: in one database."""
    default = _PORTS.get(config.get("connector.class", ""), "")
    # Hosts' names know no capitals.
    server = (config.get("database.hostname", "").strip().lower(), config.get("database.port") or default)
    found: list[tuple[str, ...]] = []
    if prefix := config.get("topic.prefix"):
        found.append(("topic.prefix", prefix))
    found += [(key, *server, config[key]) for key in ("slot.name", "database.server.id") if config.get(key)]
    if publication := config.get("publication.name"):
        found.append(("publication.name", *server, config.get("database.dbname", ""), publication))
    return found
