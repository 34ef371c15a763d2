"""How generations, their progress and comparisons look to a person."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ingest.generations import Generation, Registry
from retrieve.compare import Comparison, Difference, Side
from tailrace.cli.output import table
from tailrace.reindex.decide import neglected, spoken
from tailrace.reindex.progress import Progress, Speed


def listed(registry: Registry, found: Sequence[Progress], strays: Sequence[str], now: int) -> str:
    """`ls`: a line for each generation that runs, then what deserves a look."""
    rows = [
        [
            one.document,
            str(one.number),
            one.role + (", answers" if one.answers and one.role != "live" else ""),
            _count(one.documents),
            _count(one.chunks),
            _size(one.bytes),
            f"{one.lag:,}",
            f"{spoken((now - one.started_at) / 1000)} ago",
            one.fingerprint[:28],
        ]
        for one in found
    ]
    headings = [
        "document",
        "generation",
        "role",
        "documents",
        "chunks",
        "disk",
        "behind",
        "started",
        "encoder",
    ]
    lines = [table(headings, rows) if rows else "no generation runs: a worker makes the first ones"]
    for one in found:
        generation = registry.find(one.document, one.number)
        said = None if generation is None else neglected(registry, generation, now)
        if said is not None:
            lines.append(f"! {one.document} generation {one.number}: {said}")
    lines += [f"! collection {name}: no record speaks of it" for name in strays]
    return "\n".join(lines)


def listed_json(registry: Registry, found: Sequence[Progress], strays: Sequence[str], now: int) -> Any:
    shown = []
    for one in found:
        generation = registry.find(one.document, one.number)
        note = None if generation is None else neglected(registry, generation, now)
        shown.append({**as_json(one, None), "note": note})
    return {"generations": shown, "strays": list(strays)}


def as_json(one: Progress, pace: Speed | None) -> dict[str, Any]:
    """`status --json`."""
    made = {**asdict(one), "lag": one.lag, "caught_up": one.caught_up, "waiting": one.waiting}
    made["partitions"] = [{**asdict(part), "lag": part.lag} for part in one.partitions]
    if pace is not None:
        made |= {
            "records_per_second": round(pace.records_per_second, 1),
            "chunks_per_second": round(pace.chunks_per_second, 1),
            "seconds_left": None if pace.seconds_left is None else round(pace.seconds_left, 1),
        }
    return made


def status(one: Progress, pace: Speed, now: int) -> str:
    """`status`: one generation."""
    head = (
        f"{one.document} generation {one.number} ({one.role}), {one.fingerprint[:40]},"
        f" {one.dimensions} dimensions, started {spoken((now - one.started_at) / 1000)} ago"
    )
    rows = [
        [
            str(part.number),
            f"{part.covered:,}",
            f"{part.end:,}",
            f"{part.lag:,}",
            share(part.covered - part.start, part.end - part.start),
        ]
        for part in one.partitions
    ]
    lines = [
        head,
        indented(table(["partition", "covered", "of", "behind", "done"], rows)),
        f"  {moving(one, pace)}",
    ]
    work = f"  {one.embedded:,} chunks embedded, {one.reused:,} reused"
    if one.tokens:
        work += f", {one.tokens:,} tokens"
    if one.cost is not None:
        work += f", cost so far {one.cost:.2f}"
    lines.append(work)
    if one.documents is not None:
        size = "" if one.bytes is None else f", {_size(one.bytes)} on disk"
        lines.append(f"  {one.documents:,} documents, {_count(one.chunks)} chunks{size}")
    limits = [f"{one.pace.rate:g} chunks/s"] if one.pace.rate is not None else []
    limits += [f"{one.pace.share:.0%} of the time"] if one.pace.share is not None else []
    if limits:
        lines.append(f"  throttled to {' and '.join(limits)}")
    seen = [
        f"{worker.worker} {'was last seen' if worker.stale else 'reported'}"
        f" {spoken(worker.age_ms / 1000)} ago"
        for worker in one.workers
        if not worker.stale or all(other.stale for other in one.workers)
    ]
    lines.append(f"  {'; '.join(seen) or 'no worker has reported on it yet: does one run?'}")
    if one.waiting is not None:
        lines.append(f"  waits: {one.waiting}")
    return "\n".join(lines)


def moving(one: Progress, pace: Speed) -> str:
    """One line: how far, how fast, how long still."""
    if one.caught_up:
        return f"caught up: {one.lag:,} of {one.total:,} records behind"
    left = "no estimate yet" if pace.seconds_left is None else f"about {spoken(pace.seconds_left)} left"
    return (
        f"{share(one.covered, one.total)} of {one.total:,} records, {pace.records_per_second:,.0f} records/s,"
        f" {pace.chunks_per_second:,.0f} chunks/s, {left}"
    )


def comparison(found: Comparison, refused: Sequence[str]) -> str:
    """`compare`: both side by side, what differs, and what the gate says."""
    one, other = found.live, found.candidate
    rows = [
        ["documents", f"{one.size.documents:,}", f"{other.size.documents:,}"],
        ["chunks", f"{one.size.chunks:,}", f"{other.size.chunks:,}"],
    ]
    if found.questions:
        rows += [
            [f"recall@{found.top_k}", _ratio(one.recall), _ratio(other.recall)],
            ["search p50, ms", _latency(one, "p50_ms"), _latency(other, "p50_ms")],
            ["search p95, ms", _latency(one, "p95_ms"), _latency(other, "p95_ms")],
        ]
    lines = [
        table([found.document, f"generation {one.number} (answers)", f"generation {other.number}"], rows)
    ]
    lines.append("")
    for name, what in (("missing", found.missing), ("extra", found.extra), ("different", found.different)):
        lines.append(f"{name:<10}{_difference(what)}")
    if found.questions:
        shares = [(asked.overlap, asked.query[:70]) for asked in found.questions if asked.overlap is not None]
        lines.append(f"overlap@{found.top_k} {_ratio(found.overlap)} over {len(shares)} saved questions")
        lines += [
            f"  {shared:.2f}  {query}"
            for shared, query in sorted(shares, key=lambda one: one[0])[:5]
            if shared < 1
        ]
        if silent := [asked.query for asked in found.questions if asked.overlap is None]:
            lines.append(f"  neither finds anything: {'; '.join(query[:70] for query in silent[:5])}")
    else:
        lines.append("no saved questions: see reindex.queries")
    lines += ["", *(f"gate: {why}" for why in refused)] if refused else ["", "gate: passed"]
    return "\n".join(lines)


def built_from(generation: Generation) -> str:
    """What a generation is made with, in one line."""
    return f"{generation.frozen.fingerprint[:40]}, {generation.frozen.dimensions} dimensions"


def share(done: int, total: int) -> str:
    """Never 100 % before it is all."""
    return "100.0 %" if done >= total else f"{math.floor(1000 * done / total) / 10:.1f} %"


def indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _difference(found: Difference) -> str:
    more = "" if found.count <= len(found.keys) else ", …"
    return f"{found.count:,}" + (f"  ({', '.join(found.keys)}{more})" if found.keys else "")


def _latency(side: Side, name: str) -> str:
    return "-" if side.latency is None else f"{getattr(side.latency, name):.1f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _size(value: int | None) -> str:
    if value is None:
        return "-"
    return f"{value / (1 << 30):.1f} GiB" if value >= 1 << 30 else f"{value / (1 << 20):.1f} MiB"


def step(line: Mapping[str, Any]) -> str:
    """Where a comparison stands."""
    names = {"documents": "reading", "settling": "waiting for rows on their way", "questions": "asking"}
    return f"{names[line['what']]} {line['done']:,} of {line['total']:,}"
