"""However often a connector's first snapshot breaks off, the table's rows come out."""

from typing import Any, Final, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from core.state import Seen
from ingest.record import RawRecord
from ingest.resolve import Resolver
from tests.unit.resolve_world import SOURCE, TABLE, Log, raw, value

KEY: Final = st.integers(0, 5)
Edits: TypeAlias = list[tuple[int, bool]]
EDITS: Final = st.lists(st.tuples(KEY, st.booleans()), max_size=6)
"""A row is written, or deleted."""

ATTEMPTS: Final = st.lists(st.tuples(EDITS, st.integers(0, 6)), min_size=1, max_size=4)
"""What was changed before it, and how many rows it read; the last one reads all."""


class World(Log):
    """A log that can be read again from anywhere, by a worker that knows what was seen until there."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[RawRecord] = []
        self.seen: list[Seen] = [Seen()]

    def put_whole(self, number: int, sent: dict[str, Any]) -> None:
        self.offset += 1
        self.records.append(raw(self.offset, {"id": number}, sent))
        self.take(self.records[-1])
        self.seen.append(self.resolver.seen)

    def restart(self, at: int) -> None:
        """What stands behind `at` is read again; its writes are there or not, whichever."""
        at = min(at, len(self.records))
        self.resolver = Resolver(TABLE, SOURCE, 0, self.state.truncate, seen=self.seen[at])
        for record in self.records[at:]:
            self.take(record)


def edit(rows: dict[int, str], edits: Edits, lsn: int) -> None:
    for number, written in edits:
        if written:
            rows[number] = f"{number} at {lsn}"
        else:
            rows.pop(number, None)


@given(ATTEMPTS, EDITS, st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=3))
@settings(max_examples=200, deadline=None)
def test_the_last_attempt_is_the_truth(
    attempts: list[tuple[Edits, int]], streamed: Edits, restarts: list[tuple[int, int]]
) -> None:
    """Rows are sent twice by the producer, and read twice by a worker that was killed."""
    world, rows = World(), dict.fromkeys(range(4), "old")
    planned = dict(restarts)
    for turn, (edits, count) in enumerate(attempts):
        lsn = 1_000 * (turn + 1)
        edit(rows, edits, lsn)
        last = turn == len(attempts) - 1
        read = sorted(rows.items()) if last else sorted(rows.items())[:count]
        for place, (number, text) in enumerate([*read[: count % 3], *read]):
            sent = value("r", {"id": number, "text": text}, (None, lsn))
            mark = "first" if place in (0, count % 3) else "true"
            sent["source"] |= {"snapshot": mark, "name": "shop"}
            world.put_whole(number, sent)
            if world.offset in planned:
                world.restart(planned[world.offset])
        if last and rows:  # an empty table sends nothing that could tell of it
            assert world.live() == {str(number): text for number, text in rows.items()}
    if not rows:
        return
    lsn = 1_000 * (len(attempts) + 1)
    for place, (number, written) in enumerate(streamed):
        edit(rows, [(number, written)], lsn + place)
        after = {"id": number, "text": rows[number]} if written else None
        world.put_whole(number, value("u" if written else "d", after, (lsn, lsn + place)))
        assert world.live() == {str(number): text for number, text in rows.items()}
    world.restart(0)
    assert world.live() == {str(number): text for number, text in rows.items()}
