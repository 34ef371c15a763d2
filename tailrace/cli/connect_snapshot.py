"""`tailrace connect snapshot start | status | stop`: tables read again while changes keep flowing."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.connect_options import FAILED, Connector, Database, Timeout, Url
from tailrace.cli.options import DEFAULT_CONFIG, Config, Json
from tailrace.cli.output import put, put_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connectors.live import ConnectorStatus, State
    from connectors.rest import ConnectClient
    from connectors.snapshots import Progress, Signal

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Incremental snapshots, asked for by a signal row."
)


@app.command("start")
def start(
    name: Connector,
    tables: Annotated[list[str], typer.Option("--table", "-t", help="schema.table; repeatable.")],
    wait: Annotated[bool, typer.Option("--wait", help="Until it is through, with its progress.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check that it would be read.")] = False,
    timeout: Timeout = 3600.0,
    database: Database = None,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
) -> None:
    """Have tables read, in chunks, while changes keep flowing: new tables of a connector, or lost rows.

    tailrace connect snapshot start shop --table public.articles --wait
    """
    from connectors.snapshots import execute, initial_running, refusals
    from core.errors import ConfigurationError
    from tailrace import connect, connect_databases

    place = connect.workplace(config, url)
    with place.client() as client:
        live = connect.the_connector(client, name)
        dsn = connect_databases.need_dsn(place, live.config, database)
        facts = connect_databases.facts_of(live.config, dsn, tables)
        said = refusals(live.config, tables, facts)
        if live.state != "running":
            said.append(f"connector {name} is {live.state}: it would not hear the signal")
        offsets = client.offsets(name)
        if initial_running(offsets):
            said.append("its first snapshot is not through yet: signals are heard after it")
        if said:
            raise ConfigurationError(f"no snapshot of {name}:\n" + "\n".join(f"  {line}" for line in said))
        if dry_run:
            say("dry run: it would be read; no signal was written")
            return
        signal = execute(tables)
        position = connect_databases.signal(live.config, dsn, signal)
        say(f"signal {signal.id} is written")
        begun = time.monotonic()
        seen = until_heard(client, name, signal, tables, position, min(timeout, 60.0))
        if seen is None:
            put(f"{name}: {', '.join(tables)} read")
            return
        put(f"{name}: {seen}")
        if wait:
            follow(client, name, begun + timeout, as_json=False, shown=str(seen))
            say(f"{name}: {', '.join(tables)} read")
        else:
            say(f"how far it is: tailrace connect snapshot status {name} --watch")


@app.command("status")
def status(
    name: Connector,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until it is through.")] = False,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show how far a snapshot is: as of the last commit of offsets, which may be a while ago.

    Exit 1 if its connector has failed.
    """
    from tailrace import connect

    with connect.workplace(config, url).client() as client:
        connect.the_connector(client, name)
        follow(client, name, None if watch else 0.0, as_json=as_json)


@app.command("stop")
def stop(
    name: Connector,
    tables: Annotated[
        list[str] | None, typer.Option("--table", "-t", help="Only these; all by default.")
    ] = None,
    timeout: Timeout = 60.0,
    database: Database = None,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
) -> None:
    """Stop a running snapshot. What was read of it stays; the rest is not read."""
    from connectors import snapshots
    from tailrace import connect, connect_databases

    place = connect.workplace(config, url)
    with place.client() as client:
        live = connect.the_connector(client, name)
        running = snapshots.progress(client.offsets(name))
        if running is None:
            say(f"{name}: no snapshot runs")
            return
        dsn = connect_databases.need_dsn(place, live.config, database)
        connect_databases.facts_of(live.config, dsn, list(tables or running.tables))
        connect_databases.signal(live.config, dsn, snapshots.stop(tables or ()))
        deadline = time.monotonic() + timeout
        gone = set(tables or running.tables)
        while (now := snapshots.progress(client.offsets(name))) is not None and gone & set(now.tables):
            if time.monotonic() >= deadline:
                say(f"{name}: the signal is written, and {now} still: is the connector running?")
                raise typer.Exit(FAILED)
            time.sleep(0.3)
    put(f"{name}: {'no snapshot runs any more' if now is None else now}")


