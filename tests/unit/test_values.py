"""Two spellings of one value become one, and nothing else changes."""

import pytest

from core.errors import DecodeError, LimitError
from core.state import Json
from ingest.values import (
    MAX_DEPTH,
    Placeholder,
    canonical,
    check,
    has_escaped_nul,
    mysql_value,
    repair_json_text,
    repair_surrogates,
)


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        ("+292278994-08-16Z", "infinity"),
        ("-5877611-06-21Z", "infinity"),
        (-622191234, "infinity"),
        (-2147472692, "infinity"),
        ("-290308-12-21T19:59:27.6Z", "-infinity"),
        ("2024-01-01T00:00:00.000Z", "2024-01-01T00:00:00Z"),
        ("2024-01-01T00:00:00.120Z", "2024-01-01T00:00:00.12Z"),
        ("2018-06-20T15:13:16.945104Z", "2018-06-20T15:13:16.945104Z"),
        ("-2023-01-01T00:00:00.000000Z", "-2023-01-01T00:00:00Z"),
        ("2024-02-29Z", "2024-02-29Z"),
        ("01:02:03.000Z", "01:02:03.000Z"),
        ("on 2024-01-01T00:00:00.000Z", "on 2024-01-01T00:00:00.000Z"),
        ("2024-01-01T00:00:00.000Z\n", "2024-01-01T00:00:00.000Z\n"),
        ("2024-01-01T00:00:00.Z", "2024-01-01T00:00:00.Z"),
        ("NAN", "NAN"),
        ("NaN", "NaN"),
        ("infinity", "infinity"),
        ("", ""),
        ("Z", "Z"),
        (True, True),
        (1.0, 1.0),
        (None, None),
        (["2024-01-01T00:00:00.000Z"], ["2024-01-01T00:00:00.000Z"]),
    ],
)
def test_postgres_values_have_one_spelling(spelled: Json, expected: Json) -> None:
    made = canonical(spelled)
    assert made == expected
    assert type(made) is type(expected)
    assert canonical(made) == made


def test_mariadb_booleans_are_the_numbers_they_are_stored_as() -> None:
    assert mysql_value(True) == 1
    assert type(mysql_value(True)) is int
    assert mysql_value("2024-01-01T00:00:00.000Z") == mysql_value("2024-01-01T00:00:00Z")
    assert mysql_value(-622191234) == -622191234


@pytest.mark.parametrize(
    ("data", "repaired", "count"),
    [
        (rb'"\ud800"', rb'"\ufffd"', 1),
        (rb'"\uD800x\uDC00"', rb'"\ufffdx\ufffd"', 2),
        (rb'"\ud83d\ude00"', rb'"\ud83d\ude00"', 0),
        (rb'"\ud800\ud83d\ude00"', rb'"\ufffd\ud83d\ude00"', 1),
        (rb'"\ude00\ud83d"', rb'"\ufffd\ufffd"', 2),
        (rb'"\\ud800"', rb'"\\ud800"', 0),
        (rb'"\\\ud800"', rb'"\\\ufffd"', 1),
        (rb'"\ud8"', rb'"\ud8"', 0),
    ],
)
def test_lone_surrogates_are_told_from_pairs_and_from_backslashes(
    data: bytes, repaired: bytes, count: int
) -> None:
    assert repair_surrogates(data) == (repaired, count)


def test_escaped_nul_is_told_from_a_backslash() -> None:
    assert has_escaped_nul(rb'"\u0000"')
    assert has_escaped_nul(rb'"\\\u0000"')
    assert not has_escaped_nul(rb'"\\u0000"')
    assert not has_escaped_nul(rb'"\u00001"'.replace(b"0000", b"0001"))


def test_json_text_is_repaired_only_where_it_is_json() -> None:
    assert repair_json_text('{"a":"\\ud800"}') == ('{"a":"\\ufffd"}', 1)
    assert repair_json_text(['["\\ud800"]', 1]) == (['["\\ufffd"]', 1], 1)
    for prose in ("{not json \\ud800", "[\\ud800", "\\ud800", "x"):
        assert repair_json_text(prose) == (prose, 0)
    deep = "[" * 100_000 + '"\\ud800"'
    assert repair_json_text(deep) == (deep, 0)


def test_integers_end_at_64_bits() -> None:
    check([2**64 - 1, -(2**63), {"a": [1.5, "x", None, True]}])
    for value in (2**64, -(2**63) - 1):
        with pytest.raises(DecodeError):
            check(value)
        with pytest.raises(DecodeError):
            check({"a": [value]})


def test_nesting_ends_at_its_limit() -> None:
    value: Json = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    check(value)
    with pytest.raises(LimitError):
        check([value])


def test_values_that_only_resemble_a_placeholder_are_values() -> None:
    placeholder = Placeholder("__p__")
    others: list[Json] = [
        "__p_",
        "__p__ ",
        ["__p__", "__p__"],
        [],
        {},
        {"__p__": 1},
        [95, 95, 112, 95],
        95,
        None,
    ]
    assert not any(placeholder.matches(value) for value in others)
    assert not placeholder.matches([95.0, 95.0, 112.0, 95.0, 95.0])
    assert placeholder.matches([95, 95, 112, 95, 95])
