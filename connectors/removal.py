"""Deleting a connector, and saying what stays: Connect removes the connector and nothing else."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from connectors.live import LiveConnector
from connectors.offsets import reset_offsets
from connectors.postgres_writes import drop_publication, drop_slot
from connectors.preset import POSTGRES_CLASS
from connectors.rest import ConnectClient
from connectors.watch import Pace, patiently
from core.errors import ConfigurationError, PermanentError, TailraceError, TransientError

_DEFAULTS: Final[Mapping[str, str]] = {"slot": "debezium", "publication": "dbz_publication"}
"""Debezium's own where a configuration names none: connectors of other Connect clusters have them too."""

DROPS: Final[dict[str, Callable[[str, str], bool]]] = {"slot": drop_slot, "publication": drop_publication}


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What a connector has made, or uses alone. `slot` and `publication` for Postgres only."""

    topics: tuple[str, ...]
    offsets: int
    slot: str | None = None
    publication: str | None = None
    shared: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(slot or publication, its name): the other connector that uses it."""

    history: str | None = None
    """The topic of the schema history, which MariaDB's and others' connectors write past Connect."""

    definitions: str | None = None
    """The topic with the changes of tables' definitions."""

    def lines(self) -> list[str]:
        """What stays when only the connector is deleted, each with what to do about it."""
        said = []
        for what, name in self._own():
            why = "replication slot {}: holds WAL until it is dropped" if what == "slot" else "publication {}"
            said.append(f"{why.format(name)}: {drop_statement(what, name)}")
        said += self.shared_lines()
        if self.offsets:
            lost = "its slot is gone" if self.slot else "the database's log was purged"
            said.append(
                f"source offsets: a connector of this name goes on from there; if {lost} by then, it fails"
            )
        said += [f"topic {topic}{what and f': {what}'}" for topic, what in self.kept().items()]
        return said

    def shared_lines(self) -> list[str]:
        return [f"{what} {name}: connector {user} uses it too" for (what, name), user in self.shared.items()]

    def droppable(self) -> list[tuple[str, str]]:
        """(slot or publication, its name): what is this connector's alone. Not what has a default name."""
        return [(what, name) for what, name in self._own() if name != _DEFAULTS[what]]

    def defaults(self) -> list[tuple[str, str]]:
        """What has Debezium's default name, and so may be somebody else's."""
        return [(what, name) for what, name in self._own() if name == _DEFAULTS[what]]

    def _own(self) -> list[tuple[str, str]]:
        pairs = (("slot", self.slot), ("publication", self.publication))
        return [(what, name) for what, name in pairs if name is not None]

    def kept(self) -> dict[str, str]:
        """The topics, which are never deleted, each with what it holds; "" for a table's."""
        found = dict.fromkeys(self.topics, "")
        if self.definitions in found:
            found[self.definitions] = "changes of tables' definitions"
        if self.history:
            found[self.history] = "the schema history: offsets are of no use without it"
        return found


def leftovers(client: ConnectClient, live: LiveConnector, others: Mapping[str, LiveConnector]) -> Leftovers:
    """What it will leave, asked while it is still there; of one that is gone what its configuration says.

    `others`: the cluster's connectors. What one of them names too is not its own, on whichever server:
    one server has many names.
    """
    history = live.config.get("schema.history.internal.kafka.topic")
    mine = _names(live)
    shared = {
        pair: name
        for name, other in sorted(others.items())
        if name != live.name
        for pair in _names(other).items()
        if pair in mine.items()
    }
    own = {what: name for what, name in mine.items() if (what, name) not in shared}
    return Leftovers(
        topics=tuple(client.topics(live.name)),
        offsets=len(client.offsets(live.name)),
        slot=own.get("slot"),
        publication=own.get("publication"),
        shared=shared,
        history=history,
        definitions=live.config.get("topic.prefix") if history else None,
    )


def _names(connector: LiveConnector) -> dict[str, str]:
    """Its slot and publication; a connector of Postgres has always both."""
    if connector.config.get("connector.class") != POSTGRES_CLASS:
        return {}
    return {what: connector.config.get(f"{what}.name") or name for what, name in _DEFAULTS.items()}


def drop_statement(what: str, name: str) -> str:
    """The SQL that drops a slot or a publication."""
    if what == "slot":
        return "SELECT pg_drop_replication_slot('{}')".format(name.replace("'", "''"))
    quoted = name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"{}"'.format(name.replace('"', '""'))
    return f"DROP PUBLICATION {quoted}"


def remove(client: ConnectClient, live: LiveConnector) -> None:
    """The connector alone."""
    client.delete(live.name)


def remove_clean(
    client: ConnectClient, live: LiveConnector, left: Leftovers, dsn: str | None, *, pace: Pace
) -> Iterator[tuple[str, TailraceError | None]]:
    """Stop, forget the offsets, delete, drop slot and publication: each with the error that kept it.

    The offsets go first: while the connector exists they can. Topics stay in any case: they hold what may
    not be had again. Raises ConfigurationError, before anything, without a `dsn` that is needed.
    """
    need_database(left, dsn)
    reset_offsets(client, live.name, stop=True, pace=pace)
    yield "source offsets", None
    client.delete(live.name)
    yield f"connector {live.name}", None
    yield from drop_leftovers(left, dsn, pace=pace)


def need_database(left: Leftovers, dsn: str | None) -> None:
    """Raises ConfigurationError if something is to be dropped, and nobody knows where."""
    if dsn is None and left.droppable():
        statements = "; ".join(drop_statement(what, name) for what, name in left.droppable())
        raise ConfigurationError(
            "--clean has to drop a slot or a publication, and no database is known: set"
            " sources.<name>.database in tailrace.yaml, or name it with --database '${env:NAME}'. Nothing was"
            f" changed. By hand, after a delete without --clean: {statements}"
        )


def drop_leftovers(
    left: Leftovers, dsn: str | None, *, pace: Pace
) -> Iterator[tuple[str, TailraceError | None]]:
    """Drop slot and publication of a connector that is gone: each with the error that kept it."""
    need_database(left, dsn)
    for what, name in left.defaults():
        said = f"it has Debezium's default name, and may be somebody else's: {drop_statement(what, name)}"
        yield f"{what} {name}", PermanentError(said)
    if dsn is None:
        return
    for what, name in left.droppable():
        try:
            deadline = pace.clock() + min(pace.timeout_s, 30.0)
            if patiently(partial(DROPS[what], dsn, name), deadline, pace):
                yield f"{what} {name}", None
            else:
                where = "gone already, or --database is of another one"
                yield f"nothing: {what} {name} is not in this database ({where})", None
        except (PermanentError, TransientError) as error:
            yield f"{what} {name}", error
