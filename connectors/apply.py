"""Carries out a plan: each configuration, then each state, then waiting until all hold.

Every write is preceded by the plugin's own validation and followed by looking that it took effect. A
worker that goes away in the middle is waited for, and what it had not taken is sent again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from connectors.diff import Desired, Plan, Step
from connectors.hints import Explanation, explain, unfinished_hint
from connectors.live import ConnectorStatus, State
from connectors.masking import masked_text
from connectors.pausing import pause
from connectors.rest import ConnectClient
from connectors.watch import Pace, patiently, wait_for
from core.errors import PermanentError, TailraceError, TransientError

_INITIAL: Final = {"paused": "PAUSED", "stopped": "STOPPED"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one connector. `why` and `trace` where it is not as it should be; both masked."""

    name: str
    action: str
    state: State
    writes: int = 0
    why: Explanation | None = None
    trace: str | None = field(default=None, repr=False)

    @property
    def ok(self) -> bool:
        return self.why is None


@dataclass(slots=True)
class _Work:
    """One connector on its way."""

    step: Step
    before: ConnectorStatus | None
    writes: int = 0
    failed: Outcome | None = None

    @property
    def wanted(self) -> Desired:
        if self.step.desired is None:
            raise AssertionError("only a pruned connector has no file")
        return self.step.desired


def apply(
    client: ConnectClient,
    planned: Plan,
    *,
    pace: Pace | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Outcome]:
    """Do what the plan says, one outcome a step, in the plan's order.

    One connector that fails does not keep the others from being applied. Raises nothing of Connect's:
    an outcome says it. A plan with conflicts is refused with ValueError: look at them first.
    """
    if planned.conflicts:
        raise ValueError("a plan with conflicts is not applied")
    pace = pace or Pace()
    deadline = pace.clock() + pace.timeout_s
    # First what goes: a new connector may take over its slot or its topics.
    done = {
        step.name: _prune(client, step, deadline, pace) for step in planned.steps if step.action == "prune"
    }
    works = [_begin(client, step, deadline, pace, say) for step in planned.steps if step.action != "prune"]
    settled = _settle(client, [work for work in works if work.failed is None], deadline, pace, say)
    done |= {work.step.name: work.failed or settled[work.step.name] for work in works}
    return [done[step.name] for step in planned.steps]


def _begin(
    client: ConnectClient, step: Step, deadline: float, pace: Pace, say: Callable[[str], None]
) -> _Work:
    """Everything that is sent for one connector."""
    work = _Work(step, None)
    try:
        work.before = patiently(lambda: client.status(step.name), deadline, pace)
        _configure(client, work, deadline, pace, say)
        _set_state(client, work, deadline, pace)
    except TailraceError as error:
        wanted = work.wanted
        explained = explain(str(error), wanted.config, secrets=wanted.secrets, name=step.name)
        # Not a trace: the message is whole already.
        text = masked_text(str(error), wanted.config, secrets=wanted.secrets)
        work.failed = Outcome(
            step.name,
            step.action,
            step.state[0] if step.state else "starting",
            work.writes,
            Explanation(text, explained.hint),
        )
    return work


def _configure(
    client: ConnectClient, work: _Work, deadline: float, pace: Pace, say: Callable[[str], None]
) -> None:
    step, wanted = work.step, work.wanted
    if step.action not in {"create", "update"}:
        return
    found = patiently(lambda: client.validate(wanted.config, secrets=wanted.secrets), deadline, pace)
    if found.errors:
        lines = "; ".join(f"{key}: {' '.join(errors)}" for key, errors in sorted(found.errors.items()))
        raise PermanentError(f"the worker refuses the configuration: {lines}")
    say(f"{step.name}: {step.action}")

    def send() -> None:
        """Again after a worker that went away: only if it had not taken it."""
        live = client.config(step.name)
        if live is not None and {k: v for k, v in live.items() if k != "name"} == wanted.config:
            return
        if live is None and wanted.state in _INITIAL:
            client.create(step.name, wanted.config, _INITIAL[wanted.state], secrets=wanted.secrets)
        else:
            client.put_config(step.name, wanted.config, secrets=wanted.secrets)
        work.writes += 1
        raise _LookAgainError

    patiently(send, deadline, pace)


class _LookAgainError(TransientError):
    """Sent; whether it was taken is seen by the next look."""

    def __init__(self) -> None:
        super().__init__("Connect took a configuration and does not show it")


def _set_state(client: ConnectClient, work: _Work, deadline: float, pace: Pace) -> None:
    step, wanted, before = work.step, work.wanted, work.before
    calls: list[Callable[[str], None]] = []
    if step.state is not None and step.action != "create":
        if wanted.state == "paused":
            # From stopped to paused Connect goes in one step.
            work.writes += pause(client, step.name, before, deadline, pace)
        elif wanted.state == "stopped":
            calls = [client.stop]
        elif before is not None and before.state in {"PAUSED", "STOPPED"}:
            calls = [client.resume]
    if wanted.state == "running" and before is not None and before.failure is not None:
        # A new configuration restarts the tasks only where it changes theirs.
        calls.append(client.restart_failed)
    for call in calls:
        patiently(lambda call=call: call(step.name), deadline, pace)  # type: ignore[misc]
        work.writes += 1


def _settle(
    client: ConnectClient,
    works: Sequence[_Work],
    deadline: float,
    pace: Pace,
    say: Callable[[str], None],
) -> dict[str, Outcome]:
    """Wait for all of them at once."""
    wanted: dict[str, State] = {work.step.name: work.wanted.state for work in works}
    changed = {work.step.name for work in works if work.writes}
    before = {work.step.name: work.before for work in works}
    # Validations before it may have taken all the time.
    deadline = max(deadline, pace.clock() + pace.settle_s)
    found = wait_for(client, wanted, deadline=deadline, pace=pace, changed=changed, before=before, say=say)
    outcomes = {}
    for work in works:
        step, seen = work.step, found[work.step.name]
        keys = client.password_keys(work.wanted.config["connector.class"]) if seen.trace else frozenset()
        config, secrets = work.wanted.config, work.wanted.secrets
        why, trace = None, None
        if seen.trace is not None:
            why = explain(seen.trace, config, password_keys=keys, secrets=secrets, name=step.name)
            trace = masked_text(seen.trace, config, password_keys=keys, secrets=secrets)
        elif not seen.reached:
            said = f"is {seen.said}, not {work.wanted.state}, after {pace.timeout_s:.0f} s"
            why = Explanation(said, unfinished_hint(seen.said))
        outcomes[step.name] = Outcome(step.name, step.action, seen.state, work.writes, why, trace)
    return outcomes


def _prune(client: ConnectClient, step: Step, deadline: float, pace: Pace) -> Outcome:
    try:
        patiently(lambda: client.delete(step.name), deadline, pace)
    except TailraceError as error:
        return Outcome(step.name, step.action, "starting", 0, Explanation(masked_text(str(error)), None))
    return Outcome(step.name, step.action, "absent", 1)
