"""Up to where the database's changes are in Kafka: the connector's committed offset.

Connect commits the offset of a record only after the broker acknowledged it and all before it. So
whatever the database committed up to the position in that offset is in the raw topics: `lsn_commit`
of Postgres, `gtids` of MariaDB.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx2

from core.addresses import shown_url
from core.errors import TransientError
from core.positions import format_lsn, parse_position, reaches


class CommittedPositions:
    """Asks Connect, once a call. `connectors` maps a source to its connector's name.

    `login` is the user and password of a Connect that asks for them.
    """

    def __init__(
        self,
        connect_url: str,
        connectors: Mapping[str, str],
        *,
        login: tuple[str, str] | None = None,
        timeout_seconds: float = 5.0,
    ) -> None:
        self._url = connect_url.rstrip("/")
        self._connectors = dict(connectors)
        # The environment's proxies are not for the control plane.
        self._client = httpx2.AsyncClient(auth=login, timeout=timeout_seconds, trust_env=False)

    async def committed(self, source: str) -> str | None:
        """The position up to which every commit of the database is in the raw topics.

        None if it is unknown: no connector of that source, nothing committed yet, or its first
        snapshot still runs. It may step back when the connector restarts. Raises TransientError
        when Connect is away or busy, or the connector does not run: its position then says nothing
        of what the database has committed since.
        """
        connector = self._connectors.get(source)
        if connector is None:
            return None
        at = f"{self._url}/connectors/{quote(connector, safe='')}"
        # The status after the offsets: a connector that runs now has not stopped before they were read.
        offsets, status = await self._get(f"{at}/offsets"), await self._get(f"{at}/status")
        if offsets is None or status is None:
            return None
        try:
            tasks = status["tasks"]
            states = {part["state"] for part in (status["connector"], *tasks)}
            position = committed_position(offsets["offsets"])
        except (KeyError, TypeError) as error:
            raise TransientError(f"Kafka Connect, GET {shown_url(at)}: {type(error).__name__}") from error
        if states != {"RUNNING"} or not tasks:
            said = ", ".join(sorted(states - {"RUNNING"})) or "it has no task"
            raise TransientError(
                f"connector {connector} does not run ({said}): see `tailrace connect status`"
            )
        return position

    async def _get(self, url: str) -> Any:
        """What Connect answers; None for what it does not know."""
        said = f"Kafka Connect, GET {shown_url(url)}"
        try:
            answer = await self._client.get(url)
            if answer.status_code == httpx2.codes.NOT_FOUND:
                return None
            answer.raise_for_status()
            return answer.json()
        except httpx2.HTTPStatusError as error:
            raise TransientError(f"{said}: {error.response.status_code}") from error
        except (httpx2.HTTPError, ValueError) as error:
            raise TransientError(f"{said}: {type(error).__name__}") from error

    async def aclose(self) -> None:
        await self._client.aclose()


def committed_position(offsets: Sequence[Mapping[str, Any]]) -> str | None:
    """The position from what `GET /connectors/<name>/offsets` lists, as core.positions spells it.

    None while the first snapshot runs, before anything was committed, or for a connector whose offsets
    name no such position.
    """
    found = [entry.get("offset") or {} for entry in offsets]
    if any("gtids" in offset for offset in found):
        return committed_gtid(offsets)
    lsn = committed_lsn(offsets)
    return None if lsn is None else format_lsn(lsn)


def has_reached(offsets: Sequence[Mapping[str, Any]], position: str) -> bool:
    """Whether every change up to this position of a commit, an LSN or one GTID, is in the raw topics."""
    committed = committed_position(offsets)
    if committed is None:
        return False
    wanted = parse_position(position)
    return any(reaches(parse_position(one), wanted) for one in committed.split(","))


def committed_gtid(offsets: Sequence[Mapping[str, Any]]) -> str | None:
    """The GTID from the offsets of a Debezium MariaDB connector.

    `gtids` is the binlog position after the last transaction whose records all precede the offset's own
    record: what the writer reads from `@@last_gtid` after its COMMIT. A GTID of each domain, comma
    between them. None while the first snapshot runs.
    """
    if len(offsets) != 1:
        return None
    offset = offsets[0].get("offset") or {}
    gtids = offset.get("gtids")
    if not isinstance(gtids, str) or (offset.get("snapshot") and not offset.get("snapshot_completed")):
        return None
    return gtids or None


def committed_lsn(offsets: Sequence[Mapping[str, Any]]) -> int | None:
    """The LSN from what `GET /connectors/<name>/offsets` lists for a Debezium Postgres connector.

    `lsn_commit` is the end of the last transaction whose records all precede the offset's own
    record: exactly what the writer reads from `pg_current_wal_lsn()` after its COMMIT. `lsn` is the
    place of a change inside a transaction, and in a snapshot the same for every row, the first
    included: it promises less. None while the first snapshot runs.
    """
    found = []
    for entry in offsets:
        offset = entry.get("offset") or {}
        lsn = offset.get("lsn_commit")
        if not isinstance(lsn, int) or (offset.get("snapshot") and not offset.get("snapshot_completed")):
            return None
        found.append(lsn)
    return min(found, default=None)
