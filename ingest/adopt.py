"""What Debezium topics that already exist hold, and what they lack against the preset.

Pure: samples go in, tables and findings come out. An envelope is what our own decoder reads; nothing
else counts as one.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import msgspec

from core.errors import PermanentError
from core.settings import Source
from core.state import Json
from ingest.debezium import Decoder, Ignored, RowChange, TruncateChange
from ingest.envelope import ENVELOPE, WRAPPED, Envelope, WrongShapeError, is_wrapped, parse
from ingest.record import RawRecord

WEEK_MS: Final = 7 * 86_400_000
SIGNAL_COLUMNS: Final = {"id", "type", "data"}
READ: Final = ("postgresql", "mariadb", "mysql")
"""Connectors whose events the decoder knows."""

Level: TypeAlias = Literal["refused", "lacks", "unknown"]
"""A worker would stop at it; something is lost or garbled; a sample cannot tell."""

_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{2,24}={0,2}", re.ASCII)
_TIME_NAME: Final = re.compile(r"(.*_)?(at|on|date|time|timestamp|ts)", re.IGNORECASE)
_UNWRAPPED: Final = ("__op", "__deleted", "__table", "__source_ts_ms", "__lsn")
"""Fields that ExtractNewRecordState adds, as its documentation recommends them."""


@dataclass(frozen=True, slots=True)
class SampledTopic:
    """Some of the oldest and some of the newest records of each partition, in order.

    `configs` is the broker's, or None where it does not say; `start` is the sum of first offsets.
    """

    name: str
    partitions: int
    configs: Mapping[str, str] | None
    records: Sequence[RawRecord]
    start: int = 0
    whole: bool = True
    """Whether all records of the sample were read in time."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`fix` says what to do about it."""

    topic: str
    level: Level
    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table as its topic shows it. `rows` are the sampled rows, in order."""

    topic: str
    prefix: str
    table: str
    connector: str
    schemas: bool
    key: tuple[str, ...]
    rows: tuple[Mapping[str, Json], ...]


@dataclass(frozen=True, slots=True)
class Adoption:
    """`others` are topics that hold no change events."""

    tables: tuple[Table, ...]
    findings: tuple[Finding, ...]
    others: tuple[str, ...]

    def usable(self, table: Table) -> bool:
        """Whether nothing about it would stop a worker."""
        return not any(f.level == "refused" and f.topic == table.topic for f in self.findings)


def judge(topics: Sequence[SampledTopic]) -> Adoption:
    """What these topics are. Topics without records are among the others."""
    tables: list[Table] = []
    findings: list[Finding] = []
    others: list[str] = []
    names = {topic.name for topic in topics}
    for topic in topics:
        table, found = _judged(topic)
        if table is None and not found:
            others.append(topic.name)
        if table is not None:
            tables.append(table)
        findings += found
    for prefix in sorted({table.prefix for table in tables}):
        if f"__debezium-heartbeat.{prefix}" not in names:
            what = "no heartbeat topic: on an idle database no position is known"
            findings.append(Finding(prefix, "lacks", what, "set heartbeat.interval.ms=10000"))
    return Adoption(tuple(tables), tuple(findings), tuple(others))


def _judged(topic: SampledTopic) -> tuple[Table | None, list[Finding]]:
    valued = [record for record in topic.records if record.value is not None]
    envelopes = [made for record in valued if (made := _envelope(record)) is not None]
    if not envelopes:
        return None, list(_not_envelopes(topic, valued))
    (name, connector), _ = Counter(
        (e.source.full_table, e.source.connector) for e, _ in envelopes if e.source
    ).most_common(1)[0]
    schemas = Counter(wrapped for _, wrapped in envelopes).most_common(1)[0][0]
    prefix = topic.name.removesuffix(f".{name}")
    findings = list(_policy(topic))
    if prefix == topic.name:
        what = f"holds changes of {name} under another name: its records were routed"
        findings.append(_finding(topic, "refused", what, "remove the routing transform and snapshot again"))
    if connector not in READ:
        what = f"events of {connector}: they are not read yet"
        findings.append(_finding(topic, "refused", what, f"only {', '.join(READ)} are"))
        return None, findings
    if len({wrapped for _, wrapped in envelopes}) > 1:
        what = "some records come with their schema and some without"
        findings.append(
            _finding(topic, "refused", what, "schemas.enable is fixed for a topic: make it again")
        )
    source = Source(prefix=prefix, tables=[name], schemas=schemas)
    rows, key, found = _decoded(topic, source, name)
    findings += found
    if rows and all(row.keys() == SIGNAL_COLUMNS for row in rows):
        return None, []  # a signal table is for the connector
    if "heartbeat" in name:
        return None, []  # and so is the table of its beats
    findings += _values(topic, rows, schemas=schemas)
    return Table(topic.name, prefix, name, connector, schemas, key, tuple(rows)), findings


def _envelope(record: RawRecord) -> tuple[Envelope, bool] | None:
    """The envelope in a record, and whether it came with its schema."""
    assert record.value is not None  # noqa: S101 - the caller looked
    for wrapped in (False, True):
        try:
            made = parse(WRAPPED, record.value)[0].payload if wrapped else parse(ENVELOPE, record.value)[0]
        except (WrongShapeError, PermanentError):
            continue
        if made.source is not None and made.source.full_table and made.op in set("crudt"):
            return made, wrapped
    return None


def _not_envelopes(topic: SampledTopic, valued: Sequence[RawRecord]) -> Iterator[Finding]:
    """Nothing for a topic that has nothing to do with change events."""
    for record in valued:
        value = record.value or b""
        if value[:1] == b"\0":
            what = "records of a schema registry (Avro or Protobuf): they are not read"
            fix = "use the JsonConverter for keys and values"
            yield _finding(topic, "refused", what, fix)
            return
        try:
            found: Any = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        payload = found["payload"] if is_wrapped(found) else found
        if isinstance(payload, dict) and any(field in payload for field in _UNWRAPPED):
            what = "unwrapped events (ExtractNewRecordState): no operation, no position, no truncate"
            yield _finding(topic, "refused", what, "remove that transform and snapshot again")
            return


def _policy(topic: SampledTopic) -> Iterator[Finding]:
    if topic.partitions != 1:
        what = f"{topic.partitions} partitions: a truncate and a changed key have no order among them"
        yield _finding(topic, "refused", what, "make a topic with one partition and snapshot into it")
    if not topic.whole:
        what = f"only {len(topic.records)} records could be read in time"
        yield _finding(topic, "unknown", what, "run it again, nearer to the broker")
    if topic.start:
        what = f"its first {topic.start} records are gone: rows that did not change since are missing"
        yield _finding(topic, "lacks", what, "run an incremental snapshot of the table")
    if topic.configs is None:
        what = "the broker does not say its policy: cleanup and retention"
        yield _finding(topic, "unknown", what, "see that cleanup.policy=delete, retention.ms >= 604800000")
        return
    if "compact" in topic.configs.get("cleanup.policy", ""):
        what = "is compacted: it refuses truncates, and keeps placeholders instead of text"
        yield _finding(topic, "refused", what, "set cleanup.policy=delete and snapshot again")
    retention = int(topic.configs.get("retention.ms", "-1"))
    if 0 <= retention < WEEK_MS:
        what = f"records stay for {retention / 3_600_000:.0f} h: a worker away for longer loses changes"
        yield _finding(topic, "lacks", what, "set retention.ms to 604800000 or more")
    if int(topic.configs.get("retention.bytes", "-1")) >= 0:
        what = "is bounded in bytes: a burst of changes pushes unread ones out"
        yield _finding(topic, "lacks", what, "set retention.bytes=-1")


def _decoded(
    topic: SampledTopic, source: Source, name: str
) -> tuple[list[Mapping[str, Json]], tuple[str, ...], list[Finding]]:
    """Rows, key columns, and what the decoder said of the rest."""
    decoder = Decoder(source, name)
    rows: list[Mapping[str, Json]] = []
    key: tuple[str, ...] = ()
    refused: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    absent: set[str] = set()
    for record in topic.records:
        try:
            event = decoder.decode(record)
        except PermanentError as error:
            refused[str(error)] += 1
            continue
        if isinstance(event, RowChange):
            seen[event.op] += 1
            absent |= event.absent
            key = event.key.names
            if event.columns is not None:
                rows.append(event.columns)
        elif isinstance(event, TruncateChange):
            seen["t"] += 1
        elif isinstance(event, Ignored):
            seen[event.kind] += 1
    findings = [
        _finding(topic, "refused", f"{n} of the sample: {why}", "see the message")
        for why, n in refused.items()
    ]
    if not absent and seen["u"]:
        what = "no unchanged long value in the sample: what stands for one cannot be seen"
        fix = "set the source's placeholder to the connector's unavailable.value.placeholder"
        findings.append(_finding(topic, "unknown", what, fix))
    if absent:
        what = f"the default placeholder stands for unchanged {', '.join(sorted(absent))}: a user may type it"
        fix = "set unavailable.value.placeholder to a random token, and the source's placeholder to the same"
        findings.append(_finding(topic, "lacks", what, fix))
    findings += _operations(topic, seen)
    return rows, key, findings


def _operations(topic: SampledTopic, seen: Counter[str]) -> Iterator[Finding]:
    if seen["d"] and not seen["tombstone"]:
        what = "deletes without tombstones"
        yield _finding(topic, "lacks", what, "set tombstones.on.delete=true")
    if not seen["d"]:
        what = "no delete in the sample: whether tombstones are written cannot be seen"
        yield _finding(topic, "unknown", what, "see that tombstones.on.delete=true")
    if not seen["t"]:
        what = "no truncate in the sample: whether they are sent cannot be seen, and by default they are not"
        yield _finding(topic, "unknown", what, "see that skipped.operations=none")


def _values(topic: SampledTopic, rows: Sequence[Mapping[str, Json]], *, schemas: bool) -> Iterator[Finding]:
    if schemas:
        what = "each record carries its schema: five to ten times the size"
        yield _finding(topic, "lacks", what, "schemas.enable=false, on a topic that is made again")
    columns: dict[str, list[Json]] = {}
    for row in rows:
        for column, value in row.items():
            if value is not None:
                columns.setdefault(column, []).append(value)
    decimals = [column for column, values in columns.items() if all(map(_scaled, values))]
    if decimals:
        what = f"{', '.join(decimals)}: decimals as base64 beside their scale"
        yield _finding(topic, "lacks", what, "set decimal.handling.mode=string and snapshot again")
    coded = [column for column, values in columns.items() if _base64(values)]
    if coded:
        what = f"{', '.join(coded)}: base64; of a decimal, its scale is lost (bits always come so)"
        yield _finding(topic, "unknown", what, "if decimals: decimal.handling.mode=string, snapshot again")
    times = [column for column, values in columns.items() if _number_as_time(column, values)]
    if times:
        what = f"{', '.join(times)}: times as numbers, whose unit depends on the declared precision"
        yield _finding(topic, "lacks", what, "set time.precision.mode=isostring and snapshot again")


def _scaled(value: Json) -> bool:
    return isinstance(value, dict) and value.keys() == {"scale", "value"}


def _base64(values: Sequence[Json]) -> bool:
    """Short texts that are all base64, one of them with padding at least."""
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values) or not any(text.endswith("=") for text in texts):
        return False
    return all(_BASE64.fullmatch(text) and len(text) % 4 == 0 for text in texts)


def _number_as_time(column: str, values: Sequence[Json]) -> bool:
    """Dates of a column named like one; a day since 1970 is past 3,000 for any date after 1978."""
    past_1978 = 3_000
    return bool(_TIME_NAME.fullmatch(column)) and all(
        isinstance(v, int) and not isinstance(v, bool) and abs(v) > past_1978 for v in values
    )


def _finding(topic: SampledTopic, level: Level, what: str, fix: str) -> Finding:
    return Finding(topic.name, level, what, fix)
