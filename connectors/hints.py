"""From a Java trace to the one line that a person needs, and to what usually mends it. Pure."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from connectors.masking import masked_text

_LONGEST: Final = 400
"""Signs of one cause: Debezium prints its whole state into some messages."""

_LOST_SLOT: Final = (
    "`tailrace connect offsets reset NAME --stop`, in the database SELECT pg_drop_replication_slot('SLOT'),"
    " `tailrace connect resume NAME` for a new snapshot and a new slot, then `tailrace resync TOPIC`"
)

_HINTS: Final[Mapping[str, str]] = {
    r"password authentication failed|Access denied for user|SASL authentication|Login failed": (
        "user or password is wrong: look at database.user, and at the secret that the worker reads"
    ),
    r"pg_hba": (
        "the server's pg_hba.conf does not let the worker's host in: add a line for user, database and host"
    ),
    r"replication slot \S+ is active": (
        "another connector, or an older worker of this one, reads the slot: stop that, or set a slot.name"
        " of its own"
    ),
    r"all replication slots are in use|max_replication_slots": (
        "no replication slot is free: drop unused ones, or raise max_replication_slots and restart the server"
    ),
    r"superuser or replication role|permission denied to .*replication|need .*REPLICATION"
    r"|REPLICATION SLAVE|RELOAD.*privilege|BINLOG MONITOR": (
        "the connector's role lacks replication rights: `tailrace doctor` prints what to grant"
    ),
    r"[Pp]ublication .*does not exist|Publication autocreation is disabled": (
        "the publication is missing: `tailrace doctor` prints the CREATE PUBLICATION"
    ),
    r"wal_level": "set wal_level = logical and restart the server",
    r"PostgresOffsetContext.* no longer available on the server": (
        "the slot was dropped, and with it the changes since: `tailrace connect offsets reset NAME --stop`,"
        " `tailrace connect resume NAME` for a new snapshot, then `tailrace resync TOPIC`"
    ),
    r"slot .*(invalidated|cannot be advanced)|(can no longer (get|access)|cannot read) .*slot"
    r"|requested WAL segment .* has already been removed": (
        "the database has invalidated the slot, which can never be read again: " + _LOST_SLOT
    ),
    r"obtain valid replication slot": (
        "where `tailrace doctor` says that the slot is lost: "
        + _LOST_SLOT
        + "; where it does not, a long transaction keeps the slot from being made: end that"
    ),
    r"no longer available on the server|error code 1236|Could not find first log file|binlog .*purged"
    r"|purged .*binary logs?": (
        "the server has purged the binlog that it needs: `tailrace connect offsets reset NAME --stop`,"
        " `tailrace connect resume NAME` for a new snapshot, then `tailrace resync TOPIC`; keep binlogs"
        " for longer (binlog_expire_logs_seconds)"
    ),
    r"[Cc]ompacted topic cannot accept message without key": (
        "the topic is compacted and a TRUNCATE has no key: set its cleanup.policy to delete, then restart"
    ),
    r"RecordTooLarge|MESSAGE_TOO_LARGE|bytes when serialized": (
        "a row is larger than producer or topic take: raise producer.override.max.request.size and the"
        " topic's max.message.bytes"
    ),
    r"UNKNOWN_TOPIC_OR_PARTITION|UnknownTopicOrPartition|TopicAuthorization|not present in metadata": (
        "a topic is missing, or the worker may not use it: check topic.creation.* and the broker's ACLs"
    ),
    r"db history topic|[Ss]chema history": (
        "the schema history topic is missing or incomplete: restore it, or `tailrace connect offsets reset"
        " NAME --stop` for a new snapshot"
    ),
    r"relation \S+ does not exist|[Tt]able \S+ doesn't exist|table .*not found": (
        "a table that the configuration names is not there: look at table.include.list, heartbeat and"
        " signal table"
    ),
    r"permission denied for (table|relation|schema)|command denied to user": (
        "the connector's role may not: GRANT SELECT on its tables, INSERT and UPDATE on heartbeat and signal"
    ),
    r"database \S+ does not exist|Unknown database": "correct database.dbname",
    r"server does not support SSL|SSL is (off|not enabled)|PKIX path|SSLHandshake|certificate|SSL error": (
        "TLS does not come about: check the server's certificate against database.sslmode (ssl.mode) and"
        " the worker's trust store"
    ),
    r"UnknownHost|Name or service not known|connection attempt failed": (
        "the worker cannot resolve or reach database.hostname: the name must work from the worker's host"
    ),
    r"Connection( to \S+)? refused|Communications link failure": (
        "nothing listens there: check database.hostname and database.port as seen from the worker"
    ),
    r"timed? ?out|SocketTimeout|TimeoutException": (
        "the other side did not answer in time: look at its load, at firewalls, and at the worker's log"
    ),
    r"Failed to find any class|ClassNotFoundException|NoClassDefFoundError|has no plugin": (
        "the plugin is not installed on every worker: put its jars under plugin.path and restart them"
    ),
    r"ConfigProvider|allowed\.paths|Could not read .*file": (
        "the worker's config provider cannot read the secret: check the file, its key and allowed.paths"
    ),
    r"policy does not allow .* to be overridden": (
        "the worker forbids this override: add it to connector.client.config.override.allowlist, or leave"
        " it out"
    ),
    r"DataException|SerializationException": (
        "a record could not be converted: look at the converters and at the table's last change"
    ),
    r"guardrail": (
        "more tables match than guardrail.collections.max allows: make table.include.list narrower"
    ),
}
"""What is said, and what usually mends it; the first that fits counts."""

_COMPILED: Final = tuple((re.compile(pattern), hint) for pattern, hint in _HINTS.items())


@dataclass(frozen=True, slots=True)
class Explanation:
    """`cause` is one line without secrets; `hint` says what to do, where it is known."""

    cause: str
    hint: str | None

    def __str__(self) -> str:
        return self.cause if self.hint is None else f"{self.cause}\n  hint: {self.hint}"


def explain(
    trace: str,
    config: Mapping[str, str] | None = None,
    password_keys: Collection[str] = (),
    secrets: Collection[str] = (),
    *,
    name: str = "NAME",
) -> Explanation:
    """A trace or an error message, explained. The root cause decides before what wraps it."""
    text = masked_text(trace, config, password_keys=password_keys, secrets=secrets)
    found = hint(text)
    if found is not None:
        slot = "" if config is None else config.get("slot.name") or "debezium"
        # It may have been filled in for a reference: then it is shown nowhere.
        is_shown = re.fullmatch(r"[a-z0-9_]+", slot) and masked_text(slot, secrets=secrets) == slot
        # The connector's name last: it may hold either word.
        found = found.replace("SLOT", slot if is_shown else "…").replace("NAME", name)
    return Explanation(cause(text), found)


def hint(text: str) -> str | None:
    """What usually mends this; None if it is none of the known causes."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("at ")]
    # From the innermost cause outwards: what wraps it is often a general phrase.
    for line in reversed(lines):
        for pattern, said in _COMPILED:
            if pattern.search(line):
                return said
    return None


def unfinished_hint(said: str) -> str | None:
    """For one that was last said to be `starting`: it neither ran nor failed in the time that it was given.

    Debezium 3.6 asks for a slot that was lost 900 times, 2 s apart.
    """
    if said != "starting":
        return None
    return (
        "`tailrace doctor` looks at its database: for a slot that was lost a connector waits half an hour,"
        " and says so in the worker's log only"
    )


def cause(trace: str) -> str:
    """What a person needs of a Java trace: its first line, and the last `Caused by`, without secrets."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    first = _cut(lines[0]) if lines else "(no trace)"
    root = next((line for line in reversed(lines) if line.startswith("Caused by:")), None)
    return masked_text(first if root is None else f"{first} ({_cut(root)})")


def _cut(line: str) -> str:
    # `PostgresOffsetContext [… [ … ] … ]`: the end of the message is what matters.
    short = re.sub(r"(\w*Context) \[.*\]", r"\1 […]", line)
    return short if len(short) <= _LONGEST else f"{short[:_LONGEST]}…"
