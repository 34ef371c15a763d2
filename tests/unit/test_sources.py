"""What stops a worker, and what does not."""

import dataclasses

import pytest

from core.errors import ConfigurationError
from ingest.sources import Observed, SourceRecord, decode_source, doubt, encode_source, resynced, settle

FOUND = Observed("shop.public.a", "id1", 1, start=0, end=10, committed=10, state_empty=False)
KNOWN = SourceRecord("shop.public.a", "id1", 1, epoch=2, server="7", timeline=1)


def test_a_first_start_opens_epoch_0() -> None:
    fresh = dataclasses.replace(FOUND, committed=None, state_empty=True)
    assert settle(None, fresh).epoch == 0


def test_the_topic_we_know_goes_on_in_its_epoch() -> None:
    assert settle(KNOWN, FOUND) == KNOWN
    assert settle(KNOWN, dataclasses.replace(FOUND, committed=None, end=0, state_empty=True)) == KNOWN


@pytest.mark.parametrize(
    ("known", "change"),
    [
        (KNOWN, {"topic_id": "id2"}),
        (KNOWN, {"server": "8"}),
        (dataclasses.replace(KNOWN, timeline=3), {"timeline": 2}),
        (KNOWN, {"start": 11, "end": 20}),
        (KNOWN, {"committed": 11}),
        (KNOWN, {"state_empty": True}),
        (None, {}),
        (None, {"committed": None}),
        (None, {"committed": None, "state_empty": True, "start": 3}),
    ],
)
def test_going_on_would_lose_rows(known: SourceRecord | None, change: dict[str, object]) -> None:
    found = dataclasses.replace(FOUND, **change)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"tailrace resync shop\.public\.a"):
        settle(known, found)
    assert resynced(known, found, 0).epoch == (known.epoch + 1 if known else 1)


def test_a_raw_topic_of_several_partitions_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="has 3 partitions"):
        settle(KNOWN, dataclasses.replace(FOUND, partitions=3))


def test_a_record_is_read_back_and_a_newer_one_refused() -> None:
    assert decode_source(encode_source(KNOWN)[1]) == KNOWN
    newer = encode_source(KNOWN)[1].replace(b'"f":1', b'"f":9')
    with pytest.raises(ConfigurationError, match="format 9 is newer"):
        decode_source(newer)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        decode_source(b"{}")


def test_an_interrupted_resync_stops_every_worker_until_it_is_run_again() -> None:
    begun = dataclasses.replace(KNOWN, resyncing=True)
    assert decode_source(encode_source(begun)[1]) == begun
    with pytest.raises(ConfigurationError, match=r"interrupted.*tailrace resync shop\.public\.a"):
        settle(begun, FOUND)
    again = resynced(begun, FOUND, 2)
    assert (again.epoch, again.resyncing) == (3, False)
    assert settle(again, FOUND) == again


def test_a_failover_is_doubted_once_and_goes_on() -> None:
    found = dataclasses.replace(FOUND, server="7", timeline=2)
    assert settle(KNOWN, found) == dataclasses.replace(KNOWN, timeline=2)
    said = doubt(KNOWN, found)
    assert said is not None
    assert "failed over or restored (timeline 1, now 2)" in said
    assert doubt(settle(KNOWN, found), found) is None
    assert doubt(None, found) is None


def test_what_a_database_does_not_say_is_neither_doubted_nor_forgotten() -> None:
    assert settle(KNOWN, FOUND) == KNOWN
    assert doubt(KNOWN, FOUND) is None
    nameless = dataclasses.replace(KNOWN, server="", timeline=0)
    named = dataclasses.replace(FOUND, server="7", timeline=1)
    assert settle(nameless, named) == KNOWN
    assert doubt(nameless, named) is None


@pytest.mark.parametrize(("known", "written", "epoch"), [(None, 4, 5), (KNOWN, 4, 5), (KNOWN, 1, 3)])
def test_a_new_epoch_is_above_all_that_was_ever_written(
    known: SourceRecord | None, written: int, epoch: int
) -> None:
    """The sources topic may have been lost, and the state topic not."""
    assert resynced(known, FOUND, written).epoch == epoch
