"""`tailrace reindex plan`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tailrace.cli.options import DEFAULT_CONFIG, Config, Json
from tailrace.cli.output import put, put_json, say, table

if TYPE_CHECKING:
    from embed.estimate import Figure
    from tailrace.reindex.counting import Progress
    from tailrace.reindex.planning import ReindexPlan

MEANINGS = {
    "first": "there is no generation yet",
    "nothing": "nothing changed",
    "metadata": "metadata only: no text moves",
    "recut": "re-cut: texts are divided otherwise",
    "reembed": "re-embed: every text gets another vector",
}


def plan(
    document: Annotated[str, typer.Argument(help="A name from `documents` in the configuration.")],
    config: Config = DEFAULT_CONFIG,
    exact: Annotated[
        bool, typer.Option("--exact", help="Read every record instead of a sample: minutes.")
    ] = False,
    sample: Annotated[int, typer.Option("--sample", min=1, help="Rows that a sample looks at.")] = 1500,
    as_json: Json = False,
) -> None:
    """Say what changed since the index was built, what it means, and what a reindex costs."""
    import asyncio

    from tailrace.configuration import load
    from tailrace.reindex.planning import plan_reindex

    settings = load(config).settings
    with _bar(shown=exact) as progress:
        made = asyncio.run(plan_reindex(settings, document, exact=exact, rows=sample, progress=progress))
    if as_json:
        put_json(as_data(made))
    else:
        _show(made)
    say(next_step(made))


def next_step(made: "ReindexPlan") -> str:
    """One sentence: what to do now."""
    name = made.document
    if made.meaning == "first":
        return f"document {name} has no generation yet: the worker makes it, when it starts"
    if made.candidate is not None:
        return (
            f"generation {made.candidate} is built with this configuration already:"
            f" `tailrace reindex status {name}` says how far it is"
        )
    if made.meaning == "nothing":
        return f"generation {made.live} is built with this configuration: there is nothing to do"
    if made.looked is not None and made.looked.refused:
        return (
            f"{made.looked.refused} of {made.looked.rows} rows cannot be made a document so"
            f" ({made.looked.refusal}): mend the configuration first"
        )
    return f"`tailrace reindex start {name}` builds it, while generation {made.live} goes on answering"


def as_data(made: "ReindexPlan") -> dict[str, Any]:
    """For programs: figures with their error at 95 % confidence, times in seconds, sizes in bytes."""
    from dataclasses import asdict

    from embed.estimate import CONFIDENCE

    return {**asdict(made), "confidence": CONFIDENCE, "next": next_step(made)}


def _show(made: "ReindexPlan") -> None:
    put(f"{made.document}: {MEANINGS[made.meaning]}")
    if made.changes:
        changes = [[one.name, _short(one.old), _short(one.new)] for one in made.changes]
        put("\n" + table(["setting", f"generation {made.live}", "now"], changes))
    found, looked = made.estimate, made.looked
    if found is None or looked is None:
        return
    rows = [
        ["documents", *_number(found.documents)],
        ["chunks", *_number(found.chunks)],
        ["vectors reusable", *_number(found.reusable)],
        ["texts to embed", *_number(found.texts)],
        ["tokens to embed", *_number(found.tokens)],
        ["minutes", *(_number(made.seconds.times(1 / 60), digits=1) if made.seconds else ["unknown", ""])],
    ]
    if made.money is not None:
        rows.append(["cost at the endpoint's price", *_number(made.money, digits=2)])
    if made.disk is not None:
        now = "reported" if made.disk.measured else "estimated"
        rows.append([f"MB on disk, generation {made.live}", f"{made.disk.live / 1e6:,.1f}", now])
        rows.append(
            ["MB on disk, the new one", f"{made.disk.new / 1e6:,.1f}", "beside it, until one is dropped"]
        )
    put("\n" + table(["the new generation", "estimate", "95 % within"], rows))
    _remarks(made)


def _remarks(made: "ReindexPlan") -> None:
    found, looked = made.estimate, made.looked
    if found is None or looked is None:
        return
    share = (
        "every record"
        if looked.counted == "every record"
        else f"{looked.rows:,} rows, {looked.windows / max(looked.of, 1):.1%}"
    )
    say(
        f"read {share} of the state topic in {made.took_seconds:.1f} s; documents are from {looked.counted}"
        + ("" if looked.counted == "every record" else "; `--exact` reads all")
    )
    if not looked.store:
        say("the vector store is not on this machine: vectors that the worker keeps there are not counted")
    if made.unmeasured:
        say(f"the encoder was not measured: {made.unmeasured}")
    elif found.texts.value and made.rates is not None and made.rates.token:
        say(f"minutes are at {1 / made.rates.token:,.0f} tokens/s, measured here just now")


def _number(figure: "Figure", digits: int = 0) -> list[str]:
    error = f"± {figure.error:,.{digits}f}" if figure.error else ""
    return [f"{figure.value:,.{digits}f}", error]


def _short(value: object) -> str:
    text = "(none)" if value is None else str(value)
    shown = " ".join(text.split())
    return shown if len(shown) <= 48 else shown[:45] + "..."  # noqa: PLR2004 - a table, not a listing


class _bar:  # noqa: N801 - reads as the statement it is
    """A bar on a terminal, and nothing elsewhere."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._bar: Any = None

    def __enter__(self) -> "Progress":
        import sys

        if not (self._shown and sys.stderr.isatty()):
            return lambda _done, _all: None
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("reading"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.start()
        task = self._bar.add_task("reading")
        return lambda done, every: self._bar.update(task, completed=done, total=every)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
