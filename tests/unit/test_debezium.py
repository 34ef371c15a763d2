"""Each shape of envelope gives the event it stands for; each poison its class of error."""

import dataclasses
import json
import uuid
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from core.errors import ContractError, DecodeError, LimitError, PermanentError
from core.keys import RowKey
from core.settings import Source
from ingest.debezium import MAX_HEADERS, MAX_VALUE_BYTES, Decoder, Ignored, RowChange
from ingest.record import RawRecord

CASES = sorted((Path(__file__).parent / "envelopes").glob("*.json"))
TOKEN = "__debezium_unavailable_value"  # noqa: S105 - Debezium's default placeholder


def encoded(value: object) -> bytes | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def raw(key: bytes | None, value: bytes | None, *headers: tuple[str, bytes]) -> RawRecord:
    return RawRecord("shop.public.notes", 0, 5, 0, key, value, headers)


def decoder(**settings: Any) -> Decoder:
    return Decoder(Source(prefix="shop", tables=["public.notes"], **settings), "public.notes")


def envelope(after: str, op: str = "c", source: str = "") -> bytes:
    where = (
        '{"connector":"postgresql","schema":"public","table":"notes","ts_ms":1,"lsn":20,'
        '"sequence":"[\\"10\\",\\"20\\"]"}'
    )
    return f'{{"before":null,"after":{after},"source":{source or where},"op":"{op}"}}'.encode()


def decoded(after: str, **settings: Any) -> RowChange:
    event = decoder(**settings).decode(raw(b'{"id":1}', envelope(after)))
    assert isinstance(event, RowChange)
    return event


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_every_envelope_is_its_event(path: Path) -> None:
    case = json.loads(path.read_text())
    headers = [(name, encoded(value) or b"") for name, value in case["headers"].items()]
    event = decoder(**case["source"]).decode(raw(encoded(case["key"]), encoded(case["value"]), *headers))
    expected = case["event"]
    assert type(event).__name__ == expected.pop("type")
    for name in (field.name for field in dataclasses.fields(event)):
        found = getattr(event, name)
        found = found.text if isinstance(found, RowKey) else found
        found = list(found) if isinstance(found, tuple) else found
        found = sorted(found) if isinstance(found, frozenset) else found
        default = {"absent": [], "repaired": 0}.get(name)
        assert found == expected.get(name, default), name


def test_a_typed_default_placeholder_is_text_where_the_connector_has_its_own() -> None:
    event = decoded(f'{{"id":1,"note":"{TOKEN}"}}', placeholder="__uv_1__")
    assert event.columns == {"id": 1, "note": TOKEN}
    assert not event.absent


@pytest.mark.parametrize("token", [TOKEN, "__uv_7f3a91c2__"])
def test_unchanged_long_values_are_absent_in_every_shape(token: str) -> None:
    codes = json.dumps([ord(letter) for letter in token])
    name_uuid = uuid.UUID(bytes=md5(token.encode(), usedforsecurity=False).digest(), version=3)
    base64 = {TOKEN: "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="}.get(token, "X191dl83ZjNhOTFjMl9f")
    shapes = {
        "text": f'"{token}"',
        "bytea": f'"{base64}"',
        "bytea_hex": f'"{token.encode().hex()}"',
        "text_array": f'["{token}"]',
        "bytea_array": f'["{base64}"]',
        "int_array": codes,
        "uuid_array": f'["{name_uuid}"]',
        "hstore": f'"{{\\"{token}\\":\\"{token}\\"}}"',
        "hstore_map": f'{{"{token}":"{token}"}}',
    }
    after = ",".join(f'"{name}":{shape}' for name, shape in shapes.items())
    event = decoded(f'{{"id":1,{after}}}', placeholder=token)
    assert event.absent == set(shapes)
    assert event.columns == {"id": 1}
    other = decoded(f'{{"id":1,{after}}}', placeholder="__another__")
    assert not other.absent
    if token == TOKEN:  # as a connector really sent it
        assert str(name_uuid) == "b68a35a7-17ad-35b3-af2a-ae46edb4545a"


