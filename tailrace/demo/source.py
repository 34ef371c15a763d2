"""A small database that speaks Debezium: the sample shop's tables, and the events of each change.

It stands where Postgres and Kafka Connect stand, and writes what they would write with the
recommended preset (schemaless JSON, decimals as strings, ISO times, a random placeholder for long
text that an update left alone), in the order of commits, one partition a table.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from core.clock import Clock
from core.positions import format_lsn
from core.settings import Source
from core.topics import raw_topic
from tailrace.demo.shop import TABLES, Cell, Row

TOASTED_BYTES: Final = 2000  # Postgres moves longer values out of the row, and logs them only when set
LSN_STEP: Final = 0x38

Key = tuple[Cell, ...]


class DemoSource:
    """Rows by table and key. Every change is one committed transaction; its position is returned."""

    def __init__(self, name: str, source: Source, clock: Clock) -> None:
        self.name, self._source, self._clock = name, source, clock
        self._rows: dict[str, dict[Key, Row]] = {table: {} for table in TABLES}
        self._producer: AIOKafkaProducer | None = None
        self._lsn, self._last_commit, self._tx = 0x1000000, 0, 700
        self._committed: str | None = None

    async def start(self, brokers: Sequence[str]) -> None:
        self._producer = AIOKafkaProducer(bootstrap_servers=list(brokers), acks="all")
        await self._producer.start()

    async def stop(self) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def committed(self, source: str) -> str | None:
        """As the connector's committed offset would say: everything up to here stands in the topics."""
        return self._committed if source == self.name else None

    def row(self, table: str, key: int) -> Row:
        """A copy of one row as it is now."""
        return dict(self._rows[table][(key,)])

    async def snapshot(self, rows: Mapping[str, Sequence[Row]]) -> str:
        """Take over these rows and send them as an initial snapshot: one position for all."""
        lsn = self._next_lsn()
        sent: list[asyncio.Future[Any]] = []
        tables = [table for table in TABLES if rows.get(table)]
        for table in tables:
            for place, row in enumerate(rows[table]):
                key = self._key(table, row)
                self._rows[table][key] = dict(row)
                last = place == len(rows[table]) - 1
                mark = "last_in_data_collection" if last else "true"
                if last and table == tables[-1]:
                    mark = "last"
                sent.append(await self._send(table, "r", key, self._wire(table, row), lsn, snapshot=mark))
        return await self._commit(sent, lsn)

    async def insert(self, table: str, row: Row) -> str:
        key, lsn = self._key(table, row), self._next_lsn()
        if key in self._rows[table]:
            raise ValueError(f"{table} {key} exists")
        self._rows[table][key] = dict(row)
        return await self._commit([await self._send(table, "c", key, self._wire(table, row), lsn)], lsn)

    async def update(self, table: str, key: int, changes: Row) -> str:
        """Columns that are long and unchanged are sent as the placeholder, as Postgres would."""
        old, lsn = self._rows[table][(key,)], self._next_lsn()
        new = {**old, **changes}
        self._rows[table][(key,)] = new
        wire = self._wire(table, new)
        for column, value in new.items():
            long = isinstance(value, str) and len(value.encode()) > TOASTED_BYTES
            if long and value == old[column]:
                wire[column] = self._source.placeholder
        return await self._commit([await self._send(table, "u", (key,), wire, lsn)], lsn)

    async def delete(self, table: str, key: int) -> str:
        del self._rows[table][(key,)]
        lsn = self._next_lsn()
        # Under REPLICA IDENTITY DEFAULT `before` is made up, but for the key.
        event = await self._send(table, "d", (key,), None, lsn)
        tombstone = await self._put(table, (key,), None)
        return await self._commit([event, tombstone], lsn)

    def _next_lsn(self) -> int:
        self._lsn += LSN_STEP
        self._tx += 1
        return self._lsn

    async def _commit(self, sent: Sequence["asyncio.Future[Any]"], lsn: int) -> str:
        await asyncio.gather(*sent)
        self._last_commit = lsn
        # The commit record stands behind the change: what pg_current_wal_lsn() says afterwards.
        self._lsn += LSN_STEP
        self._committed = format_lsn(self._lsn)
        return self._committed

    async def _send(
        self,
        table: str,
        op: str,
        key: Key,
        after: dict[str, Any] | None,
        lsn: int,
        *,
        snapshot: str = "false",
    ) -> "asyncio.Future[Any]":
        now = self._clock.now_ms()
        last = None if op == "r" else f"{self._last_commit}"
        event = {
            "before": None if op != "d" else dict(zip(TABLES[table].key, key, strict=True)),
            "after": after,
            "source": {
                "version": "3.6.3.Final",
                "connector": "postgresql",
                "name": self._source.prefix,
                "ts_ms": now,
                "snapshot": snapshot,
                "db": "shop",
                "sequence": json.dumps([last, str(lsn)]),
                "schema": TABLES[table].schema,
                "table": table,
                "txId": self._tx,
                "lsn": lsn,
                "xmin": None,
            },
            "transaction": None,
            "op": op,
            "ts_ms": now,
        }
        return await self._put(table, key, event)

    async def _put(self, table: str, key: Key, value: dict[str, Any] | None) -> "asyncio.Future[Any]":
        if self._producer is None:
            raise RuntimeError("the source has not been started")
        spec = TABLES[table]
        future: asyncio.Future[Any] = await self._producer.send(
            raw_topic(self._source.prefix, f"{spec.schema}.{table}"),
            None if value is None else json.dumps(value, ensure_ascii=False).encode(),
            json.dumps(dict(zip(spec.key, key, strict=True))).encode(),
            partition=0,
        )
        return future

    def _key(self, table: str, row: Row) -> Key:
        return tuple(row[column] for column in TABLES[table].key)

    def _wire(self, table: str, row: Row) -> dict[str, Any]:
        """Values as the preset encodes them: a date carries a Z, as isostring gives it."""
        types = TABLES[table].types
        return {
            name: f"{value}Z" if types[name] == "date" and isinstance(value, str) else value
            for name, value in row.items()
        }
