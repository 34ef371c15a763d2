"""`tailrace connect export | delete`: files from connectors, and the end of one."""

from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.connect_options import FAILED, Connector, Database, Timeout, Url, Yes, confirm
from tailrace.cli.options import DEFAULT_CONFIG, Config
from tailrace.cli.output import put, say


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

    with connect.workplace(config, url).client() as client:
        live = client.connectors()
        if missing := sorted(set(names or ()) - set(live)):
            raise ConfigurationError(
                f"there is no connector {', '.join(missing)}: {', '.join(live) or 'none at all'}"
            )
        made = [
            exported(live[name], client.password_keys(live[name].config.get("connector.class", "")))
            for name in names or live
        ]
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


def delete(
    name: Connector,
    clean: Annotated[
        bool, typer.Option("--clean", help="Also its offsets, slot and publication. Never its topics.")
    ] = False,
    database: Database = None,
    timeout: Timeout = 60.0,
    yes: Yes = False,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
) -> None:
    """Delete a connector, and say what stays behind.

    tailrace connect delete shop

    tailrace connect delete shop --clean --database '${env:ADMIN_DSN}'
    """
    from connectors.removal import leftovers, remove, remove_clean
    from connectors.watch import Pace
    from tailrace import connect

    place = connect.workplace(config, url)
    with place.client() as client:
        live = connect.the_connector(client, name)
        left = leftovers(client, live)
        if not clean:
            confirm(f"Delete connector {name}? What it made stays.", yes=yes)
            remove(client, live)
            put(f"deleted {name}")
            say("what stays:")
            for line in left.lines():
                say(f"  {line}")
            return
        dsn = connect.dsn_of(place, live.config, database)
        what = ", ".join(
            filter(
                None,
                [left.slot and f"slot {left.slot}", left.publication and f"publication {left.publication}"],
            )
        )
        confirm(
            f"Delete connector {name}, its offsets{', ' + what if what else ''}? There is no way back.",
            yes=yes,
        )
        kept = 0
        for done, error in remove_clean(client, live, left, dsn, pace=Pace(timeout, 0.0)):
            if error is None:
                put(f"deleted {done}")
            else:
                kept += 1
                say(f"{done} stays: {error}")
        for topic, what in left.kept().items():
            say(f"topic {topic} stays: {what or 'it holds what may not be had again'}")
    if kept:
        raise typer.Exit(FAILED)
