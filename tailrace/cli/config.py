"""`tailrace config show`."""

from typing import Annotated, Any

import typer

from tailrace.cli.options import DEFAULT_CONFIG, Config, Json
from tailrace.cli.output import put, put_json

app = typer.Typer(no_args_is_help=True, help="The configuration, as it is understood.", rich_markup_mode=None)


@app.command("show")
def show(
    config: Config = DEFAULT_CONFIG,
    origin: Annotated[bool, typer.Option("--origin", help="Where each value came from.")] = False,
    as_json: Json = False,
) -> None:
    """Print every value in force. Secrets are shown as their references."""
    from tailrace.configuration import load

    loaded = load(config)
    values = dict(_leaves(loaded.settings.model_dump(mode="json"), ()))
    rows = {path: (value, loaded.origins.get(path, "default")) for path, value in values.items()}
    if as_json:
        put_json({p: {"value": v, "origin": o} if origin else v for p, (v, o) in rows.items()})
        return
    for path, (value, where) in rows.items():
        put(f"{path} = {value!r}" + (f"    # {where}" if origin else ""))


@app.command("schema")
def schema() -> None:
    """Print the JSON schema of tailrace.yaml, for editors."""
    from core.settings import Settings

    put_json(Settings.model_json_schema())


def _leaves(tree: Any, path: tuple[str, ...]) -> list[tuple[str, Any]]:
    if isinstance(tree, dict) and tree:
        return [leaf for key, value in tree.items() for leaf in _leaves(value, (*path, str(key)))]
    if isinstance(tree, list) and any(isinstance(item, dict) for item in tree):
        return [leaf for key, value in enumerate(tree) for leaf in _leaves(value, (*path, str(key)))]
    return [(".".join(path), tree)]
