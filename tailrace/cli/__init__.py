"""The command line: one command a file, data on stdout, messages on stderr.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 differs / not fresh / not ready,
130 interrupted. Heavy imports stand inside the commands: `tailrace --help` stays under 0.3 s.
"""

from collections.abc import Sequence

import typer

from core.errors import ConfigurationError, TailraceError
from tailrace.cli.config import app as config
from tailrace.cli.connect import app as connect
from tailrace.cli.demo import demo
from tailrace.cli.dev import dev
from tailrace.cli.doc import app as doc
from tailrace.cli.doctor import doctor
from tailrace.cli.freshness import freshness
from tailrace.cli.init import init
from tailrace.cli.output import say
from tailrace.cli.query import query
from tailrace.cli.reindex import app as reindex
from tailrace.cli.resync import resync
from tailrace.cli.serve import serve
from tailrace.cli.topics import app as topics
from tailrace.cli.version import version
from tailrace.cli.worker import worker

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


@app.callback()
def front() -> None:
    """Before any command: logs have no place among the data, and a command says itself what failed."""
    import logging

    from core.telemetry import configure_logging

    configure_logging("ERROR")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


app.command("demo")(demo)
app.command("init")(init)
app.command("dev")(dev)
app.command("worker")(worker)
app.command("serve")(serve)
app.add_typer(topics, name="topics")
app.add_typer(connect, name="connect")
app.command("query")(query)
app.add_typer(doc, name="doc")
app.command("freshness")(freshness)
app.command("doctor")(doctor)
app.add_typer(reindex, name="reindex")
app.command("resync")(resync)
app.add_typer(config, name="config")
app.command("version")(version)


def run(arguments: Sequence[str]) -> int:
    """The exit code of one command line."""
    try:
        code = app(list(arguments), prog_name="tailrace", standalone_mode=False)
    except typer.Exit as leaving:
        return leaving.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except (TailraceError, OSError) as error:  # the system's: a full disk, a folder that may not be written
        say(f"tailrace: {error}")
        return USAGE if isinstance(error, ConfigurationError) else FAILED
    except Exception as error:  # typer's own usage errors carry their code and text
        shown = getattr(error, "format_message", None)
        if shown is None:
            raise
        context = getattr(error, "ctx", None)
        command = "tailrace" if context is None else context.command_path
        say(f"tailrace: {shown()}\nTry `{command} --help`.")
        return int(getattr(error, "exit_code", USAGE))
    return code if isinstance(code, int) else 0
