"""What is measured, and what it should be."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from tests.bench.edits import BARS as EDITS
from tests.bench.encoder import COSINE, FIRST_RATIO, OVERLAP, QUERY_MS, RATIO, RSS_MB
from tests.bench.report import Bar, Figures


@dataclass(frozen=True, slots=True)
class Piece:
    """The module `tests.bench.<name>`: its `run` gives figures.

    `needs`: `broker` is called with the addresses of a real broker, `stack` with a running stack.
    """

    name: str
    about: str
    bars: tuple[Bar, ...]
    needs: Literal["nothing", "broker", "stack"] = "nothing"
    limit_s: float = 150.0


def at(*path: str) -> Callable[[Figures], float]:
    """The figure at this place of what a piece returned."""

    def pick(figures: Figures) -> float:
        found: Any = figures
        for name in path:
            found = found[name]
        return float(found)

    return pick


def over_steps(name: str, figures: Figures) -> float:
    """The sum over the scenario's steps; `excess` is what was embedded beyond the ideal, or missing to it."""
    steps = {title: step for title, step in figures.items() if isinstance(step, dict)}
    if not steps:
        raise LookupError("no steps")
    if name == "excess":
        counts = [abs(step["embedded"] - step["expected"]) for step in steps.values()]
    elif name == "redelivered":
        counts = [step["writes"] for title, step in steps.items() if title.endswith("redeliver")]
    else:
        counts = [step[name] for step in steps.values()]
    return float(sum(counts))


def off(name: str, figures: Figures) -> float:
    """How far a ratio is from 1."""
    return abs(float(figures[name]) - 1)


def precision_is(name: str, figures: Figures) -> bool:
    return not figures or figures["precision"] == name


def _most(what: str, figure: Callable[[Figures], float], limit: float, unit: str = "", **more: Any) -> Bar:
    return Bar(what, figure, "at most", limit, unit, **more)


def _least(what: str, figure: Callable[[Figures], float], limit: float, unit: str = "", **more: Any) -> Bar:
    return Bar(what, figure, "at least", limit, unit, **more)


PIECES: Final = (
    Piece(
        "edits",
        "pieces embedded anew for one edit of a long document",
        tuple(
            bar
            for kind, (mean, p95) in EDITS.items()
            for bar in (
                _most(f"{kind}, mean", at(f"{kind}, mean"), mean, "pieces"),
                _most(f"{kind}, p95", at(f"{kind}, p95"), p95, "pieces"),
            )
        ),
    ),
    Piece(
        "scenario",
        "seven steps, equal text elsewhere, renamed keys",
        (
            _most("embeddings that differ from the ideal", partial(over_steps, "excess"), 0),
            _most("stale chunks", partial(over_steps, "stale"), 0),
            _most("missing chunks", partial(over_steps, "missing"), 0),
            _most("index writes on redelivery", partial(over_steps, "redelivered"), 0),
        ),
    ),
    Piece(
        "startup",
        "what a user waits for, and what the embedded default takes",
        (
            _most("tailrace --help", at("help, s"), 0.3, "s", absolute=True),
            _most("first vector after process start", at("first vector, s"), 2.0, "s", absolute=True),
            _most("memory after the demo", at("demo", "rss, MB"), 700, "MB", absolute=True),
        ),
        limit_s=240.0,
    ),
    Piece(
        "size",
        "a fresh default environment",
        (_most("installed", at("installed, MB"), 700, "MB", absolute=True),),
        limit_s=300.0,
    ),
    Piece(
        "encoder",
        "openvino against sentence-transformers as it comes",
        (
            _least(
                "times sentence-transformers (bf16)",
                at("ratio"),
                RATIO["bf16"],
                applies=partial(precision_is, "bf16"),
            ),
            _least(
                "times sentence-transformers (f32)",
                at("ratio"),
                RATIO["f32"],
                applies=partial(precision_is, "f32"),
            ),
            _least("least cosine to sentence-transformers", at("cosine, least"), COSINE),
            _least("overlap of the ten best", at("overlap of the best ten"), OVERLAP),
            _least(
                "first vector, times sooner",
                lambda figures: (
                    figures["first vector, s, sentence-transformers"] / figures["first vector, s"]
                ),
                FIRST_RATIO,
            ),
            _most("one question", at("one question, ms"), QUERY_MS, "ms", absolute=True),
            _most("memory of both encoders", at("rss of both encoders, MB"), RSS_MB, "MB", absolute=True),
        ),
        limit_s=300.0,
    ),
    Piece(
        "ingest",
        "events to searchable, against the bare encoder on the same batches",
        (
            _least("share of the bare encoder", at("ratio"), 0.90, aim=0.95),
            _most("embeddings, redelivered", at("embedded", "redelivered"), 0),
            _most("embeddings, metadata only", at("embedded", "metadata only"), 0),
            _most("embeddings, state only", at("embedded", "state only"), 0),
        ),
        limit_s=240.0,
    ),
    Piece(
        "replay",
        "unchanged documents again",
        (
            _least("higher versions", at("chunks/s, higher versions"), 5000, "chunks/s", absolute=True),
            _least("same versions", at("chunks/s, same versions"), 5000, "chunks/s", absolute=True),
            _most("embeddings", at("embedded"), 0),
        ),
    ),
    Piece(
        "search",
        "one question in process, 10,000 chunks",
        (
            _most("idle, p50", at("idle p50, ms"), 5, "ms", absolute=True),
            _most("idle, p99", at("idle p99, ms"), 25, "ms", absolute=True),
            _most("during full ingest, p99", at("loaded p99, ms"), 60, "ms", absolute=True),
        ),
    ),
    Piece(
        "freshness",
        "COMMIT returned to /v1/search shows it, real stack, idle",
        (
            _most("p50", at("p50, ms"), 80, "ms", absolute=True),
            _most("p99", at("p99, ms"), 300, "ms", absolute=True),
        ),
        needs="stack",
        limit_s=240.0,
    ),
    Piece(
        "reindex",
        "a generation filled by replay, and edits and promotions meanwhile, real stack",
        (
            _least("replay of unchanged text", at("replay, chunks/s"), 3000, "chunks/s", absolute=True),
            _most("replay, embeddings", at("replay, embedded"), 0),
            _least("new model, share of the bare encoder", at("new model, share of the bare encoder"), 0.90),
            _most("p99 of an edit, times idle", at("live p99, times idle"), 2.0),
            _most("promotion, longest", at("promote, longest, ms"), 1000, "ms", absolute=True),
        ),
        needs="stack",
        limit_s=900.0,
    ),
    Piece(
        "reindex_plan",
        "a reindex planned, 100,000 rows of ten chunks, real broker",
        (
            _most("by sampling", at("sample, s"), 10, "s", absolute=True),
            _most("exactly", at("exact, s"), 180, "s", absolute=True),
            *(
                _most(f"{name} of the sample, off by", partial(off, f"{name}, sample by exact"), 0.10)
                for name in ("tokens", "chunks", "texts")
            ),
            _most("minutes, off by", partial(off, "minutes, planned by built"), 0.30),
        ),
        needs="broker",
        limit_s=900.0,
    ),
    Piece(
        "resolve_stage",
        "the resolve stage alone, 1 KB rows, real broker",
        (
            _least("events", at("events/s"), 10_000, "events/s", absolute=True, aim=25_000),
            _most("lost", at("lost"), 0),
        ),
        needs="broker",
    ),
)
