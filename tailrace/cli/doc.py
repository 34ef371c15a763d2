"""`tailrace doc show`."""

from typing import Annotated
from urllib.parse import quote

import typer

from tailrace.cli.options import DEFAULT_CONFIG, Config, Json, Url
from tailrace.cli.output import put, put_json, table, when

app = typer.Typer(no_args_is_help=True, help="What the index holds of one document.", rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Keeps `show` a subcommand."""


@app.command("show")
def show(
    document: Annotated[str, typer.Argument(help="As `documents` in the configuration names it.")],
    key: Annotated[str, typer.Argument(help="42, or id=42,tenant=1 for several columns.")],
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Print manifest, chunks and current row of one document."""
    from tailrace.cli.client import call, service_url

    path = f"/v1/documents/{quote(document, safe='')}/{quote(key, safe='')}"
    found = call(service_url(url, config), "GET", path)
    if as_json:
        put_json(found)
        return
    manifest = found["manifest"]
    put(f"{document} {key}: {manifest['title']}")
    shown = {**manifest, "committed_at": when(manifest["committed_at"]), "chunks": len(manifest["chunks"])}
    fields = [[name, str(value)] for name, value in shown.items() if value is not None]
    put(table(["field", "value"], fields))
    for chunk in found["chunks"]:
        put(f"\n[{chunk['ordinal']}] {chunk['id']}\n{chunk['text']}")
    put("\nrow as of now:")
    put_json(found["row"])
