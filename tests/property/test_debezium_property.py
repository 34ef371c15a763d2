"""Any bytes give an event or a typed error, and what is said of rows comes out unchanged."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import PermanentError
from core.settings import Source
from ingest.debezium import Decoder, RowChange
from ingest.record import RawRecord

PLAIN = Decoder(Source(prefix="shop", tables=["public.notes"]), "public.notes")
WRAPPED = Decoder(Source(prefix="shop", tables=["public.notes"], schemas=True), "public.notes")

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
JSON = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)

# Fields of an envelope, holding anything: what a broken or hostile producer would come up with.
ANYTHING = (
    JSON
    | st.integers()
    | st.sampled_from(["c", "u", "d", "r", "t", "m", "BEGIN", '[null,"1"]', "binlog.1", "mariadb"])
)
WHERE = st.dictionaries(
    st.sampled_from(
        [
            "connector",
            "schema",
            "table",
            "db",
            "sequence",
            "lsn",
            "file",
            "pos",
            "row",
            "gtid",
            "ts_ms",
            "snapshot",
            "server_id",
            "name",
        ]
    ),
    ANYTHING,
)
HOSTILE = st.dictionaries(
    st.sampled_from(
        [
            "op",
            "after",
            "before",
            "source",
            "status",
            "id",
            "ddl",
            "databaseName",
            "ts_ms",
            "schema",
            "payload",
        ]
    ),
    ANYTHING | WHERE,
)
KEYS = (
    st.none()
    | st.binary(max_size=20)
    | st.dictionaries(TEXT, ANYTHING, max_size=2).map(lambda key: json.dumps(key).encode())
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["__debezium.newkey", "__debezium.oldkey", "traceparent", "Faust-x"]),
        st.binary(max_size=9),
    ),
    max_size=2,
).map(tuple)


def decode_or_refuse(
    key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...] = ()
) -> None:
    for decoder in (PLAIN, WRAPPED):
        record = RawRecord("t", 0, 0, 0, key, value, headers)
        try:
            decoder.decode(record)
        except PermanentError as error:
            assert str(error)  # noqa: PT017 - any other exception fails the test
        decoder.keys_of(record)


@given(KEYS, st.none() | st.binary(max_size=60), HEADERS)
@settings(max_examples=300)
def test_any_bytes_give_an_event_or_a_typed_error(
    key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...]
) -> None:
    decode_or_refuse(key, value, headers)


@given(KEYS, JSON | HOSTILE, st.booleans())
@settings(max_examples=400)
def test_any_json_gives_an_event_or_a_typed_error(key: bytes | None, value: object, ascii_only: bool) -> None:
    sent = json.dumps(value, ensure_ascii=ascii_only).encode()
    decode_or_refuse(key, sent)
    decode_or_refuse(key, b'{"schema":{"type":"struct"},"payload":' + sent + b"}")


@given(st.data())
@settings(max_examples=200)
def test_a_cut_or_flipped_envelope_gives_an_event_or_a_typed_error(data: st.DataObject) -> None:
    row = {"id": 1, "a": "x\\ud800 \ud83d\ude00", "n": [1, {"b": None}]}
    where = {
        "connector": "postgresql",
        "schema": "public",
        "table": "notes",
        "lsn": 2,
        "sequence": '["1","2"]',
    }
    sent = bytearray(json.dumps({"op": "c", "after": row, "source": where}).encode())
    at = data.draw(st.integers(0, len(sent) - 1))
    sent[at] = data.draw(st.integers(0, 255))
    decode_or_refuse(b'{"id":1}', bytes(sent))
    decode_or_refuse(b'{"id":1}', bytes(sent[:at]))


@given(st.dictionaries(TEXT, JSON.filter(lambda value: value != ""), max_size=6), st.booleans())
@settings(max_examples=200)
def test_columns_come_out_as_they_went_in(columns: dict[str, Any], ascii_only: bool) -> None:
    columns["id"] = 1
    where = {
        "connector": "postgresql",
        "schema": "public",
        "table": "notes",
        "lsn": 2,
        "sequence": '["1","2"]',
    }
    sent = json.dumps({"op": "c", "after": columns, "source": where}, ensure_ascii=ascii_only).encode()
    event = PLAIN.decode(RawRecord("t", 0, 0, 0, b'{"id":1}', sent))
    assert isinstance(event, RowChange)
    assert json.dumps(event.columns) == json.dumps(columns)  # types too: 1 is not 1.0, nor true
    assert not event.absent
