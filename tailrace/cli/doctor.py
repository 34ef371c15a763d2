"""`tailrace doctor`."""

import typer

from tailrace.cli.options import DEFAULT_CONFIG, Config, Json
from tailrace.cli.output import put, put_json, say

FAILED = 1


def doctor(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Check every component that is configured: ok, warn or fail, and how to mend it.

    On the embedded index run it while no worker does: the folder has one owner.
    """
    from dataclasses import asdict

    from connectors.checks import worst
    from tailrace.configuration import load
    from tailrace.doctor import examine

    found = []
    for check in examine(load(config).settings):
        found.append(check)
        if not as_json:
            put(f"{check.status:<5} {check.name}: {check.what}")
            if check.fix:
                put(f"      → {check.fix}")
    if as_json:
        put_json([asdict(check) for check in found])
    counted = {status: sum(check.status == status for check in found) for status in ("ok", "warn", "fail")}
    say(", ".join(f"{number} {status}" for status, number in counted.items()))
    if worst(found) == "fail":
        raise typer.Exit(FAILED)
