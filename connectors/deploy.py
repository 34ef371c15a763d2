"""From one connector's file to a running connector, or to the reason why it does not run."""

import os
import time
from collections.abc import Callable, Mapping

from connectors.apply import apply
from connectors.diff import OWNER_KEY, Desired, plan
from connectors.live import ConnectorStatus
from connectors.rest import ConnectClient
from connectors.spec import ConnectorSpec
from connectors.watch import Pace
from core.errors import ConfigurationError, TransientError
from core.telemetry import logger

log = logger(__name__)


def deploy(
    client: ConnectClient,
    spec: ConnectorSpec,
    *,
    timeout_s: float = 60.0,
    settle_s: float = 0.4,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    environment: Mapping[str, str] = os.environ,
) -> ConnectorStatus:
    """Make Connect run this, and wait until it does. Idempotent; the owner's mark stays as it is.

    Raises ConfigurationError if the file breaks the preset (before anything is sent), if the worker
    refuses it, or if the connector fails: the message holds its cause. Raises TransientError if it has
    not settled within `timeout_s`.
    """
    _refuse_violations(spec)
    made = spec.resolved(environment)
    live = client.connectors()
    found = live.get(spec.name)
    owner = None if found is None else found.config.get(OWNER_KEY)
    wanted = Desired(spec.name, made.config, spec.state, made.secrets, filled=made.filled)
    planned = plan([wanted], {} if found is None else {spec.name: found}, owner=owner)
    pace = Pace(timeout_s, settle_s, sleep=sleep, clock=clock)
    (outcome,) = apply(client, planned, pace=pace)
    if outcome.writes:
        log.info("connector deployed", connector=spec.name, action=outcome.action, state=outcome.state)
    if outcome.why is not None:
        kind = TransientError if outcome.state == "starting" and outcome.trace is None else ConfigurationError
        raise kind(f"connector {spec.name} {outcome.state}: {outcome.why}; mend that, then deploy again")
    status = client.status(spec.name)
    if status is None:
        raise TransientError(f"connector {spec.name} is gone: deploy again")
    return status


def _refuse_violations(spec: ConnectorSpec) -> None:
    """Raises ConfigurationError that names every rule that the file breaks."""
    if found := spec.violations():
        lines = "\n".join(f"  {violation}" for violation in found)
        raise ConfigurationError(
            f"connector {spec.name} is not deployed:\n{lines}\n"
            "Change the configuration, or name the rule under `accept:` with your reason."
        )
