"""What a resolve agent goes on from after a crash or a restart: progress, and a snapshot that began anew."""

from collections.abc import Callable, Sequence

import pytest

from core.errors import TransientError
from core.state import Progress, Truncate
from ingest.state_store import EncodedRow
from tests.unit.resolve_agent_world import World, change, snapshot_row


def test_progress_after_a_torn_write_says_no_more_than_was_written() -> None:
    """A crash in a write: one partition has the batch to its end, the other only the one before."""
    world = World()
    old, new = Progress(9, "0/9", 9_000), Progress(99, "0/63", 99_000)
    world.store.table.progress = {0: old, 1: new}
    world.offset = 10
    world.take(change("c", 10, {"id": 1}))
    first = world.store.table.progress[0]
    assert (first.version, first.position, first.committed_at) == (10, "0/A", 10_000)
    # Once the log has been read to where the other one was, what it says holds again.
    world.offset = 99
    world.take(b'{"schema": null}')
    again = world.store.table.progress[0]
    assert (again.version, again.position, again.committed_at) == (99, "0/63", 99_000)


def test_progress_that_one_partition_never_had_is_nothing() -> None:
    world = World()
    world.store.table.progress = {1: Progress(99, "0/63", 99_000)}
    world.take(b'{"op": "m"}')
    assert (world.store.table.progress[0].position, world.store.table.progress[0].committed_at) == ("", 0)


def test_a_snapshot_that_begins_anew_is_known_after_a_restart() -> None:
    world = World()
    for number in (1, 2):
        world.take(snapshot_row(number, 100), key={"id": number})
        world.restart()
    for number in (2, 3):
        world.take(snapshot_row(number, 200), key={"id": number})
        world.restart()
    rows = [world.row({"id": number}) for number in (1, 2, 3)]
    assert [row is not None and not row.deleted for row in rows] == [False, True, True]
    assert [world.store.table.dead_below(partition) for partition in range(2)] == [2, 2]


@pytest.mark.parametrize("write", [1, 2])
def test_a_snapshot_that_begins_anew_survives_a_crash_in_its_first_write(
    write: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first row may be there without its truncate, or its truncate without progress."""
    world = World()
    world.take(snapshot_row(1, 100))
    whole = world.store.write
    writes = 0

    async def torn(
        rows: Sequence[EncodedRow],
        truncate: Truncate | None,
        progress: Progress | None,
        check_owner: Callable[[], None],
    ) -> None:
        nonlocal writes
        writes += 1
        if writes == write:
            await whole(rows, None, None, check_owner)
            raise TransientError("the broker went away")
        await whole(rows, truncate, progress, check_owner)

    monkeypatch.setattr(world.store, "write", torn)
    with pytest.raises(TransientError):
        world.take(snapshot_row(2, 200), key={"id": 2})
    world.restart()
    world.take(snapshot_row(2, 200), key={"id": 2})
    first, second = world.row({"id": 1}), world.row({"id": 2})
    assert first is not None
    assert second is not None
    assert (first.deleted, second.deleted) == (True, False)
    assert [world.store.table.dead_below(partition) for partition in range(2)] == [1, 1]
