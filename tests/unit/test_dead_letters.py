"""What stands in the dead-letter topic: enough to understand, and to send the record again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ContractError, DecodeError, LimitError
from core.metrics import DEAD_LETTERS
from ingest.dead_letters import MOST_BYTES, MOST_HEADERS, DeadLetter, note
from ingest.record import RawRecord

BROKER_BYTES = 1_048_588  # a broker's default max.message.bytes
OVERHEAD = 100  # of a batch of one record

Headers = tuple[tuple[str, bytes], ...]


def record(key: bytes | None = b"k", value: bytes | None = b"v", headers: Headers = ()) -> RawRecord:
    return RawRecord("shop.public.articles", 0, 42, 1_700_000_000_123, key, value, headers)


def letter(of: RawRecord, error: DecodeError | ContractError | LimitError | None = None) -> DeadLetter:
    return DeadLetter(of, "resolve", error or DecodeError("no JSON"))


def size(key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> int:
    return len(key or b"") + len(value or b"") + sum(len(n.encode()) + len(v) + 4 for n, v in headers)


def test_says_where_it_stood_why_and_keeps_the_bytes() -> None:
    key, value, headers = letter(record(value=b"\xff\xfe{", headers=(("trace", b"\x00\xff"),))).encode()
    assert (key, value) == (b"k", b"\xff\xfe{")
    assert dict(headers) == {
        "tailrace.topic": b"shop.public.articles",
        "tailrace.partition": b"0",
        "tailrace.offset": b"42",
        "tailrace.timestamp-ms": b"1700000000123",
        "tailrace.stage": b"resolve",
        "tailrace.error": b"DecodeError",
        "tailrace.message": b"no JSON",
        "tailrace.attempts": b"1",
        "tailrace.no-value": b"0",
        "trace": b"\x00\xff",
    }


@pytest.mark.parametrize("value", [None, b"", b"null"])
def test_a_missing_value_is_not_an_empty_one(value: bytes | None) -> None:
    _, kept, headers = letter(record(value=value)).encode()
    assert kept == value
    assert dict(headers)["tailrace.no-value"] == (b"1" if value is None else b"0")


def test_a_record_cannot_speak_in_our_name() -> None:
    _, _, headers = letter(record(headers=(("tailrace.topic", b"another"),))).encode()
    names = [name for name, _ in headers]
    assert len(names) == len(set(names))
    assert dict(headers)["tailrace.topic"] == b"shop.public.articles"
    assert dict(headers)["tailrace.original.tailrace.topic"] == b"another"


def test_ten_thousand_headers_are_cut_to_the_first() -> None:
    many = tuple((f"h{n}", b"x") for n in range(10_000))
    _, _, headers = letter(record(headers=many)).encode()
    assert [pair for pair in headers if not pair[0].startswith("tailrace.")] == list(many[:MOST_HEADERS])


def test_a_value_past_the_limit_is_cut_and_says_how_long_it_was() -> None:
    _, value, headers = letter(record(value=b"x" * 1_040_000)).encode()
    assert value is not None
    assert len(value) < MOST_BYTES
    assert dict(headers)["tailrace.value-bytes"] == b"1040000"


def test_a_key_past_the_limit_is_left_out() -> None:
    key, value, headers = letter(record(key=b"k" * 200_000)).encode()
    assert (key, value) == (None, b"v")
    assert dict(headers)["tailrace.key-bytes"] == b"200000"


@settings(max_examples=60, deadline=None)
@given(
    key=st.none() | st.integers(0, 1_040_000).map(bytes),
    value=st.none() | st.integers(0, 1_040_000).map(bytes),
    headers=st.lists(st.tuples(st.text(max_size=200), st.integers(0, 30_000).map(bytes)), max_size=200).map(
        tuple
    ),
    message=st.text(max_size=3000),
)
def test_every_letter_fits_into_a_topic(
    key: bytes | None, value: bytes | None, headers: Headers, message: str
) -> None:
    made = letter(record(key, value, headers), ContractError(message)).encode()
    assert size(*made) + OVERHEAD < BROKER_BYTES


def test_is_counted_by_stage_and_error() -> None:
    counter = DEAD_LETTERS.labels("index", "LimitError")
    before = counter._value.get()
    note([DeadLetter(record(), "index", LimitError("too long"))] * 2)
    assert counter._value.get() == before + 2
