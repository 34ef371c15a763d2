"""What the verbs of `tailrace connect` share: options, confirmation, and how plans are printed."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tailrace.cli.output import plain, put, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connectors.checks import Check
    from connectors.diff import Plan
    from connectors.hints import Explanation

FAILED, DIFFERS = 1, 3

Url = Annotated[str | None, typer.Option("--url", help="Kafka Connect; from tailrace.yaml by default.")]
Owner = Annotated[
    str | None,
    typer.Option("--owner", help="The mark on connectors: `app` or `app@profile` by default."),
]
Files = Annotated[
    list[Path] | None,
    typer.Argument(help="Files or folders; those that sources name by default, else ./connectors."),
]
Profile = Annotated[str | None, typer.Option("--profile", help="A profile of the files.")]
Connector = Annotated[str, typer.Argument(help="The connector's name.", metavar="NAME")]
Timeout = Annotated[float, typer.Option("--timeout", help="Longest wait, in seconds.", min=1)]
Trace = Annotated[bool, typer.Option("--trace", help="Whole stack traces, on stderr.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Database = Annotated[
    str | None,
    typer.Option("--database", help="A reference, '${env:NAME}' or '${file:PATH}'; the source's by default."),
]


def confirm(question: str, *, yes: bool) -> None:
    """Ask, on a terminal; anywhere else refuse and say what to write. A no ends the command with 1."""
    from core.errors import ConfigurationError

    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{question} Nothing was changed: run it again with --yes to agree")
    if not typer.confirm(plain(question), err=True):
        say("nothing was changed")
        raise typer.Exit(FAILED)


def show_plan(planned: "Plan", *, brief: bool = False) -> None:
    """`+ ~ -` a connector and, indented, a key. `brief`: of a new connector only how many keys it has."""
    signs = {"create": "+", "update": "~", "state": "~", "prune": "-", "none": "="}
    for step in planned.steps:
        origin = f"  ({step.desired.origin})" if step.desired and step.desired.origin else ""
        if brief and step.action == "create":
            put(f"+ {step.name}{origin}: {len(step.changes)} keys")
            for risk in step.risks:
                put(f"    !   {risk}")
            continue
        put(f"{signs[step.action]} {step.name}{origin}")
        for change in step.changes:
            put(f"    {change}")
            if change.risk:
                put(f"    !   {change.risk}")
        if step.state is not None and step.action not in {"create", "prune"}:
            put(f"    ~ state: {step.state[0]} → {step.state[1]}")


def plan_data(planned: "Plan") -> dict[str, Any]:
    return {
        "summary": planned.summary(),
        "steps": [
            {
                "connector": step.name,
                "action": step.action,
                "file": step.desired.origin if step.desired else None,
                "state": None if step.state is None else {"from": step.state[0], "to": step.state[1]},
                "changes": [
                    {"key": c.key, "sign": c.sign, "before": c.before, "after": c.after, "risk": c.risk}
                    for c in step.changes
                ],
            }
            for step in planned.steps
        ],
        "orphans": list(planned.orphans),
        "foreign": list(planned.foreign),
        "conflicts": list(planned.conflicts),
    }


def why_data(why: "Explanation | None") -> dict[str, str | None]:
    return {"cause": None if why is None else why.cause, "hint": None if why is None else why.hint}


def say_plan(planned: "Plan", *, prune: bool) -> None:
    """The one summary, and what will be left alone."""
    for conflict in planned.conflicts:
        say(f"conflict: {conflict}")
    if planned.orphans and not prune:
        say(f"in no file, and ours: {', '.join(planned.orphans)} (--prune deletes them)")
    if planned.foreign:
        say(f"not ours, left alone: {', '.join(planned.foreign)}")
    say(planned.summary())


def say_checks(name: str, checks: "Sequence[Check]") -> bool:
    """What is not well in a database; whether it keeps the connector from being applied."""
    for check in checks:
        if check.status != "ok":
            say(f"{check.status:<5} {name}: {check.name}: {check.what}")
            if check.fix:
                say(f"      → {check.fix}")
    return any(check.status == "fail" for check in checks)
