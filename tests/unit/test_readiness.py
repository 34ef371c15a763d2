"""Ready means that everything of the start can be found; loading says how far."""

from core.keys import TableId
from core.version import version
from retrieve.watermarks import Mark
from tailrace.readiness import judge

ARTICLES, ORDERS = TableId("shop", "public.articles"), TableId("shop", "public.orders")


def test_empty_topics_are_ready() -> None:
    assert judge({ARTICLES: (0, 0)}, {}, snapshotting=[]).ready


def test_a_running_snapshot_is_loading_however_far() -> None:
    covered = {ARTICLES: Mark(version(0, 9), 0)}
    found = judge({ARTICLES: (0, 10)}, covered, snapshotting=["shop"])
    assert (found.ready, found.status) == (False, "loading")
    assert "snapshot of shop" in found.message


def test_every_table_must_be_covered_to_its_end() -> None:
    covered = {ARTICLES: Mark(version(1, 9), 0), ORDERS: Mark(version(1, 3), 0)}
    targets = {ARTICLES: (1, 10), ORDERS: (1, 5)}
    found = judge(targets, covered, snapshotting=[])
    assert not found.ready
    assert found.progress["read"] == 14
    assert found.progress["total"] == 15
    covered[ORDERS] = Mark(version(1, 4), 0)
    assert judge(targets, covered, snapshotting=[]).ready


def test_what_an_older_epoch_covered_counts_for_nothing() -> None:
    covered = {ARTICLES: Mark(version(0, 99), 0)}
    found = judge({ARTICLES: (1, 10)}, covered, snapshotting=[])
    assert (found.ready, found.progress["read"]) == (False, 0)
