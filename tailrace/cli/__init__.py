"""The command line: one command a file, data on stdout, messages on stderr.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 differs / not fresh / not ready,
130 interrupted. Heavy imports stand inside the commands: `tailrace --help` stays under 0.3 s.
"""

import sys
from collections.abc import Sequence

import typer

from core.errors import ConfigurationError, TailraceError
from tailrace.cli import (
    config,
    demo,
    dev,
    doc,
    doctor,
    freshness,
    init,
    query,
    resync,
    serve,
    topics,
    version,
    worker,
)

FAILED, USAGE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="tailrace",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="""Answers from what your database says now.

    Try it:  tailrace demo
    Yours:   tailrace init; tailrace topics apply; tailrace dev
    """,
)
app.command("demo")(demo.demo)
app.command("init")(init.init)
app.command("dev")(dev.dev)
app.command("worker")(worker.worker)
app.command("serve")(serve.serve)
app.add_typer(topics.app, name="topics")
app.command("query")(query.query)
app.add_typer(doc.app, name="doc")
app.command("freshness")(freshness.freshness)
app.command("doctor")(doctor.doctor)
app.command("resync")(resync.resync)
app.add_typer(config.app, name="config")
app.command("version")(version.version)


def run(arguments: Sequence[str]) -> int:
    """The exit code of one command line."""
    try:
        code = app(list(arguments), standalone_mode=False)
    except typer.Exit as leaving:
        return leaving.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except ConfigurationError as error:
        print(f"tailrace: {error}", file=sys.stderr)  # noqa: T201 - the message is the interface
        return USAGE
    except TailraceError as error:
        print(f"tailrace: {error}", file=sys.stderr)  # noqa: T201
        return FAILED
    except Exception as error:  # typer's own usage errors carry their code and text
        shown = getattr(error, "format_message", None)
        if shown is None:
            raise
        print(f"tailrace: {shown()}\nTry `tailrace --help`.", file=sys.stderr)  # noqa: T201
        return int(getattr(error, "exit_code", USAGE))
    return code if isinstance(code, int) else 0
