"""`tailrace worker`."""

from tailrace.cli.options import DEFAULT_CONFIG, Config


def worker(config: Config = DEFAULT_CONFIG) -> None:
    """Follow the change log and keep the index current."""
    from tailrace.runtime import run

    run(config, worker=True, service=False)
