"""`tailrace serve`."""

from tailrace.cli.options import DEFAULT_CONFIG, Config


def serve(config: Config = DEFAULT_CONFIG) -> None:
    """Answer questions over HTTP."""
    from tailrace.runtime import run

    run(config, worker=False, service=True)
