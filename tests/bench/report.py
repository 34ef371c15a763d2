"""What was measured against what it should be: verdicts, a table for people, JSON for programs.

A ratio or a count fails as soon as it is beyond its bar: both sides ran side by side on the same
machine. An absolute figure depends on the machine: beyond its bar it is `missed`, and only beyond
twice its bar `failed`.
"""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

Figures: TypeAlias = Mapping[str, Any]
Word: TypeAlias = Literal["passed", "missed", "failed"]

SLACK: Final = 2.0
"""An absolute figure fails at so many times its bar."""

NOISE: Final = 0.10
"""Share of the cores in other hands above which a figure may be off."""

LIBRARIES: Final = (
    "openvino",
    "tokenizers",
    "numpy",
    "qdrant-edge-py",
    "qdrant-client",
    "faust-streaming",
    "aiokafka",
    "confluent-kafka",
    "msgspec",
    "uvloop",
    "fastapi",
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a piece. `figure` picks the number out of what the piece returned."""

    what: str
    figure: Callable[[Figures], float]
    bound: Literal["at least", "at most"]
    limit: float
    unit: str = ""
    absolute: bool = False
    aim: float | None = None
    applies: Callable[[Figures], bool] = lambda _: True
    """Whether it is a bar of this machine."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A figure beside its bar; no figure where the piece did not give it."""

    piece: str
    what: str
    bound: str
    limit: float
    unit: str
    absolute: bool
    aim: float | None
    figure: float | None
    word: Word


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one piece. `others` is the share of the cores that others took just before it."""

    piece: str
    seconds: float
    figures: Figures = field(default_factory=dict)
    error: str | None = None
    others: float = 0.0


def judge_all(piece: str, bars: Sequence[Bar], figures: Figures) -> list[Verdict]:
    """The verdicts on one piece; all of them failed where it gave no figures."""
    return [judge(piece, bar, figures) for bar in bars if bar.applies(figures)]


def judge(piece: str, bar: Bar, figures: Figures) -> Verdict:
    """A figure that is not there has failed."""
    try:
        figure: float | None = float(bar.figure(figures))
    except (LookupError, TypeError, ValueError):
        figure = None
    word = _word(bar, figure)
    return Verdict(piece, bar.what, bar.bound, bar.limit, bar.unit, bar.absolute, bar.aim, figure, word)


def _word(bar: Bar, figure: float | None) -> Word:
    if figure is None:
        return "failed"
    if _within(bar, figure, bar.limit):
        return "passed"
    far = bar.limit * SLACK if bar.bound == "at most" else bar.limit / SLACK
    return "missed" if bar.absolute and _within(bar, figure, far) else "failed"


def _within(bar: Bar, figure: float, limit: float) -> bool:
    return figure <= limit if bar.bound == "at most" else figure >= limit


def table(machine: Mapping[str, object], verdicts: Sequence[Verdict], outcomes: Sequence[Outcome]) -> str:
    """The machine; bar, figure and verdict, a line each; why a piece gave nothing, or may be off."""
    rows = [("piece", "what", "bar", "figure", "verdict")]
    rows += [
        (
            one.piece,
            one.what,
            f"{'>=' if one.bound == 'at least' else '<='} {_said(one.limit)} {one.unit}".rstrip(),
            "-" if one.figure is None else f"{_said(one.figure)} {one.unit}".rstrip(),
            one.word + _beside(one),
        )
        for one in verdicts
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    lines[:0] = [f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}", ""]
    lines += [
        f"{one.piece}: others took {one.others:.0%} of the cores just before"
        for one in outcomes
        if one.others > NOISE
    ]
    lines += [
        f"\n{one.piece} failed after {one.seconds:.0f} s:\n{one.error}" for one in outcomes if one.error
    ]
    return "\n".join(lines)


def _beside(one: Verdict) -> str:
    if one.aim is None or one.figure is None or one.word != "passed":
        return ""
    reached = one.figure >= one.aim if one.bound == "at least" else one.figure <= one.aim
    return ", aim reached" if reached else f" (aim {_said(one.aim)})"


def _said(number: float) -> str:
    if number == int(number) or abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.4g}"


def as_json(
    machine: Mapping[str, object], verdicts: Sequence[Verdict], outcomes: Sequence[Outcome]
) -> dict[str, object]:
    return {
        "machine": dict(machine),
        "bars": [asdict(one) for one in verdicts],
        "pieces": [asdict(one) for one in outcomes],
        "failed": failed(verdicts, outcomes),
    }


def failed(verdicts: Sequence[Verdict], outcomes: Sequence[Outcome]) -> bool:
    return any(one.word == "failed" for one in verdicts) or any(one.error for one in outcomes)


def machine() -> dict[str, object]:
    """Where the figures come from: without it they mean nothing."""
    found: dict[str, object] = {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "memory, GiB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load before": round(os.getloadavg()[0], 2),
    }
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = None
    return found


def _cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The model, and whether it has the instructions that decide the encoder's speed."""
    text = cpuinfo.read_text(encoding="utf-8")
    said = {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())
    }
    flags = said.get("flags", "").split()
    fast = [name for name in ("avx512_bf16", "avx512_vnni", "amx_bf16") if name in flags]
    return f"{said.get('model name', platform.machine())} ({', '.join(fast) or 'no bf16'})"
