"""`tailrace connect offsets show | set | reset`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.connect_options import Connector, Timeout, Url, Yes, confirm
from tailrace.cli.options import DEFAULT_CONFIG, Config, Json
from tailrace.cli.output import put, put_json, say

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Where a connector goes on from.")
Stop = Annotated[bool, typer.Option("--stop", help="Stop it first; it stays stopped.")]


@app.command("show")
def show(name: Connector, config: Config = DEFAULT_CONFIG, url: Url = None, as_json: Json = False) -> None:
    """Show the committed offsets, in the connector's own format."""
    import json

    from tailrace import connect

    with connect.workplace(config, url).client() as client:
        connect.the_connector(client, name)
        found = client.offsets(name)
    if as_json:
        put_json(found)
        return
    for entry in found:
        put(json.dumps(entry["partition"]))
        for key, value in sorted((entry["offset"] or {}).items()):
            put(f"    {key}: {value}")
    if not found:
        say("nothing is committed yet")


@app.command("set")
def set_(
    name: Connector,
    file: Annotated[Path, typer.Argument(help="As `show --json` prints them; - is stdin.")],
    stop: Stop = False,
    timeout: Timeout = 60.0,
    yes: Yes = False,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
) -> None:
    """Set offsets. The connector must be stopped, and stays so.

    tailrace connect offsets show shop --json > saved.json

    tailrace connect offsets set shop saved.json --stop
    """
    from connectors.offsets import parse_offsets, set_offsets
    from connectors.watch import Pace
    from core.errors import ConfigurationError
    from tailrace import connect

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from error
    wanted = parse_offsets(text)
    with connect.workplace(config, url).client() as client:
        connect.the_connector(client, name)
        confirm(
            f"Set {len(wanted)} offset(s) of {name}? Set back, changes come again; set ahead, they are lost.",
            yes=yes,
        )
        set_offsets(client, name, wanted, stop=stop, pace=Pace(timeout, 0.0))
    put(f"{name}: {len(wanted)} offset(s) set")
    _say_next(name)


@app.command("reset")
def reset(
    name: Connector,
    stop: Stop = False,
    timeout: Timeout = 60.0,
    yes: Yes = False,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
) -> None:
    """Forget all offsets: the connector begins anew, with a snapshot. It must be stopped, and stays so."""
    from connectors.offsets import reset_offsets
    from connectors.watch import Pace
    from tailrace import connect

    with connect.workplace(config, url).client() as client:
        connect.the_connector(client, name)
        confirm(f"Forget all offsets of {name}? It will read every table again.", yes=yes)
        count = reset_offsets(client, name, stop=stop, pace=Pace(timeout, 0.0))
    put(f"{name}: {count} offset(s) forgotten")
    _say_next(name)


def _say_next(name: str) -> None:
    say(
        f"{name} is stopped: `tailrace connect resume {name}` goes on. What was deleted in the database"
        " meanwhile is told by no event: `tailrace resync TOPIC` for each of its topics"
    )
