"""A canonical key is injective, and both spellings are read back as what was written."""

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
