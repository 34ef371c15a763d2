"""What the generations topic says, whatever was written into it and whatever compaction has left of it."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest

from core.settings import DocumentSettings, HashingEncoderSettings
from ingest.generations import Frozen, Generation, Pace, Record, dropped, encode_record
from ingest.registry import RegistryTail

FROZEN = Frozen(
    DocumentSettings(table="shop.public.articles", text="{{ body }}"),
    HashingEncoderSettings(),
    "hashing-8",
    8,
)
ONE = Generation("articles", 1, "running", FROZEN)
PACED = replace(ONE, pace=Pace(rate=5.0))


def read(records: Iterable[tuple[bytes, bytes]]) -> RegistryTail:
    tail = RegistryTail("shop", [])
    for offset, (key, value) in enumerate(records):
        tail._take(offset, key, value)
    return tail


def statuses(tail: RegistryTail) -> list[str]:
    return [one.status for one in tail._records.values() if isinstance(one, Generation)]


def compacted(records: Iterable[tuple[bytes, bytes]]) -> Mapping[bytes, bytes]:
    return dict(records)


@pytest.mark.parametrize("late", [[PACED], [ONE, PACED], [PACED, dropped(ONE), PACED]])
def test_a_drop_that_a_late_record_hides_is_to_be_written_again(
    late: list[Record],
) -> None:
    """A command gave it another pace, was overtaken by its drop, and killed before it took that back."""
    log = [encode_record(one) for one in (ONE, dropped(ONE), *late)]
    tail = read(log)
    assert (statuses(tail), tail.undone) == (["dropped"], (dropped(ONE),))
    log += [encode_record(one) for one in tail.undone]
    assert (statuses(read(log)), read(log).undone) == (["dropped"], ())
    assert statuses(read(compacted(log).items())) == ["dropped"]


def test_of_a_drop_that_stands_last_nothing_is_to_be_written() -> None:
    for log in ([ONE, dropped(ONE)], [ONE, PACED], [ONE, dropped(ONE), PACED, dropped(ONE)]):
        assert read(map(encode_record, log)).undone == ()
