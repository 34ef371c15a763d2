"""`tailrace resync`."""

from typing import Annotated

import typer

from tailrace.cli.options import DEFAULT_CONFIG, Config
from tailrace.cli.output import say


def resync(
    topic: Annotated[str, typer.Argument(help="The raw topic, as the worker's message names it.")],
    config: Config = DEFAULT_CONFIG,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be done.")] = False,
) -> None:
    """Open a new epoch of a raw topic and read it again from its first record.

    For when the worker stops because the topic, its log or the database is no longer the one it
    knew. The rows of the table leave the answers until they have been read again. If the topic
    does not hold a snapshot of the table, have the connector take one first.
    """
    import asyncio

    from tailrace.resync import open_epoch, plan_resync

    step = plan_resync(config, topic)
    say(step.said)
    if not yes:
        say("nothing was changed: stop the workers, then run it again with --yes")
        raise typer.Exit(0)
    asyncio.run(open_epoch(step))
    say(f"{topic} is in epoch {step.record.epoch}: start the worker")