GOOD = envelope('{"id":1}')
KEY = b'{"id":1}'
DECODE: dict[str, bytes] = {
    "01 empty": b"",
    "02 the text null": b"null",
    "03 a number": b"42",
    "04 a list": b"[]",
    "05 cut": b'{"op":"c","after":{"id":1',
    "06 trailing": GOOD + b"x",
    "07 byte order mark": b"\xef\xbb\xbf" + GOOD,
    "08 UTF-16": GOOD.decode().encode("utf-16"),
    "09 no UTF-8": b'{"a":"\xff\xfe"}',
    "09 no UTF-8 in a row": envelope('{"id":1,"a":"?"}').replace(b"?", b"\xff\xfe"),
    "12 U+0000": envelope('{"id":1,"a":"\\u0000"}'),
    "12 U+0000 in an array": envelope('{"id":1,"a":["x","\\u0000"]}'),
    "12 U+0000 in a name": envelope('{"id":1,"\\u0000":1}'),
    "13 NaN": b'{"f8":NaN}',
    "13 NaN in a row": envelope('{"id":1,"f8":NaN}'),
    "14 1e999": b'{"a":1e999}',
    "14 1e999 in a row": envelope('{"id":1,"a":1e999}'),
    "15 5,000 digits": b'{"a":' + b"9" * 5_000 + b"}",
    "15 5,000 digits in a row": envelope('{"id":1,"a":' + "9" * 5_000 + "}"),
    "16 40 digits": b'{"a":' + b"1" * 40 + b"}",
    "16 40 digits in a row": envelope('{"id":1,"a":' + "1" * 40 + "}"),
    "16 40 digits in an array": envelope('{"id":1,"a":[1,' + "1" * 40 + "]}"),
    "17 deep": b"[" * 100_000,
    "17 deep in a row": envelope('{"id":1,"a":' + "[" * 100_000 + "]" * 100_000 + "}"),
    "18 Avro": b"\x00\x00\x00\x00\x01\x02\x06abc",
}
WRAPPED = b'{"schema":{"type":"struct"},"payload":' + GOOD + b"}"
CONTRACT: dict[str, tuple[bytes | None, bytes | None]] = {
    "19 with schema": (KEY, WRAPPED),
    "19 null schema": (KEY, b'{"schema":null,"payload":' + GOOD + b"}"),
    "19 key with schema": (b'{"schema":{"type":"struct"},"payload":{"id":1}}', GOOD),
    "19 columns schema and payload, flattened": (KEY, b'{"schema":"a","payload":"b"}'),
    "20 flattened": (KEY, b'{"id":1,"__deleted":"true"}'),
    "21 op x": (KEY, envelope('{"id":1}', op="x")),
    "21 no op": (KEY, b'{"before":null,"after":{"id":1},"source":{}}'),
    "21 no source": (KEY, b'{"after":{"id":1},"op":"c"}'),
    "21 op is a number": (KEY, b'{"after":{"id":1},"op":1,"source":{}}'),
    "22 c without after": (KEY, envelope("null")),
    "22 after is text": (KEY, envelope('"{}"')),
    "22 d without key": (None, envelope("null", op="d")),
    "23 c without key": (None, GOOD),
    "23 nothing at all": (None, None),
    "24 key of other columns": (b'{"nr":1}', GOOD),
    "24 key of another value": (b'{"id":2}', GOOD),
    "24 key of another type": (b'{"id":"1"}', GOOD),
    "24 key true is not 1": (b'{"id":true}', GOOD),
    "24 key null": (b'{"id":null}', envelope('{"id":null}')),
    "24 key nested": (b'{"id":{"scale":2,"value":"AQ=="}}', envelope('{"id":{"scale":2,"value":"AQ=="}}')),
    "24 key of no columns": (b"{}", GOOD),
    "24 key no object": (b"1", GOOD),
    "29 a call of Faust": (KEY, b'{"__faust":{"ns":"x"}}'),
    "another table": (KEY, GOOD.replace(b"notes", b"other")),
    "no pair of positions": (KEY, GOOD.replace(rb"[\"10\",\"20\"]", b"{}")),
    "positions past 63 bits": (KEY, GOOD.replace(rb"\"20\"", rb"\"18446744073709551615\"")),
}


