"""Topics that exist: what they are taken for, what they lack, and the configuration that is made of them."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiokafka import AIOKafkaProducer

from core.settings import Settings
from core.topics import TopicSpec
from ingest import topics_admin
from ingest.adopt import Adoption, Finding, SampledTopic, judge
from ingest.embedded_log import EmbeddedLog
from ingest.record import RawRecord
from tailrace.adopt import adopt
from tailrace.adoption_file import adoption_yaml, text_column
from tailrace.cli import run
from tailrace.configuration import load

CAPTURES = Path(__file__).parent.parent / "fixtures" / "captures"
GOOD = {"cleanup.policy": "delete", "retention.ms": "604800000", "retention.bytes": "-1"}
PROSE = "Rinse it with cold water, hang it in the shade and never put it into a dryer."


def dumped(value: object) -> bytes | None:
    return None if value is None else json.dumps(value, separators=(",", ":")).encode()


def topic(name: str, *records: tuple[object, object], **changed: Any) -> SampledTopic:
    made = [RawRecord(name, 0, i, 0, dumped(k), dumped(v)) for i, (k, v) in enumerate(records)]
    return replace(SampledTopic(name, 1, GOOD, made), **changed)


def captured(capture: str) -> list[SampledTopic]:
    by_name: dict[str, list[RawRecord]] = {}
    with (CAPTURES / f"{capture}.jsonl").open(encoding="utf-8") as file:
        for line in map(json.loads, file):
            if line["dest"] == "RESTART":
                continue
            of = by_name.setdefault(line["dest"], [])
            headers = tuple((k, dumped(v) or b"") for k, v in line["headers"].items())
            of.append(
                RawRecord(line["dest"], 0, len(of), 0, dumped(line["key"]), dumped(line["value"]), headers)
            )
    return [SampledTopic(name, 1, GOOD, records) for name, records in by_name.items()]


def event(op: str = "c", after: object = None, table: str = "articles", **source: Any) -> dict[str, Any]:
    where = {"connector": "postgresql", "schema": "public", "table": table, "ts_ms": 1, "lsn": 5, **source}
    return {"before": None, "after": after, "source": where, "op": op, "ts_ms": 1}


def article(number: int, **columns: object) -> tuple[object, object]:
    return {"id": number}, event(after={"id": number, "title": f"T{number}", "body": PROSE, **columns})


def said(adoption: Adoption, name: str, level: str | None = None) -> str:
    return "; ".join(f.what for f in adoption.findings if f.topic == name and level in (None, f.level))


def test_the_captures_are_the_tables_that_they_were_taken_from() -> None:
    adoption = judge(captured("all-operations"))
    tables = {table.table: table for table in adoption.tables}
    assert {"s.defri", "s.docs", "s.fullri"} <= set(tables)
    assert tables["s.docs"].key == ("id", "tenant")
    assert tables["s.docs"].prefix == "lab"
    assert tables["s.docs"].connector == "postgresql"
    assert not tables["s.docs"].schemas
    assert "decimals as base64" in said(adoption, "lab.s.docs", "lacks")
    assert "num: base64" in said(adoption, "lab.s.defri", "unknown")
    assert "n_free" in said(adoption, "lab.s.docs", "lacks")
    assert "times as numbers" in said(adoption, "lab.s.docs", "lacks")
    assert "default placeholder" in said(adoption, "lab.s.docs", "lacks")
    assert "without a key" in said(adoption, "lab.s.nopk", "refused")
    assert not adoption.usable(tables["s.nopk"])
    assert adoption.usable(tables["s.defri"])


def test_a_capture_of_the_preset_lacks_no_encoding() -> None:
    adoption = judge(captured("recommended-preset"))
    lacks = said(adoption, "lab.s.docs", "lacks")
    assert "decimals" not in lacks
    assert "times" not in lacks
    # A user typed it: no reader can tell, which is why the preset wants another one.
    assert "default placeholder stands for unchanged note" in lacks


def test_what_is_no_table_is_among_the_others() -> None:
    adoption = judge(captured("blocking-snapshot-open-transaction"))
    assert "lab.s.sig" in adoption.others
    assert "lab.transaction" in adoption.others
    assert "__debezium-heartbeat.lab" in adoption.others
    assert "no heartbeat topic" not in said(adoption, "lab")
    assert "no heartbeat topic" in said(judge(shop()), "shop")
    beat = ({"name": "a"}, event(after={"name": "a", "beat": "x"}, table="debezium_heartbeat"))
    assert judge([topic("shop.public.debezium_heartbeat", beat)]).tables == ()


@pytest.mark.parametrize(
    "value", [b"", b"plain", b"[1]", b'{"a":1}', b"\xff\xfe", b"{" * 5000, b"null", b'{"op":"c"}', b'"x"']
)
def test_other_topics_are_left_alone(value: bytes) -> None:
    adoption = judge([SampledTopic("x", 3, GOOD, [RawRecord("x", 0, 0, 0, b"k", value)])])
    assert adoption == Adoption((), (), ("x",))


@pytest.mark.parametrize(
    ("changed", "level", "what"),
    [
        ({"partitions": 3}, "refused", "3 partitions"),
        ({"configs": GOOD | {"cleanup.policy": "compact"}}, "refused", "is compacted"),
        ({"configs": GOOD | {"cleanup.policy": "compact,delete"}}, "refused", "is compacted"),
        ({"configs": GOOD | {"retention.ms": "86400000"}}, "lacks", "records stay for 24 h"),
        ({"configs": GOOD | {"retention.bytes": "1000"}}, "lacks", "bounded in bytes"),
        ({"configs": None}, "unknown", "does not say its policy"),
        ({"whole": False}, "unknown", "only 1 records could be read"),
        ({"start": 7}, "lacks", "its first 7 records are gone"),
    ],
)
def test_what_a_topic_lacks(changed: dict[str, Any], level: str, what: str) -> None:
    adoption = judge([topic("shop.public.articles", article(1), **changed)])
    assert what in said(adoption, "shop.public.articles", level)
    assert adoption.usable(adoption.tables[0]) is (level != "refused")


@pytest.mark.parametrize(
    ("records", "level", "what"),
    [
        ([(None, event(after={"id": 1}))], "refused", "without a key"),
        ([article(1), ({"id": 2}, event(after={"id": 2}, table="orders"))], "refused", "another table"),
        ([({"id": 1}, event(after={"id": 1}, connector="sqlserver"))], "refused", "events of sqlserver"),
        ([({"id": 1}, {"id": 1, "title": "x", "__op": "c", "__deleted": "false"})], "refused", "unwrapped"),
        ([article(1), ({"id": 1}, event("d"))], "lacks", "deletes without tombstones"),
        ([article(1, price="AfQ="), article(2, price="AeJA")], "unknown", "price: base64"),
        ([article(1, price={"scale": 2, "value": "AfQ="})], "lacks", "price: decimals as base64"),
        ([article(1, made_at=1529507596945104)], "lacks", "made_at: times as numbers"),
        ([article(1), article(2)], "unknown", "whether they are sent cannot be seen"),
        ([article(1), article(2)], "unknown", "whether tombstones are written cannot be seen"),
        ([article(1, price="12.50", made_at="2024-02-29T00:00:00Z", code="ABCD")], "lacks", ""),
    ],
)
def test_what_records_lack(records: list[tuple[object, object]], level: str, what: str) -> None:
    found = said(judge([topic("shop.public.articles", *records)]), "shop.public.articles", level)
    assert (what in found) if what else (found == "")


def test_records_with_their_schema_are_read_and_mixed_ones_refused() -> None:
    def wrapped(payload: object) -> dict[str, object]:
        return {"schema": {"type": "struct"}, "payload": payload}

    key, value = article(1)
    whole = judge([topic("shop.public.articles", (wrapped(key), wrapped(value)))])
    assert whole.tables[0].schemas
    assert "carries its schema" in said(whole, "shop.public.articles", "lacks")
    assert whole.usable(whole.tables[0])
    mixed = judge([topic("shop.public.articles", (wrapped(key), value))])
    assert "its schema" in said(mixed, "shop.public.articles", "refused")
    both = judge([topic("shop.public.articles", (wrapped(key), wrapped(value)), article(2))])
    assert "some records come with their schema" in said(both, "shop.public.articles", "refused")


def test_avro_and_routed_topics_are_refused() -> None:
    avro = SampledTopic("x", 1, GOOD, [RawRecord("x", 0, 0, 0, b"k", b"\0\0\0\0\1abc")])
    assert "schema registry" in said(judge([avro]), "x", "refused")
    assert "under another name" in said(judge([topic("all-changes", article(1))]), "all-changes", "refused")


def test_the_longest_prose_is_the_text() -> None:
    (table,) = judge(
        [topic("a.public.articles", article(1, url="https://" + "x" * 200, blob='{"a":"' + "b" * 300))]
    ).tables
    assert text_column(table) == "body"
    (table,) = judge(
        [topic("a.public.articles", ({"id": 1}, event(after={"id": 1, "state": "open"})))]
    ).tables
    assert text_column(table) is None


def shop() -> list[SampledTopic]:
    order = {"id": 7, "customer_id": 42, "state": "open", "updated_at": "2024-02-29T00:00:00Z"}
    return [
        topic("shop.public.articles", article(1), article(2)),
        topic("shop.public.orders", ({"id": 7}, event(after=order, table="orders"))),
        topic("shop.odd.orders", ({"id": 7}, event(after=order, table="orders", schema="odd"))),
        topic("shop.public.lost", ({"id": 1}, event(after={"id": 1}, table="lost")), partitions=2),
        topic("shop.public.bücher", ({"id": 1}, event(after={"id": 1, "größe": PROSE}, table="bücher"))),
    ]


def test_the_configuration_is_one_and_says_what_is_guessed() -> None:
    text = adoption_yaml("mine", ["kafka:9092"], judge(shop()))
    made = Settings.model_validate(yaml.safe_load(text))
    assert made.sources["shop"].prefix == "shop"
    assert "public.lost" not in made.sources["shop"].tables
    assert "# left out, shop.public.lost: 2 partitions" in text
    assert "# key: id" in text
    assert (made.documents["articles"].title, made.documents["articles"].text) == (
        "{{ title }}",
        "{{ body }}",
    )
    assert made.state["orders"].by == ["customer_id"]
    assert made.state["orders"].order_by == "-updated_at"
    assert set(made.state) == {"orders", "odd_orders", "b_cher"}
    assert text.count("a guess") >= 5
    assert text.count("skipped.operations=none") == 1


def test_names_of_topics_write_no_lines() -> None:
    odd = "a\n  evil: x"
    adoption = judge(shop())
    adoption = Adoption(adoption.tables, (*adoption.findings, Finding(odd, "refused", odd, "no")), ())
    assert "evil" not in str(yaml.safe_load(adoption_yaml("mine", ["kafka:9092"], adoption)))


def test_init_reads_a_broker_and_writes_nothing_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The embedded log knows no policies; the admin client need not wait long to learn that.
    monkeypatch.setattr(topics_admin, "TIMEOUT_SECONDS", 1.0)
    log = EmbeddedLog()
    names = ("shop.public.articles", "shop.public.orders", "other", "else.public.articles")
    brokers = log.start([TopicSpec(name, 1, "delete", "test") for name in names])
    try:
        asyncio.run(_filled(brokers))
        assert (
            run(
                [
                    "init",
                    str(tmp_path),
                    "--app",
                    "mine",
                    "--from-topics",
                    brokers[0],
                    "--prefix",
                    "shop",
                    "--json",
                ]
            )
            == 0
        )
        printed = capsys.readouterr()
        found = json.loads(printed.out)
        assert [table["topic"] for table in found["tables"]] == ["shop.public.articles", "shop.public.orders"]
        assert found["tables"][0]["key"] == ["id"]
        assert found["others"] == []
        assert "does not say its policy" in printed.err
        made = load(tmp_path / "tailrace.yaml").settings
        assert made.sources["shop"].tables == ["public.articles", "public.orders"]
        assert set(made.documents) == {"articles"}
        adoption = asyncio.run(adopt(brokers))
        assert set(adoption.others) == {"other"}
        # Of 400 records the oldest and the newest were read, not those between.
        ids = [row["id"] for row in adoption.tables[1].rows]
        assert (ids[0], ids[-1], len(ids)) == (0, 399, 200)
        assert run(["init", str(tmp_path), "--from-topics", brokers[0]]) == 2
        assert run(["init", str(tmp_path / "x"), "--from-topics", brokers[0], "--prefix", "none"]) == 2
        assert "no topic holds change events" in capsys.readouterr().err
        assert not (tmp_path / "x").exists()
    finally:
        log.stop()


async def _filled(brokers: list[str]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=brokers)
    await producer.start()
    try:
        for number in range(400):
            key, value = article(number)
            await producer.send("shop.public.articles", dumped(value), dumped(key), partition=0)
        order = {"id": 7, "customer_id": 42}
        await producer.send_and_wait(
            "shop.public.orders", dumped(event(after=order, table="orders")), dumped({"id": 7}), partition=0
        )
        await producer.send_and_wait("other", b"{}", b"k", partition=0)
        key, value = article(1)
        await producer.send_and_wait("else.public.articles", dumped(value), dumped(key), partition=0)
        await producer.flush()
    finally:
        await producer.stop()


@pytest.mark.parametrize("arguments", [["--prefix", "x"], ["--json"]])
def test_options_of_adoption_need_it(arguments: list[str], tmp_path: Path) -> None:
    assert run(["init", str(tmp_path), *arguments]) == 2
