"""Pausing a connector so that it is paused, whatever state it was in."""

from connectors.live import ConnectorStatus
from connectors.rest import ConnectClient
from connectors.watch import Pace, patiently
from core.errors import TransientError


def pause(
    client: ConnectClient, name: str, before: ConnectorStatus | None, deadline: float, pace: Pace
) -> int:
    """Pause it; how many calls that took. `before`: its status until now. Raises what the client raises.

    A task that has failed stays failed under a pause, and no pause ever shows. Restarted under one it
    waits, and does not begin before a resume: what it failed of is told then.
    """
    calls = 0
    if before is None or before.state != "PAUSED":
        patiently(lambda: client.pause(name), deadline, pace)
        calls += 1
    if before is not None and before.failure is not None:
        # Before Connect has taken the pause a restarted task would begin.
        patiently(lambda: _need_paused(client.status(name)), deadline, pace)
        patiently(lambda: client.restart_failed(name), deadline, pace)
        calls += 1
    return calls


def _need_paused(status: ConnectorStatus | None) -> None:
    """A connector that itself has failed does not change its state until it is restarted."""
    if status is not None and status.state not in {"PAUSED", "FAILED"}:
        raise TransientError(
            f"Connect took the pause of {status.name} and does not show it: is a worker busy? Run it again"
        )
