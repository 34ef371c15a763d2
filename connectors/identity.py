"""Which database answers: one that is another than before has positions that do not compare."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """`server` is "" where it is not known, `timeline` 0."""

    server: str = ""
    """Postgres: the system identifier, the same on a primary and its replicas. MariaDB: its server_id, one
    for each server, since binlog positions are each server's own. MySQL: its server_uuid."""

    timeline: int = 0
    """Postgres raises it with each failover, and with each restore to a moment. 0 on a standby."""
