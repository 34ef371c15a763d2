"""Deleting a connector, and saying what stays: Connect removes the connector and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass

from connectors.live import LiveConnector
from connectors.offsets import reset_offsets
from connectors.postgres_writes import drop_publication, drop_slot
from connectors.preset import POSTGRES_CLASS
from connectors.rest import ConnectClient
from connectors.watch import Pace, patiently
from core.errors import PermanentError, TailraceError, TransientError


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What a connector has made, or uses alone. `slot` and `publication` for Postgres only."""

    topics: tuple[str, ...]
    offsets: int
    slot: str | None = None
    publication: str | None = None
    history: str | None = None
    """The topic of the schema history, which MariaDB's and others' connectors write past Connect."""

    definitions: str | None = None
    """The topic with the changes of tables' definitions."""

    def lines(self) -> list[str]:
        """What stays when only the connector is deleted, each with what to do about it."""
        said = []
        if self.slot:
            said.append(
                f"replication slot {self.slot}: holds WAL until it is dropped:"
                f" SELECT pg_drop_replication_slot('{self.slot}')"
            )
        if self.publication:
            said.append(f"publication {self.publication}: DROP PUBLICATION {self.publication}")
        if self.offsets:
            lost = "its slot is gone" if self.slot else "the database's log was purged"
            said.append(
                f"source offsets: a connector of this name goes on from there; if {lost} by then, it fails"
            )
        said += [f"topic {topic}{what and f': {what}'}" for topic, what in self.kept().items()]
        return said

    def kept(self) -> dict[str, str]:
        """The topics, which are never deleted, each with what it holds; "" for a table's."""
        found = dict.fromkeys(self.topics, "")
        if self.definitions in found:
            found[self.definitions] = "changes of tables' definitions"
        if self.history:
            found[self.history] = "the schema history: offsets are of no use without it"
        return found


def leftovers(client: ConnectClient, live: LiveConnector) -> Leftovers:
    """What it will leave, asked while it is still there."""
    postgres = live.config.get("connector.class") == POSTGRES_CLASS
    history = live.config.get("schema.history.internal.kafka.topic")
    return Leftovers(
        topics=tuple(client.topics(live.name)),
        offsets=len(client.offsets(live.name)),
        slot=live.config.get("slot.name", "debezium") if postgres else None,
        publication=live.config.get("publication.name", "dbz_publication") if postgres else None,
        history=history,
        definitions=live.config.get("topic.prefix") if history else None,
    )


def remove(client: ConnectClient, live: LiveConnector) -> None:
    """The connector alone."""
    client.delete(live.name)


def remove_clean(
    client: ConnectClient, live: LiveConnector, left: Leftovers, dsn: str | None, *, pace: Pace
) -> Iterator[tuple[str, TailraceError | None]]:
    """Stop, forget the offsets, delete, drop slot and publication: each with the error that kept it.

    The offsets go first: while the connector exists they can. Without `dsn` slot and publication stay.
    Topics stay in any case: they hold what may not be had again.
    """
    reset_offsets(client, live.name, stop=True, pace=pace)
    yield "source offsets", None
    client.delete(live.name)
    yield f"connector {live.name}", None
    for what, name, drop in (
        ("slot", left.slot, drop_slot),
        ("publication", left.publication, drop_publication),
    ):
        if name is None:
            continue
        try:
            if dsn is None:
                raise PermanentError("no database is known: name it with --database '${env:NAME}'")  # noqa: TRY301 - told like the others
            deadline = pace.clock() + min(pace.timeout_s, 30.0)
            patiently(lambda drop=drop, name=name: drop(dsn, name), deadline, pace)  # type: ignore[misc]
            yield f"{what} {name}", None
        except (PermanentError, TransientError) as error:
            yield f"{what} {name}", error
