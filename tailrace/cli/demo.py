"""`tailrace demo`."""

from typing import Annotated

import typer

from tailrace.cli.options import Json

FAILED = 1


def demo(
    once: Annotated[bool, typer.Option("--once", help="Play the story, report, and exit.")] = False,
    as_json: Json = False,
    port: Annotated[
        int,
        typer.Option(
            "--port", min=0, max=65535, help="Of the query service; a free one if it is taken, or 0."
        ),
    ] = 8000,
) -> None:
    """Play the main job on a sample shop, in this process, with nothing to install.

    A question, an edit, the same question: the answer follows the row. Then it keeps serving.
    Exit 0 if every step was right, 1 if not.
    """
    from tailrace.demo.run import run_demo

    if not run_demo(once=once, as_json=as_json, port=port):
        raise typer.Exit(FAILED)
