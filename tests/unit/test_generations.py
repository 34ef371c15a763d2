"""The records of the generations topic, and what they say together."""

import dataclasses

import msgspec
import pytest

from core.errors import ConfigurationError
from core.settings import DocumentSettings, HashingEncoderSettings
from ingest.generations import (
    Aliased,
    Frozen,
    Generation,
    Pace,
    Pointer,
    Record,
    Registry,
    Report,
    decode_registry,
    dropped,
    encode_record,
    lost,
)

SECTION = DocumentSettings(table="shop.public.articles", title="{{ title }}", text="{{ body }}")
FROZEN = Frozen(SECTION, HashingEncoderSettings(), "encoder-1", 64)
ONE = Generation("articles", 1, "running", FROZEN, 5)
TWO = Generation("articles", 2, "running", FROZEN, 6, Pace(rate=20.0, share=0.5))


def read(*records: Record) -> Registry:
    return decode_registry(dict(encode_record(one) for one in records))


def test_every_kind_of_record_is_read_back_whatever_their_order() -> None:
    pointer, aliased = Pointer("articles", 2, 1, 9), Aliased("articles", 1, 8)
    report = Report("articles", 2, "host-1", 7, embedded=3, offsets={0: 12, 3: 5}, waiting="the broker")
    records: list[Record] = [ONE, TWO, pointer, aliased, report]
    for ordered in (records, records[::-1]):
        found = read(*ordered)
        assert found == Registry((ONE, TWO), {"articles": pointer}, {"articles": aliased}, (report,))
    assert [encode_record(one)[0] for one in records] == [
        b"articles/1",
        b"articles/2",
        b"articles",
        b"articles/alias",
        b"articles/2/report/host-1",
    ]


def test_what_the_first_format_called_live_runs() -> None:
    key, value = encode_record(ONE)
    first = {**msgspec.json.decode(value), "f": 1, "status": "live"}
    del first["started_at"], first["pace"]
    found = decode_registry({key: msgspec.json.encode(first)})
    assert found.generations == (dataclasses.replace(ONE, started_at=0),)
    assert found.live("articles") == found.generations[0]


def test_a_newer_format_is_refused_by_name() -> None:
    key, value = encode_record(ONE)
    with pytest.raises(ConfigurationError, match="format 9 is newer"):
        decode_registry({key: value.replace(b'"f":2', b'"f":9')})


@pytest.mark.parametrize(
    "value",
    [b'{"f":2}', b'{"f":2,"pointer":{"document":"\xff","live":1}}', b'{"f":2,"pointer":' + b"[" * 10**5],
    ids=["nothing in it", "no text", "no end"],
)
def test_bytes_that_are_no_record_are_refused(value: bytes) -> None:
    """Whoever follows the topic goes on behind them."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        decode_registry({b"articles": value})


def test_roles_follow_the_pointer_and_nothing_else() -> None:
    three = dataclasses.replace(TWO, number=3)
    registry = read(ONE, TWO, three)
    assert [registry.role(one) for one in (ONE, TWO, three)] == ["live", "candidate", "candidate"]
    registry = read(ONE, TWO, three, Pointer("articles", 2, 1))
    assert [registry.role(one) for one in (ONE, TWO, three)] == ["previous", "live", "candidate"]
    registry = read(dropped(ONE), TWO, three, Pointer("articles", 2, 1))
    assert registry.role(registry.generations[0]) == "dropped"
    assert registry.running() == [TWO, three]


def test_what_is_lost_neither_runs_nor_answers_nor_can_be_gone_back_to() -> None:
    registry = read(lost(ONE), TWO, Pointer("articles", 1), Aliased("articles", 1))
    assert registry.generations == (lost(ONE), TWO)
    assert [registry.role(one) for one in registry.generations] == ["lost", "live"]
    assert (registry.running(), registry.answering("articles")) == ([TWO], TWO)


def test_of_a_pointer_at_a_dropped_generation_counts_what_answered_before() -> None:
    three, four = dataclasses.replace(TWO, number=3), dataclasses.replace(TWO, number=4)
    registry = read(ONE, TWO, dropped(three), four, Pointer("articles", 3, 1))
    assert registry.live("articles") == ONE
    assert [registry.role(one) for one in registry.generations] == [
        "live",
        "candidate",
        "dropped",
        "candidate",
    ]
    assert read(ONE, TWO, dropped(three), four, Pointer("articles", 3, 3)).live("articles") == TWO
    assert read(dropped(ONE), TWO, four, Pointer("articles", 1)).live("articles") == TWO
    assert read(TWO, Pointer("articles", 9)).live("articles") == TWO
    assert read(dropped(ONE), Pointer("articles", 1)).live("articles") is None


def test_what_this_release_does_not_understand_is_named_and_not_quoted() -> None:
    key, value = encode_record(ONE)
    record = msgspec.json.decode(value)
    record["section"]["splitter"] = "hunter2"
    with pytest.raises(
        ConfigurationError, match=r"articles generation 1 .*this release: splitter: "
    ) as caught:
        decode_registry({key: msgspec.json.encode(record)})
    assert "hunter2" not in str(caught.value)
