"""`tailrace freshness`."""

from typing import Annotated, Any

import typer

from tailrace.cli.options import DEFAULT_CONFIG, Config, Json, Url
from tailrace.cli.output import lag, put, put_json, table, when

NOT_FRESH = 3
UNREACHABLE = "unreachable"


def freshness(
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
    within_ms: Annotated[
        int | None,
        typer.Option("--within-ms", help="Exit 3 if the index or the state lags by more, or nobody can say."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again each second, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Say as of which position the service answers, and how far it lags."""
    import time

    from tailrace.cli.client import call, service_url

    address = service_url(url, config)
    while True:
        found = call(address, "GET", "/v1/freshness")
        put_json(found) if as_json else put(_shown(found))
        if not watch:
            break
        time.sleep(1.0)
    if within_ms is not None and not _within(found, within_ms):
        raise typer.Exit(NOT_FRESH)


def _within(found: dict[str, Any], bound_ms: int) -> bool:
    """A lag is the age of what is known to be missing: who cannot be asked may hold any number of changes."""
    asked = UNREACHABLE not in found["source_status"].values()
    lags = [found["index_lag_ms"], found["state_lag_ms"]]
    return asked and all(lag is not None and lag <= bound_ms for lag in lags)


def _shown(found: dict[str, Any]) -> str:
    rows = [
        [
            source,
            str(as_of["position"] or "unknown"),
            when(as_of["committed_at"]),
            str(found["source_status"].get(source, "")),
        ]
        for source, as_of in found["as_of"].items()
    ]
    lags = f"index lag {lag(found['index_lag_ms'])}, state lag {lag(found['state_lag_ms'])}"
    return f"{table(['source', 'position', 'committed at', 'status'], rows)}\n{lags}"