def until_heard(
    client: "ConnectClient",
    name: str,
    signal: "Signal",
    tables: "Sequence[str]",
    position: str,
    timeout: float,
) -> "Progress | None":
    """The snapshot as soon as the offsets tell of it; None if they have passed the signal without: done.

    Another one that runs already is not taken for it: ours has the signal's id or these tables. Raises
    PermanentError for a connector that has failed.
    """
    from connectors.positions import has_reached
    from connectors.snapshots import progress
    from core.errors import TransientError

    deadline = time.monotonic() + timeout
    state: State | None = None
    while True:
        offsets = client.offsets(name)
        found = progress(offsets)
        if found is not None and (found.signal == signal.id or set(tables) <= set(found.tables)):
            return found
        if has_reached(offsets, position):
            return None
        state = _heed(client, name, client.status(name), state)
        if time.monotonic() >= deadline:
            raise TransientError(
                f"connector {name} has not come to the signal {signal.id} within {timeout:.0f} s: see"
                f" `tailrace connect status {name}`; a heartbeat moves it on an idle database"
            )
        time.sleep(0.3)


def follow(
    client: "ConnectClient", name: str, deadline: float | None, *, as_json: bool, shown: str = ""
) -> None:
    """Print progress when it changes, until it is through or the deadline (0: look once).

    Raises PermanentError for a connector that has failed, or is gone, while there is something to read.
    """
    from connectors.snapshots import progress

    pause = 1.0
    state: State | None = None
    while True:
        status = client.status(name)
        found = progress(client.offsets(name))
        if as_json:
            put_json(_data(name, found, status))
        elif found is None and status is not None:
            put(f"{name}: no snapshot runs{' any more' if shown else ''}")
        elif found is not None and str(found) != shown:
            shown = str(found)
            put(f"{name}: {shown}")
        if found is not None or status is None:
            state = _heed(client, name, status, state)
        if found is None or deadline == 0.0:
            return
        if deadline is not None and time.monotonic() >= deadline:
            say(f"{name}: still running; `tailrace connect snapshot status {name} --watch` goes on looking")
            raise typer.Exit(FAILED)
        time.sleep(pause)
        # A long one is not worth a line each second.
        pause = min(pause * 1.2, 10.0)


def _heed(
    client: "ConnectClient", name: str, status: "ConnectorStatus | None", before: "State | None"
) -> "State":
    """The connector's state; said where it is a new one in which nothing is read.

    Raises PermanentError for one that has failed, with its cause, and for one that is gone.
    """
    from core.errors import PermanentError
    from tailrace.connect import explained

    if status is None:
        raise PermanentError(f"connector {name} is gone: what it had not read by then is not read")
    if status.failure is not None:
        why = explained(client, name, client.config(name) or {}, status.failure)
        raise PermanentError(
            f"connector {name} has failed: nothing is read until that is mended and `tailrace connect restart"
            f" {name}` was run, which goes on at the last key: {why}"
        )
    if status.state in {"PAUSED", "STOPPED"} and status.summary != before:
        say(f"{name} is {status.state.lower()}: nothing is read until `tailrace connect resume {name}`")
    return status.summary


def _data(name: str, found: "Progress | None", status: "ConnectorStatus | None") -> dict[str, object]:
    state = "absent" if status is None else status.summary
    if found is None:
        return {"connector": name, "state": state, "running": False}
    return {
        "connector": name,
        "state": state,
        "running": True,
        "signal": found.signal,
        "tables": list(found.tables),
        "key": found.key,
        "last_key": found.last_key,
        "share": found.share,
    }
