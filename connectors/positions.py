"""Up to where the database's changes are in Kafka: the connector's committed offset.

Connect commits the offset of a record only after the broker acknowledged it and all before it. So
whatever the database committed up to `lsn_commit` of that offset is in the raw topics.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx2

from core.errors import TransientError
from core.positions import format_lsn


class CommittedPositions:
    """Asks Connect, once a call. `connectors` maps a source to its connector's name."""

    def __init__(
        self, connect_url: str, connectors: Mapping[str, str], *, timeout_seconds: float = 5.0
    ) -> None:
        self._url = connect_url.rstrip("/")
        self._connectors = dict(connectors)
        # The environment's proxies are not for the control plane.
        self._client = httpx2.AsyncClient(timeout=timeout_seconds, trust_env=False)

    async def committed(self, source: str) -> str | None:
        """The position up to which every commit of the database is in the raw topics.

        None if it is unknown: no connector of that source, nothing committed yet, or its first
        snapshot still runs. It may step back when the connector restarts. Raises TransientError
        when Connect is away or busy.
        """
        connector = self._connectors.get(source)
        if connector is None:
            return None
        url = f"{self._url}/connectors/{quote(connector, safe='')}/offsets"
        try:
            answer = await self._client.get(url)
            if answer.status_code == httpx2.codes.NOT_FOUND:
                return None
            answer.raise_for_status()
            offsets = answer.json()["offsets"]
        except httpx2.HTTPStatusError as error:
            raise TransientError(f"Kafka Connect, GET {url}: {error.response.status_code}") from error
        except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
            raise TransientError(f"Kafka Connect, GET {url}: {type(error).__name__}") from error
        lsn = committed_lsn(offsets)
        return None if lsn is None else format_lsn(lsn)

    async def aclose(self) -> None:
        await self._client.aclose()


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
