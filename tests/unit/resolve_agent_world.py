"""A resolve agent, restarted at will, over a raw topic and a state topic in memory."""

import asyncio
import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from core.clock import FixedClock
from core.keys import RowKey, TableId
from core.settings import Ingest, Source
from core.state import Progress, StateRow, Truncate
from core.state_table import StateTable
from embed.pace import Priority
from ingest.agents.resolve_agent import ResolveAgent
from ingest.dead_letters import DeadLetter
from ingest.state_store import EncodedRow

TABLE = TableId("shop", "public.notes")
SOURCE = Source(prefix="shop", tables=["public.notes"])


class Store:
    """A state topic of two partitions that takes everything."""

    partitions = 2

    def __init__(self) -> None:
        self.table = StateTable()
        self.offset = 0

    async def catch_up(self) -> None:
        """It is."""

    async def repair(self, check_owner: Callable[[], None]) -> None:
        check_owner()

    async def write(
        self,
        rows: Sequence[EncodedRow],
        truncate: Truncate | None,
        progress: Progress | None,
        check_owner: Callable[[], None],
    ) -> None:
        check_owner()
        for mark in (*(one.row for one in rows), truncate, progress):
            for partition in range(1 if isinstance(mark, StateRow) else self.partitions):
                if mark is not None:
                    self.offset += 1
                    self.table.apply(partition, self.offset, mark)


class World:
    """An agent, restarted at will, over one store."""

    def __init__(self, epoch: int = 0, **ingest: Any) -> None:
        self.epoch, self.ingest = epoch, Ingest.model_validate(ingest)
        self.store = Store()
        self.parked: list[DeadLetter] = []
        self.offset = self.log_start = 0
        self.priority = Priority()
        self.restart()

    def restart(self) -> None:
        store: Any = self.store
        self.agent = ResolveAgent(
            TABLE,
            SOURCE,
            self.epoch,
            store,
            self.park,
            self.ingest,
            FixedClock(),
            lambda _: None,
            lambda: self.log_start,
            self.priority,
        )
        self.agent._app = SimpleNamespace(
            consumer_generation_id=1,
            flow_control=SimpleNamespace(is_active=lambda: True),
            consumer=SimpleNamespace(assignment=lambda: {("shop.public.notes", 0)}),
        )

    async def park(self, letters: Sequence[DeadLetter]) -> None:
        self.parked += letters

    def take(self, *values: bytes | dict[str, Any], key: object = None) -> None:
        """One batch; it stays unread where it was refused."""
        batch = self.batch(*values, key=key)
        asyncio.run(self.agent._handle(batch))
        self.offset += len(batch)

    def batch(self, *values: bytes | dict[str, Any], key: object = None) -> list[Any]:
        batch = []
        for place, value in enumerate(values):
            message = SimpleNamespace(
                topic="shop.public.notes",
                partition=0,
                offset=self.offset + place,
                timestamp=0.0,
                key=json.dumps(key or {"id": 1}).encode(),
                value=value if isinstance(value, bytes) else json.dumps(value).encode(),
                headers=(),
                generation_id=self.agent._app.consumer_generation_id,
            )
            batch.append(SimpleNamespace(message=message))
        return batch

    def row(self, key: object = None) -> StateRow | None:
        return self.store.table.get(RowKey.of(key or {"id": 1}).canonical)  # type: ignore[arg-type]


def change(op: str, lsn: int, after: dict[str, Any] | None = None) -> dict[str, Any]:
    source = {"connector": "postgresql", "schema": "public", "table": "notes", "lsn": lsn}
    return {
        "op": op,
        "after": after,
        "source": {**source, "sequence": json.dumps([str(lsn - 1), str(lsn)]), "ts_ms": lsn * 1000},
    }


UNREADABLE = b'{"schema": {"type": "struct"}, "payload": {"op": "c"}}'


def snapshot_row(number: int, lsn: int, body: str = "") -> dict[str, Any]:
    made = change("r", lsn, {"id": number, "body": body})
    made["source"] |= {"sequence": json.dumps([None, str(lsn)]), "snapshot": "true", "name": "shop"}
    return made
