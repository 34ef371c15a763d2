"""`tailrace connect status | restart | pause | resume | stop`: connectors as they run."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tailrace.cli.connect_options import FAILED, Connector, Timeout, Trace, Url, why_data
from tailrace.cli.options import DEFAULT_CONFIG, Config, Json
from tailrace.cli.output import put, put_json, say, table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from connectors.hints import Explanation
    from connectors.live import ConnectorStatus, LiveConnector, State
    from connectors.rest import ConnectClient


def register(app: typer.Typer) -> None:
    """Into the group of `tailrace connect`."""
    for command in (status, restart, pause, resume, stop):
        app.command(command.__name__)(command)


def status(
    name: Annotated[str | None, typer.Argument(help="One connector; all by default.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again each two seconds, until Ctrl-C.")] = False,
    trace: Trace = False,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show connectors, their tasks, and in one line why something failed. Exit 1 if anything has.

    tailrace connect status --watch
    """
    from core.errors import TransientError
    from tailrace import connect

    with connect.workplace(config, url).client(patience=2.0) as client:
        while True:
            try:
                failed = _show_status(client, name, trace=trace, as_json=as_json)
            except TransientError as error:
                if not watch:
                    raise
                say(str(error))
            if not watch:
                break
            time.sleep(2.0)
    if failed:
        raise typer.Exit(FAILED)


def _show_status(client: "ConnectClient", name: str | None, *, trace: bool, as_json: bool) -> bool:
    from connectors.snapshots import progress
    from tailrace import connect

    health = client.health()
    live = client.connectors() if name is None else {name: connect.the_connector(client, name)}
    reasons = {
        one.name: connect.explained(client, one.name, one.config, one.status.failure if one.status else None)
        for one in live.values()
    }
    snapshot = progress(client.offsets(name)) if name is not None else None
    if as_json:
        data: dict[str, Any] = {
            "worker": {
                "url": client.shown,
                "status": health.status,
                "version": health.version,
                "kafka_cluster_id": health.kafka_cluster_id,
            },
            "connectors": [_status_data(one, reasons[one.name]) for one in live.values()],
        }
        if name is not None:
            data["topics"] = client.topics(name)
            data["snapshot"] = None if snapshot is None else str(snapshot)
        put_json(data)
    else:
        say(
            f"{client.shown}: {health.status}, version {health.version},"
            f" Kafka cluster {health.kafka_cluster_id}"
        )
        rows = [_status_row(one) for one in live.values()]
        put(table(["connector", "state", "tasks", "worker", "plugin"], rows) if rows else "no connectors")
        if snapshot is not None:
            put(f"incremental snapshot: {snapshot}")
        for one_name, why in reasons.items():
            if why is not None:
                put(f"\n{one_name}: {why}")
    for one in live.values():
        if trace and one.status is not None and one.status.failure is not None:
            say(_masked_trace(client, one))
    return any(one.state == "failed" for one in live.values())


def _status_row(one: "LiveConnector") -> list[str]:
    if one.status is None:
        return [one.name, one.state, "", "", ""]
    tasks = ", ".join(f"{task.id} {task.state}" for task in one.status.tasks) or "none"
    version = one.status.version or ""
    plugin = one.config.get("connector.class", "").rsplit(".", 1)[-1]
    return [one.name, one.state, tasks, one.status.worker, f"{plugin} {version}".strip()]


def _status_data(one: "LiveConnector", why: "Explanation | None") -> dict[str, Any]:
    found = one.status
    return {
        "connector": one.name,
        "state": one.state,
        "class": one.config.get("connector.class"),
        "version": None if found is None else found.version,
        "worker": None if found is None else found.worker,
        "tasks": [
            {"id": task.id, "state": task.state, "worker": task.worker}
            for task in (found.tasks if found else ())
        ],
        **why_data(why),
    }


def _masked_trace(client: "ConnectClient", one: "LiveConnector") -> str:
    from connectors.masking import masked_text

    keys = client.password_keys(one.config.get("connector.class", ""))
    failure = one.status.failure if one.status else None
    return masked_text(failure or "", one.config, password_keys=keys)


