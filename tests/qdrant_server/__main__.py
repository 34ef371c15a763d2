"""`python -m tests.qdrant_server --dir FOLDER [--port PORT]`: serve until SIGTERM or Ctrl-C.

Says its address on stdout once it listens. kill -9 loses nothing that was acknowledged.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event

from tests.qdrant_server.server import QdrantServer


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.qdrant_server")
    parser.add_argument("--dir", type=Path, required=True, help="where the collections are kept")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    given = parser.parse_args(argv)
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    server = QdrantServer(given.dir, given.port)
    print(server.start(), flush=True)  # noqa: T201 - what the caller waits for
    stopping.wait()
    server.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
