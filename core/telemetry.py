"""Logs: JSON off a terminal, readable lines on one. Levels by consequence.

WARNING: nothing is lost. ERROR: data is lost or a person is needed. Per record: DEBUG. Never
a payload, never a secret.
"""

import logging
import os
import sys

import structlog


def configure_logging(level: str = "INFO", *, colours: bool | None = None) -> None:
    """Send all logging, ours and the libraries', to stderr in one form. Call once, in the front door."""
    terminal = sys.stderr.isatty() if colours is None else colours
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=not os.environ.get("NO_COLOR"))
        if terminal
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Libraries that narrate: their warnings are enough.
    for name in (
        "aiokafka",
        "ingest.agents.transport",
        "faust",
        "mode",
        "httpx",
        "httpx2",
        "openai",
        "urllib3",
        "uvicorn.access",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """One for each module, made with its `__name__`."""
    made: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return made
