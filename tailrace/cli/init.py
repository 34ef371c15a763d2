"""`tailrace init`."""

import secrets
from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.output import say


def init(
    folder: Annotated[Path, typer.Argument(help="Where to write.")] = Path(),
    app: Annotated[str, typer.Option(help="Prefix of topics, groups and collections.")] = "shop",
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Write a configuration to start from. Asks nothing."""
    from importlib import resources

    from core.errors import ConfigurationError

    text = resources.files("tailrace").joinpath("templates/tailrace.yaml").read_text(encoding="utf-8")
    # A random placeholder: nobody can type the one that stands for unchanged text.
    made = text.replace("${app}", app).replace("${placeholder}", f"__unchanged_{secrets.token_hex(8)}__")
    files = {
        folder / "tailrace.yaml": made,
        folder
        / ".env.example": "# Secrets are read from the environment: ${env:LLM_API_KEY}\nLLM_API_KEY=\n",
    }
    standing = [str(path) for path in files if path.exists()]
    if standing and not force:
        raise ConfigurationError(f"{', '.join(standing)} exist: move them away, or run with --force")
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        path.write_text(content, encoding="utf-8")
        say(f"wrote {path}")
    say("next: edit tailrace.yaml, then `tailrace topics apply`, `tailrace doctor`, `tailrace dev`")
