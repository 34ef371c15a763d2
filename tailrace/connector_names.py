"""Which connector a source means: `sources.*.connector` is its name on Kafka Connect, or its file."""

from collections.abc import Mapping
from pathlib import Path

from connectors.file import SUFFIXES, read_fields
from core.errors import ConfigurationError
from core.settings import Source
from core.telemetry import logger

log = logger(__name__)


def connector_name(connector: str) -> str:
    """The name on Connect. A file says it, without a profile; one that is not there is taken by its own name.

    Only an ending that connectors' files have makes a file: a name may hold dots and slashes. Raises
    ConfigurationError for a file that cannot be read.
    """
    path = Path(connector)
    if path.suffix not in SUFFIXES:
        return connector
    return str(read_fields(path)["name"]) if path.is_file() else path.stem


def connector_names(sources: Mapping[str, Source]) -> dict[str, str]:
    """By source, of those that name one. A file that cannot be read is logged and taken by its own name."""
    found = {}
    for source, settings in sources.items():
        if settings.connector is None:
            continue
        try:
            found[source] = connector_name(settings.connector)
        except ConfigurationError as error:
            found[source] = Path(settings.connector).stem
            log.warning(
                "the connector's file does not tell its name",
                source=source,
                taken=found[source],
                why=str(error),
            )
    return found
