"""`tailrace version`."""

from tailrace.cli.options import Json
from tailrace.cli.output import put, put_json


def version(as_json: Json = False) -> None:
    """Print the version, and those of the parts that decide results."""
    import platform
    from importlib import metadata

    from tailrace import __version__

    parts = {
        name: metadata.version(name)
        for name in ("faust-streaming", "aiokafka", "qdrant-edge-py", "qdrant-client", "openvino", "openai")
    }
    if as_json:
        put_json({"tailrace": __version__, "python": platform.python_version(), **parts})
    else:
        put(f"tailrace {__version__}")
        for name, found in {"python": platform.python_version(), **parts}.items():
            put(f"  {name} {found}")
