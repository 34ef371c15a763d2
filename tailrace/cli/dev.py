"""`tailrace dev`."""

from tailrace.cli.options import DEFAULT_CONFIG, Config


def dev(config: Config = DEFAULT_CONFIG) -> None:
    """Worker and query service in one process: one log, one Ctrl-C."""
    from tailrace.runtime import run

    run(config, worker=True, service=True)
