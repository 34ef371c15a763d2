"""`tailrace connect validate | plan | apply`, and the group of all its verbs."""

from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli import connect_files, connect_offsets, connect_run, connect_snapshot
from tailrace.cli.connect_options import (
    DIFFERS,
    FAILED,
    Files,
    Owner,
    Profile,
    Timeout,
    Trace,
    Url,
    Yes,
    confirm,
    plan_data,
    say_checks,
    say_plan,
    show_plan,
    why_data,
)
from tailrace.cli.options import DEFAULT_CONFIG, Config, Json
from tailrace.cli.output import put, put_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connectors.apply import Outcome
    from connectors.diff import Desired, Plan
    from connectors.spec import LoadedSpec
    from tailrace.connect import Workplace

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def group() -> None:
    """Connectors as code: what Kafka Connect runs, from files under version control."""
    from stamina.instrumentation import set_on_retry_hooks

    # Every try again as a line of log on stdout would be among the data; the last one's error is told.
    set_on_retry_hooks(())


Prune = Annotated[
    bool,
    typer.Option("--prune", help="Also delete connectors of ours that no file names. Not with FILES."),
]


@app.command("validate")
def validate(
    files: Files = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask nobody: only our own rules.")] = False,
    profile: Profile = None,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Check files by the preset's rules, then by the worker's own validation. Changes nothing.

    tailrace connect validate

    tailrace connect validate connectors/shop.yaml --offline
    """
    from connectors.masking import masked_text
    from core.errors import TailraceError
    from tailrace import connect

    place = connect.workplace(config, url, offline=offline)
    loaded = connect.named_files(place, files, profile)
    found: dict[str, list[str]] = {one.spec.name: [] for one in loaded} | connect.refusals(place, loaded)
    sound = [one for one in loaded if not found[one.spec.name]]
    if not offline and sound:
        with place.client() as client:
            for one in sound:
                try:
                    (made,) = connect.wanted(place, [one])
                    errors = client.validate(made.config, secrets=made.secrets).errors
                except TailraceError as error:
                    found[one.spec.name] = [masked_text(str(error))]
                    continue
                found[one.spec.name] = [f"{key}: {' '.join(lines)}" for key, lines in sorted(errors.items())]
    if as_json:
        put_json(
            [
                {"connector": one.spec.name, "file": str(one.path), "errors": found[one.spec.name]}
                for one in loaded
            ]
        )
    else:
        for one in loaded:
            put(f"{'fail' if found[one.spec.name] else 'ok':<5} {one.spec.name}  ({one.path})")
            for line in found[one.spec.name]:
                put(f"      {line}")
    for one in loaded:
        for rule in one.spec.idle_waivers():
            say(f"note  {one.spec.name}: accept.{rule} waives nothing: remove it, if no profile needs it")
    bad = sum(1 for lines in found.values() if lines)
    say(
        f"{len(loaded) - bad} ok, {bad} refused" + (" (offline: the worker was not asked)" if offline else "")
    )
    if bad:
        raise typer.Exit(FAILED)


@app.command("plan")
def plan(
    files: Files = None,
    check: Annotated[bool, typer.Option("--check", help="Exit 3 if anything differs.")] = False,
    prune: Prune = False,
    profile: Profile = None,
    owner: Owner = None,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Say what `apply` would change: + added, ~ changed, - removed, ! what to know before.

    tailrace connect plan

    tailrace connect plan --check --json
    """
    from tailrace import connect

    place = connect.workplace(config, url, owner, profile)
    kept = connect.standing(place, files, profile, prune=prune)
    desired = connect.wanted(place, connect.named_files(place, files, profile))
    with place.client() as client:
        planned = connect.read_plan(place, client, desired, prune=prune, kept=kept)
    put_json(plan_data(planned)) if as_json else show_plan(planned)
    say_plan(planned, prune=prune)
    if planned.conflicts:
        raise typer.Exit(FAILED)
    if check and planned.changes:
        raise typer.Exit(DIFFERS)


@app.command("apply")
def apply(
    files: Files = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look at everything, send nothing.")] = False,
    prune: Prune = False,
    profile: Profile = None,
    timeout: Timeout = 120.0,
    settle: Annotated[
        float, typer.Option("--settle", help="Seconds for which RUNNING must hold before it counts.", min=0)
    ] = 5.0,
    skip_preflight: Annotated[
        bool, typer.Option("--skip-preflight", help="Do not look at the databases first.")
    ] = False,
    trace: Trace = False,
    yes: Yes = False,
    owner: Owner = None,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Make the cluster run what the files say, and wait until it does. A second time: no write.

    tailrace connect apply

    tailrace connect apply connectors/shop.yaml --profile production --timeout 300
    """
    from connectors.apply import apply as carry_out
    from connectors.watch import Pace
    from tailrace import connect

    place = connect.workplace(config, url, owner, profile)
    kept = connect.standing(place, files, profile, prune=prune)
    loaded = connect.named_files(place, files, profile)
    desired = connect.wanted(place, loaded)
    with place.client() as client:
        planned = connect.read_plan(place, client, desired, prune=prune, kept=kept)
        if not as_json:
            show_plan(planned, brief=True)
        say_plan(planned, prune=prune)
        if planned.conflicts:
            raise typer.Exit(FAILED)
        if not skip_preflight:
            _look_at_databases(place, loaded, desired, planned)
        if dry_run:
            say("dry run: nothing was sent")
            raise typer.Exit(0)
        if gone := [step.name for step in planned.steps if step.action == "prune"]:
            confirm(f"Delete {', '.join(gone)}? Slots, publications, topics and offsets stay.", yes=yes)
        outcomes = carry_out(client, planned, pace=Pace(timeout, settle), say=say)
    _show_outcomes(outcomes, trace=trace, as_json=as_json)
    if not all(outcome.ok for outcome in outcomes):
        raise typer.Exit(FAILED)


def _look_at_databases(
    place: "Workplace", loaded: "Sequence[LoadedSpec]", desired: "Sequence[Desired]", planned: "Plan"
) -> None:
    """Those behind what is to change. A fail ends the command before anything was sent."""
    from tailrace import connect_databases

    steps = {step.name: step for step in connect_databases.to_look_at(planned)}
    pairs = [(one, made) for one, made in zip(loaded, desired, strict=True) if made.name in steps]
    found = connect_databases.preflights(
        place,
        [one for one, _ in pairs],
        [made for _, made in pairs],
        {name for name, step in steps.items() if connect_databases.takes_a_slot(step)},
    )
    if failed := [name for name, checks in found if say_checks(name, checks)]:
        say(
            f"nothing was sent: mend the database of {', '.join(failed)}, give the files of the others,"
            " or run with --skip-preflight"
        )
        raise typer.Exit(FAILED)


def _show_outcomes(outcomes: "Sequence[Outcome]", *, trace: bool, as_json: bool) -> None:
    for outcome in outcomes:
        if not as_json:
            put(f"{'ok' if outcome.ok else 'fail':<5} {outcome.name}: {outcome.state}")
        if outcome.why is None:
            continue
        say(f"{outcome.name}: {outcome.why}")
        if outcome.trace:
            say(outcome.trace if trace else "  the whole trace: --trace")
    if as_json:
        put_json(
            [
                {
                    "connector": one.name,
                    "action": one.action,
                    "state": one.state,
                    "writes": one.writes,
                    **why_data(one.why),
                }
                for one in outcomes
            ]
        )
    writes, bad = sum(one.writes for one in outcomes), sum(not one.ok for one in outcomes)
    say(f"{writes} write{'' if writes == 1 else 's'}, {len(outcomes) - bad} ok, {bad} failed")


connect_run.register(app)
connect_files.register(app)
app.add_typer(connect_offsets.app, name="offsets")
app.add_typer(connect_snapshot.app, name="snapshot")
