"""`tailrace reindex plan`: what changed since the live generation, what it means, and what it costs."""

import asyncio
import difflib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.errors import ConfigurationError, TailraceError
from core.keys import TableId
from core.settings import KafkaLog, OpenAIEncoder, Settings
from core.topics import generations_topic, state_topic
from embed.cutter import Cutter
from embed.encoder import PausingEncoder
from embed.estimate import Estimate, Figure, Rates, seconds
from ingest.generation_plan import differences
from ingest.generations import Frozen, Generation, Registry, Report, decode_registry
from ingest.registry import read_registry
from ingest.topics_admin import TopicsAdmin
from tailrace.adapters import load_encoders
from tailrace.reindex.changes import ChangedSetting, Meaning, changed, meaning
from tailrace.reindex.counting import ROWS, Counting, Looked, Progress
from tailrace.reindex.estimate import Seen
from tailrace.reindex.rates import RECORD_SECONDS, Rehearsal, invented, rehearse, token_seconds
from tailrace.reindex.sampling import KafkaLogReader


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes, of the live generation and of the new one. `measured`: the worker reports the live one's."""

    live: float
    new: float
    measured: bool


@dataclass(frozen=True, slots=True)
class ReindexPlan:
    """`estimate`, and all after it, is None where nothing would be built."""

    document: str
    live: int | None
    candidate: int | None
    """A newer generation that is built with this very configuration already."""
    meaning: Meaning
    changes: tuple[ChangedSetting, ...]
    looked: Looked | None = None
    estimate: Estimate | None = None
    rates: Rates | None = None
    seconds: Figure | None = None
    """None too where the encoder's speed could not be measured: `unmeasured` says why."""
    unmeasured: str = ""
    money: Figure | None = None
    disk: Disk | None = None
    took_seconds: float = 0.0


async def plan_reindex(
    settings: Settings,
    document: str,
    *,
    exact: bool = False,
    rows: int = ROWS,
    progress: Progress = lambda _done, _all: None,
) -> ReindexPlan:
    """Look, and say what a reindex would do. Writes nothing but to a temporary folder.

    `rows`: how many are looked at unless `exact`. `progress(done, all)` hears of offsets of a full pass.
    Raises ConfigurationError for an unknown document, an embedded log or a missing topic, TransientError
    if the broker does not answer.
    """
    began = time.monotonic()
    brokers = _brokers(settings)
    configured = settings.documents.get(document)
    if configured is None:
        raise ConfigurationError(f"there is no document {document!r}: {_meant(document, settings.documents)}")
    topic = state_topic(settings.app, TableId.parse(configured.table))
    await asyncio.to_thread(_require, brokers, [generations_topic(settings.app), topic])
    registry = decode_registry(await read_registry(brokers, generations_topic(settings.app)))
    live = registry.live(document)
    if live is None:
        return ReindexPlan(document, None, None, "first", ())
    encoder = (await asyncio.to_thread(load_encoders, settings.encoder)).document
    frozen = Frozen(configured, settings.encoder, encoder.fingerprint, encoder.dimensions)
    changes = changed(document, live.frozen, frozen)
    candidate = _candidate(registry, live, frozen)
    if not changes:
        return ReindexPlan(document, live.number, candidate, "nothing", ())
    async with KafkaLogReader(brokers, topic) as log:
        counting = Counting(settings, registry, live, frozen, encoder, log)
        read = await counting.read(exact=exact, rows=rows, progress=progress)
        rates, unmeasured, rehearsal = await asyncio.to_thread(_rates, settings, frozen, encoder, read.seen)
        counted = await counting.counted(read, rates)
    what = meaning(live.frozen, frozen)
    price = settings.encoder.price_per_million_tokens if isinstance(settings.encoder, OpenAIEncoder) else None
    found = counted.estimate
    return ReindexPlan(
        document,
        live.number,
        candidate,
        what,
        tuple(changes),
        counted.looked,
        found,
        rates,
        seconds(found, rates),
        unmeasured,
        None if price is None else found.tokens.times(price / 1e6),
        disk(found, live.frozen, frozen, counted.report, rehearsal),
        time.monotonic() - began,
    )


def disk(
    found: Estimate, old: Frozen, new: Frozen, report: Report | None, rehearsal: Rehearsal | None
) -> Disk | None:
    """Bytes of both generations, the live one's as reported where its index is a folder of the worker's."""
    if rehearsal is None:
        return None
    chunks = found.chunks.value
    made = chunks * (rehearsal.overhead_bytes + 4 * new.dimensions) + 2 * found.characters.value
    live = made + chunks * 4 * (old.dimensions - new.dimensions)
    if found.documents.value:
        live *= found.before.value / found.documents.value
    if report is None or not report.bytes or not report.chunks:
        return Disk(live, made, measured=False)
    moved = chunks * 4 * (new.dimensions - old.dimensions)
    return Disk(report.bytes, report.bytes * chunks / report.chunks + moved, measured=True)


def _rates(
    settings: Settings, frozen: Frozen, encoder: PausingEncoder, seen: Seen
) -> tuple[Rates, str, Rehearsal | None]:
    """And why the encoder's is unknown, if it is."""
    row = seen.row_seconds / max(seen.rows, 1) + RECORD_SECONDS
    rehearsal = None
    if seen.documents:
        cutter = Cutter(frozen.document.cut, encoder.count, encoder.max_tokens)
        rehearsal = rehearse(settings, cutter, encoder, seen.documents)
    # Texts of rows go to an endpoint when a reindex is started, not when it is thought about.
    texts = invented(seen.texts) if isinstance(settings.encoder, OpenAIEncoder) else seen.texts
    token, why = None, ""
    try:
        token = token_seconds(encoder, texts)
    except TailraceError as error:  # the figures stand without it
        why = str(error)
    return Rates(row, rehearsal.chunk_seconds if rehearsal else 0.0, token), why, rehearsal


def _brokers(settings: Settings) -> Sequence[str]:
    if not isinstance(settings.log, KafkaLog):
        raise ConfigurationError(
            "log.kind is embedded: its log lives in the process of `tailrace dev`, and each start builds the"
            " index from it anew with the configuration of the file; there is nothing to plan. A reindex"
            " by replay needs a broker: `log: {kind: kafka, brokers: [host:port]}`"
        )
    return settings.log.brokers


def _require(brokers: Sequence[str], topics: Sequence[str]) -> None:
    there = {name for name, _ in TopicsAdmin(brokers).bounds(topics)}
    if missing := [topic for topic in topics if topic not in there]:
        raise ConfigurationError(
            f"topic {missing[0]} does not exist: run `tailrace topics apply`, and start the worker"
        )


def _candidate(registry: Registry, live: Generation, frozen: Frozen) -> int | None:
    for one in registry.of(live.document):
        if registry.role(one) == "candidate" and not differences(one.frozen, frozen):
            return one.number
    return None


def _meant(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"documents are {', '.join(sorted(known)) or '(none configured)'}"
