"""What a reindex command shows while something goes on: bars on a terminal, lines elsewhere."""

import asyncio
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final, Protocol
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from core.errors import TransientError
from ingest.generations import Generation
from retrieve.compare import Comparison
from tailrace.cli import reindex_show as show
from tailrace.cli.client import call_lines, stranger
from tailrace.cli.output import clear, plain, put, put_json, say
from tailrace.reindex.control import Control
from tailrace.reindex.decide import answering
from tailrace.reindex.progress import REPORT_SECONDS, Progress, Speed, speed
from tailrace.reindex.questions import Saved

LOOK_SECONDS: Final = 0.5
LINE_SECONDS: Final = 10.0
"""Between two lines where there is no terminal."""

WATCH_SECONDS: Final = 2.0
SAMPLE_SECONDS: Final = 1.5 * REPORT_SECONDS
"""A rate takes two reports of a worker; one that has nothing new to say sends none."""

UNSEEN_SECONDS: Final = 10.0
"""After so long without a report, no worker seems to run."""

_COMPARISON: Final = TypeAdapter(Comparison)


class Shown(Protocol):
    def __call__(self, text: str, done: int, total: int) -> None: ...


async def follow(control: Control, generation: Generation) -> dict[str, Any]:
    """Until it is caught up, with a bar. Its last status, as data."""
    looks: deque[tuple[float, Progress]] = deque(maxlen=200)
    began = monotonic()
    with bar() as shown:
        while True:
            if not control.registry.find(generation.document, generation.number):
                raise TransientError("its record is gone")
            [found] = await control.look([generation])
            if found.role in ("lost", "dropped"):
                raise TransientError(
                    f"generation {found.number} of {found.document} was {found.role} meanwhile"
                )
            looks.append((monotonic(), found))
            pace = speed(looks)
            waits = "" if found.waiting is None else f"; waits: {found.waiting}"
            if not found.workers and monotonic() - began > UNSEEN_SECONDS:
                waits = "; no worker has reported on it yet: does one run?"
            shown(f"{show.moving(found, pace)}{waits}", found.covered, found.total)
            if found.caught_up:
                return show.as_json(found, pace)
            await asyncio.sleep(LOOK_SECONDS)


async def show_status(control: Control, document: str | None, *, watch: bool, as_json: bool) -> None:
    """Of one document or all; with `watch` until interrupted."""
    if document is not None:
        answering(control.registry, document)
    looks: dict[tuple[str, int], deque[tuple[float, Progress]]] = {}
    while True:
        running = [one for one in control.registry.running() if document in (None, one.document)]
        first = await _looked(control, running, looks)
        until = monotonic() + SAMPLE_SECONDS
        before = {(one.document, one.number): one.reported_at for one, _ in first}
        while not watch and monotonic() < until and any(_unmeasured(one, before) for one, _ in first):
            await asyncio.sleep(LOOK_SECONDS)
            first = await _looked(control, running, looks)
        if as_json:
            data = [show.as_json(one, pace) for one, pace in first]
            put_json(data, indent=None if watch else 2)
        else:
            if watch and sys.stdout.isatty():
                clear()
            put("\n\n".join(show.status(one, pace, control.now()) for one, pace in first) or "nothing runs")
        if not watch:
            return
        sys.stdout.flush()
        await asyncio.sleep(WATCH_SECONDS)


def _unmeasured(one: Progress, before: dict[tuple[str, int], int]) -> bool:
    return not one.caught_up and one.reported_at == before.get((one.document, one.number))


async def _looked(
    control: Control,
    running: Sequence[Generation],
    looks: dict[tuple[str, int], deque[tuple[float, Progress]]],
) -> list[tuple[Progress, Speed]]:
    found = await control.look(running)
    made = []
    for one in found:
        line = looks.setdefault((one.document, one.number), deque(maxlen=100))
        line.append((monotonic(), one))
        made.append((one, speed(line)))
    return made


def ask_comparison(
    url: str, document: str, number: int | None, questions: Sequence[Saved], top_k: int
) -> Comparison:
    """Asks the query service. TransientError if it is away, PermanentError for what it refuses."""
    body = {
        "top_k": top_k,
        "questions": [{"query": one.query, "expected": list(one.expected)} for one in questions],
        **({} if number is None else {"number": number}),
    }
    path = f"/v1/generations/{quote(document, safe='')}/compare"
    with bar() as shown:
        for line in call_lines(url, path, body):
            try:
                if "result" in line:
                    return _COMPARISON.validate_python(line["result"])
                shown(show.step(line["step"]), line["step"]["done"], line["step"]["total"])
            except (ValidationError, LookupError, TypeError) as error:
                raise stranger(url, path) from error
    raise TransientError(f"{url}{path}: the comparison ended without a result: ask again")


def asked_again(error: TransientError, until: float) -> float:
    """Seconds after which the service may be asked again, which it said itself, and nobody waits in vain.

    Raises the error where it did not say so, and past `until` (monotonic).
    """
    left = until - monotonic()
    if error.retry_after is None or left <= 0:
        raise error
    say(f"{error}: waiting up to {left:.0f} s for it")
    return min(error.retry_after, left)


@contextmanager
def bar() -> Iterator[Shown]:
    """On stderr; without a terminal a line every LINE_SECONDS, and none for what is done before."""
    if not sys.stderr.isatty():
        last = monotonic()

        def line(text: str, done: int, total: int) -> None:  # noqa: ARG001 - a bar's
            nonlocal last
            if monotonic() - last >= LINE_SECONDS:
                last = monotonic()
                say(text)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    what = TextColumn("{task.description}", markup=False)
    with Bars(BarColumn(), what, console=Console(stderr=True)) as bars:
        task = bars.add_task("", total=None)

        def draw(text: str, done: int, total: int) -> None:
            bars.update(task, description=plain(text), completed=done, total=max(total, 1))

        yield draw
