"""Where a raw topic tells everything anew: at the newest first snapshot of its table."""

from typing import Final

from core.errors import PermanentError
from core.keys import TableId
from core.settings import Source
from ingest.debezium import Decoder, RowChange
from ingest.record import RawRecord


class NewestSnapshot:
    """Finds it, given all records of one raw topic in their order.

    What stands before it may be of another life of the database, or tell of rows whose deletion nothing
    tells. `start` is the first offset of the snapshot whose rows came last; None if the topic holds
    none: then only all of its records tell of all rows. Rows that a connector sent twice, or that one
    which was replaced sent late, never make it begin later than it did.
    """

    def __init__(self, source: Source, table: TableId) -> None:
        self._decoder: Final = Decoder(source, table.table)
        self._begins: dict[tuple[int, int], int] = {}
        self.start: int | None = None

    def take(self, record: RawRecord) -> None:
        try:
            event = self._decoder.decode(record)
        except PermanentError:  # the worker will set it aside
            return
        if isinstance(event, RowChange) and event.read_at is not None:
            self.start = self._begins.setdefault(event.read_at, record.offset)
