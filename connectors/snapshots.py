"""Incremental snapshots: rows read again, in chunks, while changes keep flowing. Pure.

Asked for by a row in the signal table; how far it is stands in the connector's committed offsets.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from connectors.inspect import is_captured
from connectors.listed import listed_names
from connectors.mariadb_facts import MariaDbFacts, MariaDbTable
from connectors.postgres_facts import Facts, Table
from connectors.snapshot_keys import KeyValue, decode_key
from core.errors import DecodeError


@dataclass(frozen=True, slots=True)
class Signal:
    """A row for the signal table."""

    id: str
    type: Literal["execute-snapshot", "stop-snapshot"]
    data: str


@dataclass(frozen=True, slots=True)
class Progress:
    """A running snapshot. `tables`: the one being read first, then those that wait."""

    signal: str | None
    tables: tuple[str, ...]
    key: tuple[KeyValue, ...] | None
    """The last key that was read; None before the first chunk, or if it is of another type."""

    last_key: tuple[KeyValue, ...] | None
    """The table's greatest key when its reading began."""

    @property
    def share(self) -> float | None:
        """From 0 to 1, of the range of keys, for a key of one whole number; else unknown."""
        if not self.key or not self.last_key or len(self.key) != 1:
            return None
        at, end = self.key[0], self.last_key[0]
        if not isinstance(at, int) or not isinstance(end, int) or end <= 0 or at < 0:
            return None
        return min(at / end, 1.0)

    def __str__(self) -> str:
        table, *waiting = self.tables
        said = f"reading {table}"
        if self.key is not None:
            said += f", at key {_shown(self.key)}"
            said += f" of {_shown(self.last_key)}" if self.last_key is not None else ""
        elif self.last_key is not None:
            said += f", keys up to {_shown(self.last_key)}"
        if self.share is not None:
            said += f" ({self.share:.0%})"
        return said + (f"; then {', '.join(waiting)}" if waiting else "")


def execute(tables: Sequence[str]) -> Signal:
    """Read these tables again, or for the first time."""
    data = {"data-collections": list(tables), "type": "incremental"}
    return Signal(f"tailrace-{secrets.token_hex(8)}", "execute-snapshot", json.dumps(data))


def stop(tables: Sequence[str] = ()) -> Signal:
    """Stop reading these tables; without any, the whole snapshot."""
    data: dict[str, Any] = {"type": "incremental"}
    if tables:
        data["data-collections"] = list(tables)
    return Signal(f"tailrace-{secrets.token_hex(8)}", "stop-snapshot", json.dumps(data))


def progress(offsets: Sequence[Mapping[str, Any]]) -> Progress | None:
    """What the committed offsets say; None while no incremental snapshot runs."""
    for entry in offsets:
        offset = entry.get("offset") or {}
        listed = offset.get("incremental_snapshot_collections")
        if not listed:
            continue
        names = [one.get("incremental_snapshot_collections_id") for one in json.loads(listed)]
        if names:
            return Progress(
                offset.get("incremental_snapshot_correlation_id"),
                tuple(map(str, names)),
                _key(offset.get("incremental_snapshot_primary_key")),
                _key(offset.get("incremental_snapshot_maximum_key")),
            )
    return None


def initial_running(offsets: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the first snapshot is not through yet: nothing committed, or said so."""
    found = [entry.get("offset") or {} for entry in offsets]
    return not found or any(one.get("snapshot") and not one.get("snapshot_completed") for one in found)


def refusals(config: Mapping[str, str], tables: Sequence[str], facts: Facts | MariaDbFacts) -> list[str]:
    """Why the connector would not read these tables: it would say nothing, and look as if it had."""
    said = _signal_refusals(config, facts)
    for name in tables:
        table = facts.tables.get(name)
        if table is None:
            spelled = "schema.table" if isinstance(facts, Facts) else "database.table"
            said.append(f"{name} does not exist, or the login may not see it: write it as {spelled}")
            continue
        if not is_captured(name, config):
            said.append(
                f"{name} is not in the connector's table.include.list: add it, apply, then take the snapshot"
            )
        said += _of_postgres(table) if isinstance(table, Table) else _of_mariadb(table)
        said += _unpublished(name, facts)
    return said


def _signal_refusals(config: Mapping[str, str], facts: Facts | MariaDbFacts) -> list[str]:
    """Why the signal would not be heard, or the reading not begin: its steps are rows of that table, too."""
    name = config.get("signal.data.collection")
    if not name:
        return ["the connector has no signal.data.collection: signals are not heard"]
    if "source" not in listed_names(config.get("signal.enabled.channels", "source")):
        return ["signal.enabled.channels lacks `source`: rows of the signal table are not heard"]
    if isinstance(facts, Facts):
        table = facts.tables.get(name)
        exists, writable = table is not None, table is not None and table.writable
    else:
        exists, writable = facts.signal_exists, facts.signal_writable
        if not is_captured(name, config):
            return [f"{name} is not in the connector's table.include.list: signals are read from the binlog"]
    if not exists:
        return [f"the signal table {name} does not exist: `tailrace doctor` prints its CREATE TABLE"]
    if not writable:
        return [f"GRANT INSERT ON {name} to the connector: without it a signal is heard and nothing is read"]
    return _unpublished(name, facts)


def _of_postgres(table: Table) -> list[str]:
    said = []
    if not table.primary_key:
        said.append(f"{table.name} has no primary key, by which it would be read in chunks")
    if generated := [column.name for column in table.columns if column.generated]:
        said.append(
            f"{table.name} has the generated column {', '.join(generated)}: the connector skips such a table"
            " without a word; reset its offsets for a whole new snapshot instead"
        )
    if not table.readable:
        said.append(f"{table.name}: the connector's role may not SELECT from it")
    return said


def _of_mariadb(table: MariaDbTable) -> list[str]:
    said = []
    if table.kind != "BASE TABLE":
        said.append(f"{table.name} is no plain table ({table.kind.lower()})")
    if not table.key:
        said.append(f"{table.name} has no primary key, by which it would be read in chunks")
    if not table.readable:
        said.append(f"{table.name}: the login may not SELECT from it")
    return said


def _unpublished(name: str, facts: Facts | MariaDbFacts) -> list[str]:
    if isinstance(facts, MariaDbFacts) or facts.publication is None or name in facts.publication.tables:
        return []
    return [f"the publication lacks {name}: ALTER PUBLICATION {facts.publication.name} ADD TABLE {name}"]


def _key(text: str | None) -> tuple[KeyValue, ...] | None:
    if text is None:
        return None
    try:
        return decode_key(text)
    except DecodeError:
        return None


def _shown(key: tuple[KeyValue, ...]) -> str:
    return ", ".join(map(str, key))
