"""From a connector's file to a running connector, or to the reason why it does not run."""

import time
from collections.abc import Callable
from typing import Final

from connectors.masking import masked_text
from connectors.rest import ConnectClient, ConnectorStatus
from connectors.spec import ConnectorSpec
from core.errors import ConfigurationError, TransientError
from core.telemetry import logger

log = logger(__name__)

_SETTLED: Final = 2
"""Equal looks in a row: right after a change Connect still shows the state before it."""

_WANTED: Final = {"running": "RUNNING", "paused": "PAUSED", "stopped": "STOPPED"}


def deploy(
    client: ConnectClient,
    spec: ConnectorSpec,
    *,
    timeout_s: float = 60.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> ConnectorStatus:
    """Make Connect run this, and wait until it does. Idempotent.

    Configuration first, then the state, each verified. Raises ConfigurationError if the file breaks
    the preset (before anything is sent) or if the connector fails: the message holds the first line
    of its trace. Raises TransientError if it has not settled within `timeout_s`.
    """
    if found := spec.violations():
        lines = "\n".join(f"  {violation}" for violation in found)
        raise ConfigurationError(
            f"connector {spec.name} is not deployed:\n{lines}\n"
            "Change the configuration, or name the rule under `accept:` with your reason."
        )
    config = spec.full_config()
    before = client.status(spec.name)
    if _differs(client.config(spec.name), config):
        client.put_config(spec.name, config)
        log.info("connector configured", connector=spec.name, new=before is None)
    _set_state(client, spec, before)
    return _settle(client, spec, timeout_s=timeout_s, sleep=sleep, clock=clock)


def _differs(live: dict[str, str] | None, wanted: dict[str, str]) -> bool:
    return live is None or {k: v for k, v in live.items() if k != "name"} != wanted


def _set_state(client: ConnectClient, spec: ConnectorSpec, before: ConnectorStatus | None) -> None:
    if spec.state == "paused":
        client.pause(spec.name)
    elif spec.state == "stopped":
        client.stop(spec.name)
    elif before is not None and before.state in {"PAUSED", "STOPPED"}:
        client.resume(spec.name)
    elif before is not None and before.failure is not None:
        client.restart_failed(spec.name)


def _settle(
    client: ConnectClient,
    spec: ConnectorSpec,
    *,
    timeout_s: float,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> ConnectorStatus:
    deadline = clock() + timeout_s
    equal, last = 0, None
    while clock() < deadline:
        status = client.status(spec.name)
        equal = equal + 1 if status is not None and status == last else 1
        last = status
        if status is not None and equal >= _SETTLED:
            if _reached(status, spec):
                return status
            if status.failure is not None:
                raise ConfigurationError(
                    f"connector {spec.name} failed: {cause(status.failure)};"
                    " mend that, then deploy again: failed tasks are restarted"
                )
        sleep(0.2)
    state = "unknown" if last is None else f"{last.state}, tasks {[task.state for task in last.tasks]}"
    raise TransientError(f"connector {spec.name} is not {spec.state} after {timeout_s:.0f} s: {state}")


def _reached(status: ConnectorStatus, spec: ConnectorSpec) -> bool:
    return status.running if spec.state == "running" else status.state == _WANTED[spec.state]


def cause(trace: str) -> str:
    """What a person needs of a Java trace: its first line, and the last `Caused by`, without secrets."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    first = lines[0] if lines else "(no trace)"
    root = next((line for line in reversed(lines) if line.startswith("Caused by:")), None)
    return masked_text(first if root is None else f"{first} ({root})")