@pytest.mark.parametrize("value", DECODE.values(), ids=DECODE.keys())
def test_unreadable_values_are_decode_errors(value: bytes) -> None:
    with pytest.raises(DecodeError) as raised:
        decoder().decode(raw(KEY, value))
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    "key", [b"", b"x", b"\xff", b'{"id":"\\ud800"}', b'{"id":"\\u0000"}', b'{"id":NaN}', b"[" * 60_000]
)
def test_unreadable_keys_are_decode_errors(key: bytes) -> None:
    with pytest.raises(DecodeError):
        decoder().decode(raw(key, GOOD))


@pytest.mark.parametrize(("key", "value"), CONTRACT.values(), ids=CONTRACT.keys())
def test_readable_values_that_break_the_rules_are_contract_errors(
    key: bytes | None, value: bytes | None
) -> None:
    with pytest.raises(ContractError):
        decoder().decode(raw(key, value))


@pytest.mark.parametrize(
    "value",
    [GOOD, b'{"ts_ms":1}', b'{"schema":{"fields":[]},"payload":{}}', b'{"schema":null,"payload":null}'],
)
def test_records_without_schema_are_refused_where_schemas_are_promised(value: bytes) -> None:
    with pytest.raises(ContractError):
        decoder(schemas=True).decode(raw(KEY, value))


def test_no_integer_ever_becomes_a_float() -> None:
    event = decoded('{"id":1,"a":18446744073709551615,"b":-9223372036854775808,"c":9007199254740993}')
    assert event.columns == {"id": 1, "a": 2**64 - 1, "b": -(2**63), "c": 2**53 + 1}
    with pytest.raises(DecodeError):
        decoded('{"id":1,"a":18446744073709551616}')


def test_lone_surrogates_are_replaced_and_counted() -> None:
    event = decoded('{"id":1,"a":"x\\ud800y","b":"\\udc00\\ud83d\\ude00","c":"\\\\ud800"}')
    assert event.columns == {"id": 1, "a": "x\ufffdy", "b": "\ufffd😀", "c": "\\ud800"}
    assert event.repaired == 2


def test_lone_surrogates_inside_json_columns_are_replaced_and_counted() -> None:
    inner = json.dumps(r'{"k":"\ud800","ok":"\ud83d\ude00","text":"\\ud800"}')
    event = decoded(f'{{"id":1,"js":{inner},"code":"print(\\"\\\\ud800\\")","list":[{inner}]}}')
    assert event.columns is not None
    fixed = r'{"k":"\ufffd","ok":"\ud83d\ude00","text":"\\ud800"}'
    assert event.columns["js"] == fixed
    assert event.columns["list"] == [fixed]
    assert event.columns["code"] == 'print("\\ud800")'  # prose about surrogates is no JSON
    assert event.repaired == 2


def test_an_escaped_backslash_before_u0000_is_text() -> None:
    event = decoded('{"id":1,"a":"\\\\u0000"}')
    assert event.columns == {"id": 1, "a": "\\u0000"}


def test_before_is_never_read() -> None:
    value = GOOD.replace(b'"before":null', b'"before":{"id":1,"a":"\\u0000","n":' + b"1" * 40 + b"}")
    assert isinstance(decoder().decode(raw(KEY, value)), RowChange)


def test_a_delete_is_read_however_long_the_row_was() -> None:
    before = b'"before":{"id":1,"a":"' + b"A" * MAX_VALUE_BYTES + b'"}'
    value = GOOD.replace(b'"before":null', before).replace(b'"op":"c"', b'"op":"d"')
    event = decoder().decode(raw(KEY, value))
    assert isinstance(event, RowChange)
    assert (event.op, event.columns) == ("d", None)


def test_limits() -> None:
    long = "A" * MAX_VALUE_BYTES
    with pytest.raises(LimitError):
        decoded(f'{{"id":1,"a":"{long}"}}')
    nested = "[" * 40 + "]" * 40
    with pytest.raises(LimitError):
        decoded(f'{{"id":1,"a":{nested}}}')
    with pytest.raises(LimitError):
        decoder().decode(raw(b'{"id":"' + b"k" * 70_000 + b'"}', GOOD))