def restart(
    name: Annotated[str | None, typer.Argument(help="One connector; all of ours by default.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also tasks that run.")] = False,
    task: Annotated[int | None, typer.Option("--task", help="Only this task of NAME.", min=0)] = None,
    timeout: Timeout = 60.0,
    settle: Annotated[
        float, typer.Option("--settle", help="Seconds for which RUNNING must hold.", min=0)
    ] = 5.0,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Restart what failed, and wait until it runs. Exit 1 if it failed again.

    tailrace connect restart

    tailrace connect restart shop --task 0
    """
    from core.errors import ConfigurationError
    from tailrace import connect

    if task is not None and name is None:
        raise ConfigurationError("--task needs the connector's name before it")
    place = connect.workplace(config, url)
    with place.client() as client:
        live = client.connectors()
        if name is not None:
            chosen = {name: connect.the_connector(client, name)}
        else:
            chosen = {one: live[one] for one in connect.ours(place, live)}
        if not everything and task is None:
            chosen = {key: one for key, one in chosen.items() if one.state == "failed"}
            if not chosen:
                say("nothing has failed: nothing was restarted (--all restarts what runs)")
        for key, one in list(chosen.items()):
            if one.state in {"paused", "stopped"}:
                say(f"{key} is {one.state}, and left out: `tailrace connect resume {key}`")
                del chosen[key]
        for key in chosen:
            if task is not None:
                client.restart_task(key, task)
            elif everything:
                client.restart(key)
            else:
                client.restart_failed(key)
        # A failed task of a paused connector waits once it is restarted.
        wanted: dict[str, State] = {
            key: "paused" if one.status is not None and one.status.state == "PAUSED" else "running"
            for key, one in chosen.items()
        }
        before = {key: one.status for key, one in chosen.items()}
        _wait(client, wanted, before, timeout, settle, as_json=as_json)


def pause(
    name: Connector,
    timeout: Timeout = 60.0,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Pause: its tasks stay, hold their connections and send nothing. The slot holds WAL meanwhile."""
    from connectors.pausing import pause as pause_whole
    from connectors.watch import Pace

    def act(client: "ConnectClient", before: "ConnectorStatus | None") -> None:
        pace = Pace(timeout)
        pause_whole(client, name, before, pace.clock() + timeout, pace)

    _change(name, "paused", act, timeout, config, url, as_json=as_json)


def resume(
    name: Connector,
    timeout: Timeout = 60.0,
    settle: Annotated[
        float, typer.Option("--settle", help="Seconds for which RUNNING must hold.", min=0)
    ] = 5.0,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Go on after `pause` or `stop`, and wait until it runs."""

    def act(client: "ConnectClient", _: "ConnectorStatus | None") -> None:
        client.resume(name)

    _change(name, "running", act, timeout, config, url, settle, as_json=as_json)


def stop(
    name: Connector,
    timeout: Timeout = 60.0,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Stop: its tasks end, its offsets may be changed. The slot holds WAL meanwhile."""
    _change(name, "stopped", lambda client, _: client.stop(name), timeout, config, url, as_json=as_json)


def _change(
    name: str,
    wanted: "State",
    act: "Callable[[ConnectClient, ConnectorStatus | None], None]",
    timeout: float,
    config: Config,
    url: str | None,
    settle: float = 0.5,
    *,
    as_json: bool,
) -> None:
    from tailrace import connect

    with connect.workplace(config, url).client() as client:
        before = connect.the_connector(client, name).status
        act(client, before)
        _wait(client, {name: wanted}, {name: before}, timeout, settle, as_json=as_json)


def _wait(
    client: "ConnectClient",
    wanted: "Mapping[str, State]",
    before: "Mapping[str, ConnectorStatus | None]",
    timeout: float,
    settle: float,
    *,
    as_json: bool,
) -> None:
    from connectors.hints import Explanation, unfinished_hint
    from connectors.watch import Pace, wait_for
    from tailrace.connect import explained

    pace = Pace(timeout, settle)
    deadline = pace.clock() + timeout
    seen = wait_for(client, wanted, deadline=deadline, pace=pace, changed=wanted, before=before, say=say)
    rows = []
    for name, found in seen.items():
        config = (client.config(name) or {}) if found.trace is not None else {}
        why = explained(client, name, config, found.trace)
        rows.append({"connector": name, "state": found.state, **why_data(why)})
        if not as_json:
            put(f"{'ok' if found.reached else 'fail':<5} {name}: {found.state}")
        if why is not None:
            say(f"{name}: {why}")
        elif not found.reached:
            said = f"{found.said}, not {wanted[name]}, after {timeout:.0f} s"
            say(f"{name}: {Explanation(said, unfinished_hint(found.said))}")
    if as_json:
        put_json(rows)
    if not all(found.reached for found in seen.values()):
        raise typer.Exit(FAILED)
