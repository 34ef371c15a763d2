"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
Json = Annotated[bool, typer.Option("--json", help="Data as JSON on stdout.")]
Url = Annotated[
    str | None, typer.Option("--url", help="The query service; from the configuration by default.")
]
DEFAULT_CONFIG = Path("tailrace.yaml")
