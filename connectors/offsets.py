"""The source offsets of a connector: shown, set, forgotten. Only while it is stopped."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from connectors.rest import ConnectClient
from connectors.watch import Pace, wait_for
from core.errors import ConfigurationError, TransientError

Offsets = Sequence[Mapping[str, Any]]

_HOLD_S: Final = 1.0
"""For so long a change must hold. A task that has not ended `task.shutdown.graceful.timeout.ms` (5 s
unless set) after its stop runs on behind a connector that is shown as stopped, and commits its offsets
once more when it ends."""


def parse_offsets(text: str) -> list[dict[str, Any]]:
    """What `offsets show --json` prints, or Connect's own answer. Raises ConfigurationError."""
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"the offsets are no JSON: {error}") from error
    found = raw.get("offsets") if isinstance(raw, dict) else raw
    well = isinstance(found, list) and all(
        isinstance(entry, dict)
        and set(entry) == {"partition", "offset"}
        and isinstance(entry["partition"], dict)
        and isinstance(entry["offset"], dict | None)
        for entry in found
    )
    if not well or not found:
        raise ConfigurationError(
            'write a list of {"partition": {…}, "offset": {…}}, as `tailrace connect offsets show --json`'
            " prints it; an offset of null forgets that partition"
        )
    return list(found)


def refuse_unknown(wanted: Offsets, committed: Offsets, prefix: str | None) -> None:
    """Connect stores an offset under any partition, and the connector then never looks at it.

    Known are the partitions that have an offset, and for a Debezium connector `{"server": prefix}`.
    Raises ConfigurationError for any other.
    """
    known = [entry["partition"] for entry in committed]
    if prefix is not None:
        known.append({"server": prefix})
    for entry in wanted:
        if entry["partition"] not in known:
            raise ConfigurationError(
                f"partition {json.dumps(entry['partition'])} is none of this connector's:"
                f" it has {', '.join(json.dumps(one) for one in known) or 'none'}"
            )


def set_offsets(client: ConnectClient, name: str, wanted: Offsets, *, stop: bool, pace: Pace) -> None:
    """Set them, and see that they stay set. The connector stays stopped.

    Raises ConfigurationError for a connector that is not stopped (unless `stop`), or for a partition
    that it does not have.
    """
    config = _stopped(client, name, stop=stop, pace=pace)
    refuse_unknown(wanted, client.offsets(name), config.get("topic.prefix"))
    _change(
        lambda: client.alter_offsets(name, wanted), lambda: _has(client.offsets(name), wanted), name, pace
    )


def reset_offsets(client: ConnectClient, name: str, *, stop: bool, pace: Pace) -> int:
    """Forget all of them, and see that they stay forgotten; how many there were. It stays stopped."""
    _stopped(client, name, stop=stop, pace=pace)
    before = len(client.offsets(name))
    _change(lambda: client.delete_offsets(name), lambda: not client.offsets(name), name, pace)
    return before


def _change(act: Callable[[], None], done: Callable[[], bool], name: str, pace: Pace) -> None:
    """Act, and again as often as it is undone, until it has held for `_HOLD_S`."""
    deadline = pace.clock() + pace.timeout_s
    while True:
        act()
        until = pace.clock() + _HOLD_S
        while done():
            if pace.clock() >= until:
                return
            pace.sleep(pace.poll_s)
        if pace.clock() >= deadline:
            raise TransientError(
                f"connector {name}: its offsets were changed, and something commits others over them for"
                f" {pace.timeout_s:.0f} s: does a task of it still run? Connect logs `Graceful stop of task"
                f" {name}-0 failed`: restart that worker, then try again"
            )


def _has(committed: Offsets, wanted: Offsets) -> bool:
    now = {json.dumps(one["partition"], sort_keys=True): one["offset"] for one in committed}
    return all(now.get(json.dumps(one["partition"], sort_keys=True)) == one["offset"] for one in wanted)


def _stopped(client: ConnectClient, name: str, *, stop: bool, pace: Pace) -> Mapping[str, str]:
    """The configuration of a connector that is stopped now."""
    config, status = client.config(name), client.status(name)
    if config is None:
        raise ConfigurationError(f"there is no connector {name} on {client.shown}")
    if status is None or status.summary != "stopped":
        if not stop:
            state = "starting" if status is None else status.summary
            raise ConfigurationError(
                f"connector {name} is {state}: offsets change only while it is stopped:"
                f" `tailrace connect stop {name}` first, or add --stop"
            )
        client.stop(name)
        deadline = pace.clock() + pace.timeout_s
        seen = wait_for(client, {name: "stopped"}, deadline=deadline, pace=pace)[name]
        if not seen.reached:
            raise TransientError(
                f"connector {name} is {seen.said}, not stopped, after {pace.timeout_s:.0f} s"
            )
    return config
