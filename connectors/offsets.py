"""The source offsets of a connector: shown, set, forgotten. Only while it is stopped."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from connectors import preset
from connectors.listed import listed_names
from connectors.rest import ConnectClient
from connectors.watch import Pace, wait_for
from core.errors import ConfigurationError, TransientError

Offsets = Sequence[Mapping[str, Any]]

_HOLD_S: Final = 1.0
"""For so long a change is watched. A task that has not ended `task.shutdown.graceful.timeout.ms` (5 s
unless set) after its stop runs on behind a connector that is shown as stopped, and commits its offsets
once more when it ends. One that ends later than this is not noticed: nobody can say how long it takes."""


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
    partitions = [_shown(entry["partition"]) for entry in found]
    if twice := [one for one, times in Counter(partitions).items() if times > 1]:
        raise ConfigurationError(
            f"partition {', '.join(twice)} is there more than once: leave one offset of it"
        )
    return list(found)


def refuse_unknown(wanted: Offsets, committed: Offsets, config: Mapping[str, str]) -> None:
    """Connect stores an offset under any partition, and the connector then never looks at it.

    Known are the partitions that have an offset, and those that a Debezium connector of this configuration
    looks at. Raises ConfigurationError for any other.
    """
    known = [entry["partition"] for entry in committed]
    known += [one for one in _partitions(config) if one not in known]
    for entry in wanted:
        if entry["partition"] not in known:
            raise ConfigurationError(
                f"partition {json.dumps(entry['partition'])} is none of this connector's:"
                f" it has {', '.join(json.dumps(one) for one in known) or 'none'}"
            )


def _partitions(config: Mapping[str, str]) -> list[dict[str, str]]:
    if (prefix := config.get("topic.prefix")) is None:
        return []
    match config.get("connector.class"):
        case preset.MONGODB_CLASS:
            return [{"server_id": prefix}]
        case preset.SQLSERVER_CLASS:
            databases = listed_names(config.get("database.names", ""))
            return [{"server": prefix, "database": name} for name in databases]
        case _:
            return [{"server": prefix}]


def set_offsets(client: ConnectClient, name: str, wanted: Offsets, *, stop: bool, pace: Pace) -> None:
    """Set them, and again where something commits over them while they are watched. It stays stopped.

    Raises ConfigurationError for a connector that is not stopped (unless `stop`), or for a partition
    that it does not have. TransientError if that takes longer than `pace.timeout_s` in all.
    """
    deadline = pace.clock() + pace.timeout_s
    config = _stopped(client, name, stop=stop, deadline=deadline, pace=pace)
    refuse_unknown(wanted, client.offsets(name), config)
    _change(
        lambda: client.alter_offsets(name, wanted),
        lambda: _differing(client.offsets(name), wanted),
        name,
        deadline,
        pace,
    )


def reset_offsets(client: ConnectClient, name: str, *, stop: bool, pace: Pace) -> int:
    """Forget all of them, with the same promises as `set_offsets`; how many there were."""
    deadline = pace.clock() + pace.timeout_s
    _stopped(client, name, stop=stop, deadline=deadline, pace=pace)
    before = client.offsets(name)
    _change(
        lambda: client.delete_offsets(name),
        lambda: [f"partition {_shown(one['partition'])} has an offset" for one in client.offsets(name)],
        name,
        deadline,
        pace,
    )
    return len(before)


def _change(
    act: Callable[[], None], wrong: Callable[[], list[str]], name: str, deadline: float, pace: Pace
) -> None:
    """Act, and again each `_HOLD_S` that it is not so, until it has held for as long."""
    held: float | None = None
    seen = False
    act()
    acted = pace.clock()
    while True:
        left, now = wrong(), pace.clock()
        if not left:
            seen, held = True, now if held is None else held
            if now - held >= _HOLD_S:
                return
        elif now >= deadline:
            raise TransientError(f"connector {name}: {'; '.join(left)}: {_blame(name) if seen else _UNSEEN}")
        else:
            held = None
            if now - acted >= _HOLD_S:
                act()
                acted = now
        pace.sleep(pace.poll_s)


_UNSEEN: Final = (
    "Connect took the change and has not shown it since: look with `tailrace connect offsets show`, and at"
    " Connect's log"
)


def _blame(name: str) -> str:
    return (
        "it was changed, and something commits over it again and again: does a task of it still run? Connect"
        f" logs `Graceful stop of task {name}-0 failed`: restart that worker, then try again"
    )


def _differing(committed: Offsets, wanted: Offsets) -> list[str]:
    now = {_shown(one["partition"]): one["offset"] for one in committed}
    return [
        f"partition {partition} has {_offset(found)}, not {_offset(one['offset'])}"
        for one in wanted
        if (found := now.get(partition := _shown(one["partition"]))) != one["offset"]
    ]


def _shown(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)


def _offset(value: Mapping[str, Any] | None) -> str:
    return "no offset" if value is None else _shown(value)


def _stopped(
    client: ConnectClient, name: str, *, stop: bool, deadline: float, pace: Pace
) -> Mapping[str, str]:
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
        seen = wait_for(client, {name: "stopped"}, deadline=deadline, pace=pace)[name]
        if not seen.reached:
            raise TransientError(
                f"connector {name} is {seen.said}, not stopped, after {pace.timeout_s:.0f} s"
            )
    return config
