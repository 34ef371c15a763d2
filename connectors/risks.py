"""Which changed keys of a configuration read everything again, or leave something behind. Pure."""

import re
from collections.abc import Mapping
from typing import Final

from connectors.masking import MASK

LISTS: Final = re.compile(r".*\.(include|exclude)\.list")
"""Comma-separated, their order without a meaning."""

_SPLIT = re.compile(r",(?![^{]*\})")
"""Not the comma of a regular expression's `{1,2}`."""

_TABLES: Final = re.compile(r"(table|collection|schema|database)\.(include|exclude)\.list")
_COLUMNS: Final = re.compile(r"column\.(include|exclude)\.list|column\.(mask|truncate)\..*")

_RENAMED: Final = (
    "changes go into topics of other names from now on, and nothing is read again; the old ones and whoever"
    " reads them stay behind"
)
_HISTORY: Final = "without its history the connector does not start: reset its offsets for a new snapshot"
_RISKS: Final[Mapping[str, str]] = {
    "topic.prefix": "everything is read again into new topics; the old ones and whoever reads"
    " them stay behind",
    "topic.delimiter": _RENAMED,
    "topic.naming.strategy": _RENAMED,
    "topic.heartbeat.prefix": "heartbeats go to another topic from now on; the old one stays behind",
    "message.key.columns": "what was stored of a row stays under its old key beside the new one: `tailrace"
    " resync` after",
    "offsets.storage.topic": "the offsets stay in the old topic: everything is read again, and deletes since"
    " then never come: `tailrace resync` after",
    "slot.name": "changes between the old slot's position and the new slot's beginning never come:"
    " `tailrace resync` after; the old slot holds WAL until it is dropped",
    "publication.name": "the new publication decides what comes: a table that it lacks falls silent;"
    " the old one stays",
    "snapshot.mode": "decides what is read again at the next start without offsets",
    "database.server.id": "two readers of one id throw each other off the server",
    "database.hostname": "another server has positions of its own: the stored offset may mean nothing there",
    "database.port": "another server has positions of its own: the stored offset may mean nothing there",
    "database.dbname": "another database: the rows of the old one stay in the topics and in the index",
    "database.names": "each database has offsets of its own: one that is added begins anew; rows of one that"
    " goes stay in the topics and in the index",
    "mongodb.connection.string": "another server has positions of its own: the stored offset may mean nothing"
    " there",
    "capture.mode": "updates hold another part of the document from now on; what is in the topics already"
    " keeps its old form",
    "signal.data.collection": "signals to the old table are not seen any more; a running snapshot stops",
    "schema.history.internal.kafka.topic": _HISTORY,
    "schema.history.internal.kafka.bootstrap.servers": _HISTORY,
    "connector.class": "the stored offsets belong to the other class",
    "unavailable.value.placeholder": "change `placeholder` of the source in tailrace.yaml at the same time;"
    " what is in the topics already carries the old one",
    "plugin.name": "the slot was made for the other decoder: it cannot be read by this one",
}
_SHAPES: Final = re.compile(
    r"(key|value)\.converter(\..*)?|.*\.handling\.mode|time\.precision\.mode|(transforms|predicates)(\..*)?"
)


def entries(value: str) -> list[str]:
    """The entries of a comma-separated list, without the white space around them."""
    return [entry.strip() for entry in _SPLIT.split(value) if entry.strip()]


def normalised(key: str, value: str) -> str:
    """What decides whether two values mean the same."""
    found = entries(value)
    return ",".join(sorted(set(found))) if LISTS.fullmatch(key) else value.strip()


def risk(key: str, before: str | None, after: str | None, connector: str) -> str | None:
    """What to know before this key changes on a connector that exists; None if it is harmless.

    `before` and `after` as they may be shown: the text may quote them.
    """
    if _TABLES.fullmatch(key):
        return _of_tables(key, before, after, connector)
    if _COLUMNS.fullmatch(key):
        return "only changes from now on have or lack the column: a snapshot fills in the rows that are there"
    if _SHAPES.fullmatch(key):
        return "what is in the topics already keeps its old form: readers meet both"
    return _RISKS.get(key)


def _of_tables(key: str, before: str | None, after: str | None, connector: str) -> str:
    if before is None or after is None or MASK in before + after or not key.startswith("table."):
        return (
            "rows that are there already are not read for a new table;"
            " those of a table that goes stay and grow old"
        )
    old, new = set(entries(before)), set(entries(after))
    if "exclude" in key:
        old, new = new, old
    said = []
    if added := sorted(new - old):
        start = " ".join(f"--table {_plain(entry)}" for entry in added)
        said.append(
            "rows that are there already are not read for a new table:"
            f" `tailrace connect snapshot start {connector} {start}`"
        )
    if gone := sorted(old - new):
        said.append(f"{', '.join(map(_plain, gone))}: rows in topics and index stay and grow old")
    return "; ".join(said)


def _plain(entry: str) -> str:
    r"""`public\.articles` as a table's name; a real pattern stays as it is."""
    return re.sub(r"\\([^A-Za-z0-9])", r"\1", entry)
