"""A raw topic in memory and the resolver over it, record by record."""

import json
from typing import Any

from core.keys import RowKey, TableId
from core.settings import Source
from core.state import StateRow
from core.state_table import StateTable
from ingest.record import RawRecord
from ingest.resolve import Resolved, Resolver

P = "__debezium_unavailable_value"
TABLE = TableId("shop", "public.notes")
SOURCE = Source(prefix="shop", tables=["public.notes"])


def raw(offset: int, key: object, value: object, **headers: object) -> RawRecord:
    pairs = tuple((f"__debezium.{name}", json.dumps(header).encode()) for name, header in headers.items())
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return RawRecord(
        "shop.public.notes", 0, offset, 0, json.dumps(key).encode() if key else None, data, pairs
    )


def value(op: str, after: object, q: tuple[int | None, int] | None, ts_ms: int = 1_000) -> dict[str, Any]:
    sequence = None if q is None else json.dumps([None if part is None else str(part) for part in q])
    source = {"connector": "postgresql", "schema": "public", "table": "notes"}
    return {
        "op": op,
        "after": after,
        "source": {**source, "sequence": sequence, "lsn": q and q[1], "ts_ms": ts_ms},
    }


class Log:
    """A raw topic and what the resolver made of it."""

    def __init__(self, epoch: int = 0, state: StateTable | None = None, **resolver: Any) -> None:
        self.state = state or StateTable()
        self.resolver = Resolver(TABLE, SOURCE, epoch, **resolver)
        self.offset = -1
        self.written = 0

    def take(self, record: RawRecord) -> Resolved:
        resolved = self.resolver.resolve(record, self.state.get, 77)
        for row in resolved.rows:
            self.state.apply(0, self.written, row)
            self.written += 1
        if resolved.truncate is not None:
            self.state.apply(0, self.written, resolved.truncate)
            self.written += 1
        return resolved

    def send(self, key: object, sent: object, **headers: object) -> Resolved:
        self.offset += 1
        return self.take(raw(self.offset, key, sent, **headers))

    def put(
        self, op: str, nr: int, q: tuple[int | None, int] | None, text: str | None = None, **more: Any
    ) -> Resolved:
        after = None if op == "d" else {"id": nr, "text": text}
        headers = {name: {"id": more.pop(name)} for name in ("oldkey", "newkey") if name in more}
        return self.send({"id": nr}, value(op, after, q, **more), **headers)

    def row(self, nr: int) -> StateRow:
        row = self.state.get(RowKey.of({"id": nr}).canonical)
        assert row is not None
        return row

    def live(self) -> dict[str, object]:
        return {row.key.text: row.columns["text"] for row in self.state.rows() if not row.deleted}
