"""Spellings of source positions, their order within a line, and what the connector's offsets say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.positions import committed_gtid, committed_position
from core.errors import ContractError
from core.positions import describe_line, format_lsn, parse_position, reaches, same_line

DOMAINS = st.integers(0, 2**32 - 1)
NUMBERS = st.integers(0, 2**64 - 1)


@given(NUMBERS)
def test_an_lsn_is_read_as_it_is_written(number: int) -> None:
    assert parse_position(format_lsn(number)) == parse_position(str(number)) == number


@given(DOMAINS, DOMAINS, NUMBERS, NUMBERS)
def test_gtids_of_a_domain_order_by_their_number_whatever_the_server(
    domain: int, server: int, one: int, other: int
) -> None:
    a, b = parse_position(f"{domain}-{server}-{one}"), parse_position(f"{domain}-7-{other}")
    assert same_line(a, b)
    assert reaches(a, b) == (one >= other)


@given(DOMAINS, DOMAINS, NUMBERS, NUMBERS)
def test_positions_of_two_lines_never_reach_each_other(d1: int, d2: int, one: int, other: int) -> None:
    gtid, lsn = parse_position(f"{d1}-1-{one}"), parse_position(str(other))
    assert not reaches(gtid, lsn)
    assert not reaches(lsn, gtid)
    second = parse_position(f"{d2}-1-{other}")
    assert reaches(gtid, second) or reaches(second, gtid) if d1 == d2 else not same_line(gtid, second)
    assert not reaches(-1, lsn)
    assert not reaches(-1, gtid)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0-1-5,1-1-6", "several GTID domains"),
        ("", "is no position"),
        ("x", "is no position"),
        ("0-1", "is no position"),
        ("0-1-", "is no position"),
        ("0-1-5,", "is no position"),
        ("16/B374D848/1", "is no position"),
        ("٣", "is no position"),
        ("18446744073709551616", "more than 64 bits"),
        ("0-1-18446744073709551616", "more than 64 bits"),
    ],
)
def test_what_has_no_order_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ContractError, match=why):
        parse_position(text)


def test_a_line_is_named_for_people() -> None:
    assert describe_line(parse_position("16/B374D848")) == "an LSN"
    assert describe_line(parse_position("3-4711-42")) == "of GTID domain 3"


def offsets(**offset: object) -> list[dict[str, object]]:
    return [{"partition": {"server": "shop"}, "offset": offset}]


def test_the_offset_of_a_running_mariadb_connector_is_a_position() -> None:
    inside = offsets(file="binlog.000001", pos=488999, gtids="0-4711-16", row=1, server_id=4711, event=2)
    assert committed_position(inside) == "0-4711-16"
    assert committed_position(offsets(gtids="0-4711-16,1-4-2")) == "0-4711-16,1-4-2"


@pytest.mark.parametrize(
    "found",
    [
        offsets(file="binlog.000001", pos=4, gtids="0-4711-18", snapshot="INITIAL"),
        offsets(gtids="0-4711-18", snapshot="INITIAL", snapshot_completed=False),
        offsets(gtids=""),
        offsets(gtids=None),
        offsets(file="binlog.000001", pos=4),
        [],
    ],
)
def test_a_snapshot_that_runs_and_an_empty_offset_are_no_position(found: list[dict[str, object]]) -> None:
    assert committed_position(found) is None
    assert committed_gtid(found) is None


def test_a_finished_snapshot_is_a_position() -> None:
    done = offsets(gtids="0-4711-18", snapshot="INITIAL", snapshot_completed=True)
    assert committed_position(done) == "0-4711-18"


def test_the_offset_of_a_postgres_connector_stays_an_lsn() -> None:
    assert committed_position(offsets(lsn=5, lsn_commit=2**32 + 255)) == "1/FF"
    assert committed_position(offsets(lsn=5)) is None
