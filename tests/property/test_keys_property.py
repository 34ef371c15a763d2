"""A canonical key is injective, and both spellings are read back as what was written."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ContractError
from core.keys import KeyValue, RowKey

VALUES = st.one_of(
    st.text(max_size=12).filter(lambda text: "\x00" not in text),
    st.integers(-(2**63), 2**64),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
)
KEYS = st.dictionaries(st.text("abc,=", min_size=1, max_size=3), VALUES, min_size=1, max_size=3)


def _typed(key: dict[str, KeyValue]) -> dict[str, tuple[type, str]]:
    return {name: (type(value), repr(value)) for name, value in key.items()}


@given(KEYS, KEYS)
def test_different_typed_keys_have_different_bytes(
    one: dict[str, KeyValue], two: dict[str, KeyValue]
) -> None:
    same = RowKey.of(one).canonical == RowKey.of(two).canonical
    assert same == (_typed(one) == _typed(two))


@given(KEYS)
def test_canonical_bytes_are_read_back(key: dict[str, KeyValue]) -> None:
    made = RowKey.of(key)
    again = RowKey.from_canonical(made.canonical)
    assert _typed(dict(again.columns)) == _typed(key)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), VALUES, min_size=1, max_size=3))
@settings(max_examples=300)
def test_the_text_of_a_key_is_read_back(key: dict[str, KeyValue]) -> None:
    made = RowKey.of(key)
    assert RowKey.parse(made.text, list(key)).canonical == made.canonical


@given(st.binary(max_size=40))
def test_any_bytes_are_a_key_or_a_contract_error(data: bytes) -> None:
    try:
        key = RowKey.from_canonical(data)
    except ContractError:
        return
    assert RowKey.from_canonical(key.canonical) == key


@pytest.mark.parametrize("text", ["[" * 3000, '{"a":' * 3000, "9" * 5000, '"' + "x" * 5000, "-" + "1" * 400])
def test_a_text_of_any_depth_and_length_is_read_as_a_key_or_refused(text: str) -> None:
    for names in (["id"], ["id", "tenant"]):
        for spelled in (text, f"id={text},tenant=1"):
            try:
                made = RowKey.parse(spelled, names)
            except ContractError:
                continue
            assert RowKey.parse(made.text, names) == made
    assert RowKey.parse("[" * 3000, ["id"]) == RowKey.of({"id": "[" * 3000})


@pytest.mark.parametrize("text", [r'"\ud800"', r'"a\udfffb"', "\ud800"])
def test_a_text_that_is_no_unicode_is_no_key(text: str) -> None:
    for names, spelled in ((["id"], text), (["id", "tenant"], f"id={text},tenant=1")):
        with pytest.raises(ContractError, match="no key"):
            RowKey.parse(spelled, names)


@given(st.text('0"\\ud8c=,ib\ud800', max_size=12), st.sampled_from([["b"], ["b", "i"]]))
@settings(max_examples=300)
def test_any_text_is_a_key_that_has_bytes_or_is_refused(text: str, names: list[str]) -> None:
    try:
        key = RowKey.parse(text, names)
    except ContractError as error:
        str(error).encode()
        return
    assert RowKey.from_canonical(key.canonical) == key


def test_canonical_bytes_of_endless_depth_are_refused() -> None:
    data = b"k" + b"".join(len(part).to_bytes(4, "big") + part for part in (b"id", b"f" + b"[" * 3000))
    with pytest.raises(ContractError):
        RowKey.from_canonical(data)
