"""The newest row of every key and the configured views over them, kept equal to the state topics."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from core.clock import Clock, SystemClock
from core.consumer import FETCH_WAIT_MS
from core.errors import ContractError, TransientError
from core.keys import KeyValue, RowKey, TableId
from core.settings import StateView as ViewSettings
from core.state import Progress, StateRow
from core.state_reader import Loading, StateReader
from core.state_table import StateTable
from core.telemetry import logger
from core.topics import state_topic
from core.version import epoch_of
from embed.model import Scope
from retrieve.model import Rows
from retrieve.views import View

log = logger(__name__)

Shape: TypeAlias = tuple[tuple[str, type], ...]
"""Names and types of a key's columns."""

NO_CLAIMS: Mapping[str, str] = MappingProxyType({})


class StateView:
    """Rows by key, view entries by theirs. Lives in one event loop; look-ups never wait.

    `on_error(exception)` is called once if the tail ends for a reason that waiting does not cure:
    from then on the view stands still, and its owner should end the process.
    """

    def __init__(
        self,
        app: str,
        brokers: Sequence[str],
        tables: Sequence[TableId],
        views: Mapping[str, ViewSettings],
        *,
        on_error: Callable[[BaseException], None],
        clock: Clock | None = None,
        fetch_wait_ms: int = FETCH_WAIT_MS,
    ) -> None:
        self._topics = {table: state_topic(app, table) for table in tables}
        self._views = {name: View(name, settings) for name, settings in views.items()}
        self._by_topic: dict[str, list[View]] = {topic: [] for topic in self._topics.values()}
        for view in self._views.values():
            self._by_topic[self._topics[TableId.parse(view.settings.table)]].append(view)
        self._shapes: dict[str, tuple[Shape, ...]] = dict.fromkeys(self._by_topic, ())
        self._clock = clock or SystemClock()
        self._on_error = on_error
        self._loaded = False
        self.failed: BaseException | None = None
        """Why the tail ended, if it did."""
        self._reader = StateReader(
            brokers,
            list(self._by_topic),
            on_rows=self.take,
            on_error=self._take_failure,
            fetch_wait_ms=fetch_wait_ms,
        )

    @property
    def tables(self) -> Sequence[TableId]:
        return list(self._topics)

    async def start(self) -> None:
        """Begin to read; returns at once, `ready` says when everything of now has been read.

        Raises as StateReader.start: TransientError, ConfigurationError.
        """
        await self._reader.start()

    async def stop(self) -> None:
        await self._reader.stop()

    @property
    def loading(self) -> Loading:
        """How far the first load has come, in records."""
        return self._reader.loading

    @property
    def ready(self) -> bool:
        """Everything that stood in the state topics at the start has been read once, and the tail lives."""
        self._loaded = self._loaded or (bool(self._reader.partitions) and self.loading.done)
        return self._loaded and self.failed is None

    def check_ready(self) -> None:
        """Raises TransientError unless `ready`: half of the rows do not tell what is gone."""
        if not self.ready:
            read = self.loading
            raise TransientError(
                f"the rows are not read yet ({read.read} of {read.total} records), as just after a start:"
                " ask again"
            )

    def row(self, table: TableId, canonical: bytes) -> StateRow | None:
        """The newest row of this key, grave or live; None if there never was one, or its grave expired."""
        return self._table(table).get(canonical)

    def keys_of(self, table: TableId, text: str) -> list[RowKey]:
        """The keys that `text` may spell in this table, by the shapes of the keys seen so far.

        One as a rule, none before the first row; a table whose primary key was changed has several
        shapes. Never raises for a text of another shape: such a key is as absent as any other.
        """
        found: list[RowKey] = []
        for shape in self._shapes[self._topics[table]]:
            try:
                key = _typed(RowKey.parse(text, [name for name, _ in shape]), shape, text)
            except ContractError:
                continue
            if key not in found:
                found.append(key)
        return found

    def key_of(self, table: TableId, text: str) -> RowKey | None:
        """The key that `text` spells: that of a live row first, then of the newest grave.

        None if it spells none with columns and types as this table's keys have them.
        """
        shapes = self._shapes[self._topics[table]]
        keys = [key for key in self.keys_of(table, text) if _shape(key) in shapes]
        return max(keys, key=lambda key: _standing(self.row(table, key.canonical)), default=None)

    def entry(self, view: str, key: str, scope: Scope, claims: Mapping[str, str] = NO_CLAIMS) -> Rows:
        """The rows of one entry, in order; none for an absent one and for another tenant's alike.

        Raises ContractError for an unknown view, a key of another shape, or a view that cannot be
        scoped to this caller.
        """
        found = self.view(view)
        return found.entry(key, scope, claims, self._table(TableId.parse(found.settings.table)).get)

    def view(self, name: str) -> View:
        """Raises ContractError, naming the known ones."""
        if name not in self._views:
            raise ContractError(
                f"no state view {name!r}: write one of {', '.join(sorted(self._views)) or '(none defined)'}"
            )
        return self._views[name]

    def progress(self, table: TableId) -> Mapping[int, Progress | None]:
        """By state partition: how far the raw topic is known to stand in this view; None before any."""
        topic = self._topics[table]
        known = self._table(table).progress
        return {number: known.get(number) for number in range(self._reader.partitions.get(topic, 0))}

    def epoch(self, table: TableId) -> int:
        """That of the newest truncate in this view: what older epochs told of is gone from it."""
        newest = self._table(table).truncate
        return epoch_of(newest.version) if newest is not None else 0

    def covers(self, table: TableId, version: int) -> bool:
        """Every change of this table up to `version` stands in the view."""
        marks = self.progress(table).values()
        return bool(marks) and all(mark is not None and mark.version >= version for mark in marks)

    def topic(self, table: TableId) -> str:
        """Its state topic."""
        return self._topics[table]

    async def wait_for(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Wait until `condition()` holds, looking after each change of the view. False past `deadline`.

        `deadline` as the clock's `monotonic` counts.
        """
        while not condition():
            left = deadline - self._clock.monotonic()
            if left <= 0 or self.failed is not None:
                return False
            try:
                async with asyncio.timeout(left):
                    await self._reader.changed()
            except TimeoutError:
                return condition()
        return True

    def take(self, topic: str, rows: list[StateRow]) -> None:
        """Rows of a state topic changed: the views follow."""
        shapes = self._shapes[topic]
        for row in rows:
            shape = _shape(row.key)
            if shape not in shapes:
                self._shapes[topic] = shapes = (*shapes, shape)
        for view in self._by_topic[topic]:
            view.apply_all(rows)

    def _table(self, table: TableId) -> StateTable:
        return self._reader.tables[self._topics[table]]

    def _take_failure(self, error: BaseException) -> None:
        self.failed = error
        log.error("the state view stands still", error=str(error))
        self._on_error(error)


def _shape(key: RowKey) -> Shape:
    return tuple((name, type(value)) for name, value in key.columns)


def _standing(row: StateRow | None) -> tuple[bool, int]:
    return (False, -1) if row is None else (not row.deleted, row.version)


def _typed(key: RowKey, shape: Shape, text: str) -> RowKey:
    """People write 42 for the text "42" too: the table knows which it is."""
    types = dict(shape)
    if len(shape) == 1 and types[key.names[0]] is str and not isinstance(key.columns[0][1], str):
        return RowKey.of({key.names[0]: text})
    return RowKey.of({name: _as(types[name], value) for name, value in key.columns})


def _as(wanted: type, value: KeyValue) -> KeyValue:
    if wanted is str and not isinstance(value, str):
        return json.dumps(value)
    if wanted is not float or type(value) is not int:
        return value
    try:
        return float(value)
    except OverflowError as error:
        raise ContractError(f"{str(value)[:40]}… is too large for its column") from error
