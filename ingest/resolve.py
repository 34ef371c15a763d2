"""signatures first; body follows"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from core.errors import PermanentError
from core.keys import TableId
from core.settings import Source
from core.state import StateRow, Truncate
from ingest.record import RawRecord


@dataclass(frozen=True, slots=True)
class Resolved:
    outcome: Literal["applied", "superseded", "ignored", "parked"]
    kind: str = ""
    rows: tuple[StateRow, ...] = ()
    truncate: Truncate | None = None
    error: PermanentError | None = None
    repaired: int = 0


class Resolver:
    def __init__(
        self, table: TableId, source: Source, epoch: int, truncate: Truncate | None = None
    ) -> None: ...
    def resolve(self, record: RawRecord, lookup: Callable[[bytes], StateRow | None], now_ms: int) -> Resolved:
        raise NotImplementedError
