"""`python -m infra.stack up | down | status | clean`."""

import argparse
import json
import sys
import time
from dataclasses import asdict, replace

from core.errors import TailraceError
from core.telemetry import configure_logging
from infra.stack import Stack, StackSettings
from infra.stack.settings import Memory
from infra.stack.tries import tries


def main(argv: list[str]) -> int:
    """0 done or all up, 1 failed or something down, 2 usage, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m infra.stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start what is down; a second time changes nothing")
    up.add_argument(
        "--no-tailrace", action="store_true", help="only Postgres, Kafka and Connect with its connector"
    )
    up.add_argument("--mariadb", action="store_true", help="MariaDB, too, with a shop and a connector")
    commands.add_parser("down", help="stop what `up` started; the data stay")
    status = commands.add_parser("status", help="what runs: exit 0 if everything does, else 1")
    status.add_argument("--json", action="store_true")
    commands.add_parser("clean", help="delete the data; only when down")
    given = parser.parse_args(argv)
    configure_logging("ERROR")  # data alone on stdout, and of retries nothing: `_say` tells what happens
    try:
        settings = StackSettings.from_environment()
        if given.command == "up":
            stack = Stack(replace(settings, mariadb=given.mariadb), say=_say)
            return _up(stack, with_tailrace=not given.no_tailrace)
        if (memory := Memory.read(settings.directory)) is not None:
            # Other ports mean something to `up` alone: what runs has those that it was started with.
            settings = replace(settings, ports=memory.ports)
        stack = Stack(settings, say=_say)
        if given.command == "status":
            return _status(stack, as_json=given.json)
        if given.command == "down":
            _say("down" if stack.down() else "nothing was running")
            return 0
        for path in stack.clean() or ["nothing"]:
            _say(f"removed {path}")
    except TailraceError as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        _say("interrupted; `make up` again goes on where this stopped")
        return 130
    return 0


def _up(stack: Stack, *, with_tailrace: bool) -> int:
    began = time.monotonic()
    changed = stack.up(with_tailrace=with_tailrace)
    took = f"{time.monotonic() - began:.1f} s"
    _say(f"up in {took}" if changed else f"everything was up already; nothing changed ({took})")
    print(f"postgres  {stack.dsn()}")
    if stack.settings.mariadb:
        print(f"mariadb   mariadb --defaults-file={stack.mariadb.client_file}")
    print(f"kafka     {stack.brokers}")
    print(f"connect   {stack.connect_url}")
    if with_tailrace:
        print(f"tailrace  {stack.http_url}")
    print(f"config    {stack.settings.config_path}")
    print(f"logs      {stack.settings.logs}")
    print("\nTry: change a row, then ask." if with_tailrace else "\nTry:")
    for line in tries(stack, with_tailrace=with_tailrace):
        print(f"  {line}")
    return 0


def _status(stack: Stack, *, as_json: bool) -> int:
    found = stack.status()
    if as_json:
        print(json.dumps([asdict(piece) for piece in found], indent=2))
    else:
        for piece in found:
            state = "up" if piece.up else "down"
            pid = f"pid {piece.pid}" if piece.pid else ""
            print(f"{piece.name:<10} {state:<5} {pid:<12} {piece.where}  {piece.detail}".rstrip())
    return 0 if all(piece.up for piece in found) else 1


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
