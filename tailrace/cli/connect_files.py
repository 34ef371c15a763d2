"""`tailrace connect export | delete`: files from connectors, and the end of one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.connect_options import FAILED, Connector, Database, Profile, Timeout, Url, Yes, confirm
from tailrace.cli.options import DEFAULT_CONFIG, Config
from tailrace.cli.output import put, say

if TYPE_CHECKING:
    from connectors.export import Exported


def register(app: typer.Typer) -> None:
    """Into the group of `tailrace connect`."""
    app.command("export")(export)
    app.command("delete")(delete)


def export(
    names: Annotated[
        list[str] | None, typer.Argument(help="Connectors; all by default.", metavar="[NAME]…")
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="A folder for the files; stdout otherwise.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
) -> None:
    """Write the files of live connectors: the way to adopt a cluster. A secret is never written.

    tailrace connect export --to connectors
    """
    from tempfile import TemporaryDirectory

    from connectors.export import exported
    from connectors.spec import write_spec
    from core.errors import ConfigurationError
    from tailrace import connect

    left_out = 0
    with connect.workplace(config, url).client() as client:
        live = client.connectors()
        connect.require_all(client, live, names or ())
        made: list[Exported] = []
        for name in dict.fromkeys(names or live):
            kind = live[name].config.get("connector.class")
            taken = {variable for one in made for variable in one.variables}
            try:
                made.append(exported(live[name], client.password_keys(kind) if kind else (), taken))
            except ConfigurationError as error:
                left_out += 1
                say(f"{name}: left out: {error}")
    if to is not None:
        standing = [str(path) for one in made if (path := to / f"{one.spec.name}.yaml").exists()]
        if standing and not force:
            raise ConfigurationError(f"{', '.join(standing)} exist: move them away, or run with --force")
        to.mkdir(parents=True, exist_ok=True)
    for one in made:
        with TemporaryDirectory() as aside:
            path = (to or Path(aside)) / f"{one.spec.name}.yaml"
            write_spec(one.spec, path)
            if to is None:
                put(("---\n" if len(made) > 1 else "") + path.read_text(encoding="utf-8").rstrip())
            else:
                say(f"wrote {path}")
        for note in one.notes:
            say(f"{one.spec.name}: {note}")
    if left_out:
        raise typer.Exit(FAILED)


def delete(
    name: Connector,
    clean: Annotated[
        bool, typer.Option("--clean", help="Also its offsets, slot and publication. Never its topics.")
    ] = False,
    database: Database = None,
    profile: Profile = None,
    timeout: Timeout = 60.0,
    yes: Yes = False,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
) -> None:
    """Delete a connector, and say what stays behind.

    With --clean also one that is gone already, by its file: what it left is dropped.

    tailrace connect delete shop

    tailrace connect delete shop --clean --database '${env:ADMIN_DSN}'
    """
    from connectors.removal import drop_leftovers, leftovers, need_database, remove, remove_clean
    from connectors.watch import Pace
    from tailrace import connect, connect_databases

    place = connect.workplace(config, url)
    with place.client() as client:
        there = client.connectors()
        live = there.get(name) or connect.gone(place, name, profile, clean=clean)
        left = leftovers(client, live, there)
        if not clean:
            confirm(f"Delete connector {name}? What it made stays.", yes=yes)
            remove(client, live)
            put(f"deleted {name}")
            say("what stays:")
            for line in left.lines():
                say(f"  {line}")
            return
        dsn = connect_databases.dsn_of(place, live.config, database)
        need_database(left, dsn)
        if dsn is not None and left.droppable():
            # One that cannot be reached is found now, not when offsets and connector are gone.
            connect_databases.facts_of(live.config, dsn, ())
        parts = [f"connector {name}", "its offsets"] if name in there else []
        parts += [f"{what} {named}" for what, named in left.droppable()]
        confirm(f"Delete {', '.join(parts) or 'nothing'}? There is no way back.", yes=yes)
        pace = Pace(timeout, 0.0)
        if name in there:
            steps = remove_clean(client, live, left, dsn, pace=pace)
        else:
            say(f"there is no connector {name}: its offsets stay; what its file names goes")
            steps = drop_leftovers(left, dsn, pace=pace)
        kept = 0
        for done, error in steps:
            if error is None:
                put(f"deleted {done}")
            else:
                kept += 1
                say(f"{done} stays: {error}")
        for line in left.shared_lines():
            say(f"{line}: it stays")
        for topic, what in left.kept().items():
            say(f"topic {topic} stays: {what or 'it holds what may not be had again'}")
    if kept:
        raise typer.Exit(FAILED)
