"""What doctor says of the index's disk."""

from pathlib import Path

from embed.indexes.room import RESERVE
from tailrace.doctor import index_room


def test_a_disk_that_indexing_waits_for_fails_and_says_so() -> None:
    full = index_room(Path("/data/index"), RESERVE - 1)
    assert (full.status, full.name) == ("fail", "index room")
    assert full.what == (
        "the disk of /data/index has 191 MB free and a write needs 192: indexing waits, and nothing is lost"
    )
    assert index_room(Path("/data/index"), RESERVE).status == "ok"