@pytest.mark.parametrize(
    "headers",
    [
        [("h", b"")] * (MAX_HEADERS + 1),
        [("__debezium.newkey", b"\xff")],
        [("__debezium.oldkey", b"Struct{id=1}")],
        [("__debezium.oldkey", b"[1]")],
        [("__debezium.oldkey", b"{}")],
        [("Faust-Ag-ReplyTo", b"rag.results")],
    ],
    ids=["too many", "no UTF-8", "no JSON", "no object", "no columns", "a call"],
)
def test_hostile_headers_are_contract_errors(headers: list[tuple[str, bytes]]) -> None:
    with pytest.raises(ContractError):
        decoder().decode(raw(KEY, GOOD, *headers))


def test_foreign_headers_may_hold_any_bytes() -> None:
    assert isinstance(decoder().decode(raw(KEY, GOOD, ("traceparent", b"\xff\xfe"))), RowChange)


def test_a_key_in_a_header_may_have_its_schema() -> None:
    header = b'{"schema":{"type":"struct"},"payload":{"id":9}}'
    event = decoder().decode(raw(KEY, GOOD, ("__debezium.oldkey", header)))
    assert isinstance(event, RowChange)
    assert event.old_key == RowKey.of({"id": 9})


@pytest.mark.parametrize("spelled", ["+292278994-08-16Z", "-5877611-06-21Z"])
def test_an_infinite_date_makes_one_key_wherever_a_key_stands(spelled: str) -> None:
    """Each is the wreck of an overflow; a snapshot has one, the stream the other."""
    key = json.dumps({"until": spelled}).encode()
    headers = ("__debezium.oldkey", key), ("__debezium.newkey", key)
    event = decoder().decode(raw(key, envelope(key.decode()), *headers))
    assert isinstance(event, RowChange)
    one = RowKey.of({"until": "infinity"})
    assert (event.key, event.old_key, event.new_key) == (one, one, one)
    assert event.columns == {"until": "infinity"}
    assert decoder().keys_of(raw(key, b"\xff"))[0] == one


def test_other_keys_of_postgres_stay_as_they_came() -> None:
    """A number may be an id, and two texts must not become one key."""
    for value in ("2024-01-01T00:00:00.500Z", -622191234, True):
        key = json.dumps({"at": value}).encode()
        event = decoder().decode(raw(key, envelope(key.decode())))
        assert isinstance(event, RowChange)
        assert event.key == RowKey.of({"at": value})


def test_a_key_in_a_header_of_mariadb_is_spelled_like_the_key() -> None:
    where = '{"connector":"mariadb","db":"public","table":"notes","file":"b.1","pos":1}'
    key = b'{"at":"2024-01-01T00:00:00.500Z"}'
    event = decoder().decode(
        raw(key, envelope(key.decode(), source=where), ("__debezium.oldkey", key.replace(b"500", b"000")))
    )
    assert isinstance(event, RowChange)
    assert event.key == RowKey.of({"at": "2024-01-01T00:00:00.5Z"})
    assert event.old_key == RowKey.of({"at": "2024-01-01T00:00:00Z"})


def test_a_table_is_known_by_the_name_its_topic_has() -> None:
    source = Source(prefix="shop", tables=["public.my_notes"])
    value = GOOD.replace(b'"notes"', b'"my notes"')
    assert isinstance(Decoder(source, "public.my_notes").decode(raw(KEY, value)), RowChange)


def test_the_key_of_an_unreadable_record() -> None:
    assert set(decoder().keys_of(raw(KEY, b"\xff"))) == {RowKey.of({"id": 1})}
    key = b'{"at":"2024-01-01T00:00:00.500Z","on":true}'
    postgres = RowKey.of({"at": "2024-01-01T00:00:00.500Z", "on": True})
    mariadb = RowKey.of({"at": "2024-01-01T00:00:00.5Z", "on": 1})
    assert decoder().keys_of(raw(key, b"\xff")) == (postgres, mariadb)
    assert decoder().keys_of(raw(b"\xff", GOOD)) == ()
    assert decoder().keys_of(raw(None, GOOD)) == ()


def test_a_tombstone_is_no_empty_value() -> None:
    assert decoder().decode(raw(KEY, None)) == Ignored("tombstone")


@pytest.mark.parametrize("value", [*DECODE.values(), GOOD + b"x"])
def test_errors_do_not_quote_what_they_could_not_read(value: bytes) -> None:
    with pytest.raises(PermanentError) as raised:
        decoder().decode(raw(KEY, value.replace(b'"a"', b'"s3cret"')))
    assert "s3cret" not in str(raised.value)
