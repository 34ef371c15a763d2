"""`tailrace reindex plan | ls | start | status | compare | promote | rollback | drop`."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from tailrace.cli.options import DEFAULT_CONFIG, Config, Json, Url
from tailrace.cli.output import put, put_json, say
from tailrace.cli.reindex_plan import plan

if TYPE_CHECKING:
    from core.settings import Settings
    from ingest.generations import Generation, Pointer, Registry
    from retrieve.compare import Comparison
    from tailrace.reindex.control import Control

R = TypeVar("R")

DIFFERS = 3
Document = Annotated[str, typer.Argument(help="As `documents` in the configuration names it.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait at most, for each step.")]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="A change of model, cutter or template: built beside what answers, compared, and switched.",
)

app.command("plan")(plan)


@app.command("ls")
def ls(config: Config = DEFAULT_CONFIG, url: Url = None, as_json: Json = False) -> None:
    """Every generation that runs, and what deserves a look."""
    import asyncio

    from tailrace.cli.reindex_show import listed, listed_json

    async def body(control: "Control", _: "Settings") -> None:
        registry = control.registry
        found = await control.look(registry.running())
        strays = await asyncio.to_thread(_strays, url, config)
        show = listed_json if as_json else listed
        shown = show(registry, found, strays, control.now())
        put_json(shown) if as_json else put(shown)

    _run(config, body)


@app.command("start")
def start(
    document: Document,
    config: Config = DEFAULT_CONFIG,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=0, help="Embedded chunks a second at most, by each worker; 0: no limit."),
    ] = None,
    share: Annotated[
        float | None, typer.Option("--share", min=0, max=1, help="Of the time, 0 to 1; 0: no limit.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Though nothing changed.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Drop another candidate in the way.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait until it has caught up.")] = False,
    as_json: Json = False,
) -> None:
    """Build a new generation with the configuration of now. The workers do it; questions go on meanwhile.

    Again, with the same configuration: changes its pace, and waits. --rate leaves --share as it was, and
    the other way round.
    """
    import asyncio

    from tailrace.cli.reindex_show import built_from
    from tailrace.cli.reindex_wait import follow
    from tailrace.reindex.control import configured
    from tailrace.reindex.decide import PaceWish

    async def body(control: "Control", settings: "Settings") -> None:
        frozen = configured(settings, document)
        wish = PaceWish(rate, share)
        step = await control.start(document, frozen, pace=wish, force=force, displace=replace)
        say(f"{step.said} ({built_from(step.generation)})")
        if not detach:
            try:
                last = await follow(control, step.generation)
            except asyncio.CancelledError:
                say(
                    f"the workers go on with it: `tailrace reindex status {document} --watch` shows how far"
                    f" it is, `tailrace reindex drop {document} {step.generation.number}` ends it"
                )
                raise
            candidate = control.registry.role(step.generation) == "candidate"
            after = f"; next: `tailrace reindex compare {document}`, `tailrace reindex promote {document}`"
            say(f"caught up{after if candidate else ''}")
            if as_json:
                put_json(last)
        elif as_json:
            put_json({"document": document, "number": step.generation.number})

    _run(config, body)


@app.command("status")
def status(
    document: Annotated[str | None, typer.Argument(help="All of them by default.")] = None,
    config: Config = DEFAULT_CONFIG,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """How far each generation has come, how fast, and what it waits for."""
    from tailrace.cli.reindex_wait import show_status

    async def body(control: "Control", _: "Settings") -> None:
        await show_status(control, document, watch=watch, as_json=as_json)

    _run(config, body)


@app.command("compare")
def compare(
    document: Document,
    number: Annotated[int | None, typer.Option("--number", help="The newest one by default.")] = None,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
    timeout: Timeout = 60.0,
    as_json: Json = False,
) -> None:
    """What answers beside the new generation: documents, saved questions, times. Exit 3 if the gate fails."""
    from dataclasses import asdict

    from tailrace.cli.reindex_show import comparison

    found, refused = _judged(config, document, number, url, timeout)
    if as_json:
        put_json({**asdict(found), "passed": not refused, "why": refused})
    else:
        put(comparison(found, refused))
    if refused:
        raise typer.Exit(DIFFERS)


@app.command("promote")
def promote(
    document: Document,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
    force: Annotated[bool, typer.Option("--force", help="Without comparing first.")] = False,
    timeout: Timeout = 60.0,
    as_json: Json = False,
) -> None:
    """Let the new generation answer: compare, wait until it is level, switch. Exit 3 if the gate fails."""
    from tailrace.reindex import decide

    async def level(control: "Control", _: "Settings") -> "tuple[Registry, Generation, Pointer]":
        before = control.registry
        pointer = decide.promotion(before, document, control.now())
        candidate = before.find(document, pointer.live)
        if candidate is None:
            raise ValueError("a candidate that is not recorded")
        await control.drained(candidate, timeout)
        return before, candidate, pointer

    async def switch(control: "Control", _: "Settings") -> None:
        await control.drained(candidate, timeout)
        judged = decide.compared(before, control.registry, pointer, control.now())
        await _moved(control, judged, timeout, as_json=as_json)

    before, candidate, pointer = _run(config, level)
    if not force:
        # In no event loop: there Ctrl-C would wait for the thread that reads what the service says.
        _, refused = _judged(config, document, pointer.live, url, timeout)
        for why in refused:
            say(f"gate: {why}")
        if refused:
            say("nothing was changed; --force promotes all the same")
            raise typer.Exit(DIFFERS)
    _run(config, switch)


@app.command("rollback")
def rollback(
    document: Document, config: Config = DEFAULT_CONFIG, timeout: Timeout = 60.0, as_json: Json = False
) -> None:
    """Let the generation before answer again: it has followed the log all the time."""
    from tailrace.reindex import decide

    async def body(control: "Control", _: "Settings") -> None:
        pointer = decide.rollback(control.registry, document, control.now())
        target = control.registry.find(document, pointer.live)
        if target is None:
            raise ValueError("a generation that is not recorded")
        [found] = await control.look([target])
        if not found.level:
            why = f" and waits: {found.waiting}" if found.waiting else ""
            say(
                f"generation {target.number} is {found.lag:,} records behind{why}: waiting up to"
                f" {timeout:.0f} s for it"
            )
            await control.drained(target, timeout)
        pointer = decide.still(pointer, control.registry, control.now())
        await _moved(control, pointer, timeout, as_json=as_json)

    _run(config, body)


@app.command("drop")
def drop(
    document: Document,
    number: Annotated[int, typer.Argument(help="Of the generation, as `ls` shows it.")],
    config: Config = DEFAULT_CONFIG,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """End a generation that does not answer: its index is deleted. One that answers is refused."""
    import sys

    from core.errors import ConfigurationError
    from tailrace.reindex import decide

    async def stands(control: "Control", _: "Settings") -> bool:
        return decide.drop(control.registry, document, number) is not None

    async def body(control: "Control", _: "Settings") -> None:
        done = await control.drop(document, number)
        said = "is dropped: the workers delete its index" if done else "was dropped before"
        say(f"{document} generation {number} {said}")
        if as_json:
            put_json({"document": document, "number": number, "dropped": done})

    if not yes and _run(config, stands):
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ConfigurationError(
                f"generation {number} of {document} would be deleted: run it again with --yes"
            )
        # In no event loop: there Ctrl-C would not end the question.
        typer.confirm(f"Delete generation {number} of {document}?", abort=True, err=True)
    _run(config, body)


def _run(config: Path, body: "Callable[[Control, Settings], Coroutine[Any, Any, R]]") -> R:
    import asyncio

    from tailrace.configuration import load
    from tailrace.reindex.control import Control

    settings = load(config).settings

    async def within() -> R:
        async with Control(settings) as control:
            return await body(control, settings)

    return asyncio.run(within())


def _judged(
    config: Path, document: str, number: int | None, url: str | None, timeout: float
) -> "tuple[Comparison, list[str]]":
    """What the service finds, and why the gate refuses it. While it is busy it is asked again."""
    import time

    from core.errors import TransientError
    from tailrace.cli.client import service_url
    from tailrace.cli.reindex_wait import ask_comparison, asked_again
    from tailrace.configuration import load
    from tailrace.reindex.questions import asked_of, read_questions

    settings = load(config).settings
    until = time.monotonic() + timeout
    questions = asked_of(read_questions(settings.reindex.queries, list(settings.documents)), document)
    service = service_url(url, config)
    while True:
        try:
            found = ask_comparison(service, document, number, questions, settings.reindex.top_k)
        except TransientError as error:
            time.sleep(asked_again(error, until))
        else:
            return found, _gate(settings, found)


def _gate(settings: "Settings", found: "Comparison") -> list[str]:
    from tailrace.reindex.decide import gate

    return gate(
        settings.reindex,
        missing=found.missing.count,
        different=found.different.count,
        extra=found.extra.count,
        overlap=found.overlap,
        recall=found.candidate.recall,
    )


async def _moved(control: "Control", pointer: "Pointer", timeout: float, *, as_json: bool) -> None:  # noqa: ASYNC109 - a plain limit
    import asyncio

    try:
        moved = await control.move(pointer, timeout)
    except asyncio.CancelledError:
        live = control.registry.live(pointer.document)
        answers = "" if live is None else f", generation {live.number} goes on answering"
        say(f"interrupted: the wish for generation {pointer.live} was taken back{answers}")
        raise
    say(
        f"{pointer.document}: generation {pointer.live} answers ({moved.milliseconds} ms); generation"
        f" {pointer.previous} follows the log until"
        f" `tailrace reindex drop {pointer.document} {pointer.previous}`"
    )
    if as_json:
        put_json(
            {
                "document": pointer.document,
                "live": pointer.live,
                "previous": pointer.previous,
                "milliseconds": moved.milliseconds,
            }
        )


def _strays(url: str | None, config: Path) -> list[str]:
    """Only the service can see the index; without one nothing is said of strays."""
    from core.errors import TailraceError
    from tailrace.cli.client import call, service_url

    try:
        found = call(service_url(url, config), "GET", "/v1/generations", timeout=5.0)
    except TailraceError:
        return []
    strays = found.get("strays") if isinstance(found, dict) else None
    return strays if isinstance(strays, list) else []  # else another program answers there
