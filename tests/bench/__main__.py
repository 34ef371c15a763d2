"""`python -m tests.bench [--only NAME ...] [--json FILE]`: figures against their bars.

Each piece runs in a process of its own, one after the other: none inherits threads, caches or memory
of another, and one that fails or hangs is reported, and the rest goes on. Exit 1 if a bar has failed.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from infra.stack import Ports, Stack, StackSettings
from infra.stack.settings import REPOSITORY
from tests.bench import report
from tests.bench.bars import PIECES, Piece
from tests.bench.report import Outcome
from tests.bench.rounds import others_share
from tests.ports import free_ports

PATIENCE_SECONDS: Final = 20.0
"""For a piece that is told to end, before it is killed."""


class BenchStack:
    """A real stack in a folder of its own, started when the first piece needs it."""

    def __init__(self, folder: Path) -> None:
        # The jars are the checkout's: fetched once, read by all.
        jars = REPOSITORY / ".tailrace" / "stack" / "jars"
        self._stack = Stack(StackSettings(folder / "stack", Ports(*free_ports(5)), jars=jars), say=_say)
        self._up = False

    def ready_for(self, needs: str) -> dict[str, str]:
        """Variables of the environment by which a child finds it."""
        if not self._up:
            self._stack.up(with_tailrace=False)
            self._up = True
        if needs == "broker":  # alone: what the others take is not its own
            self._stack.tailrace.stop()
            self._stack.connect.stop()
        return {"TAILRACE_STACK_DIR": str(self._stack.settings.directory)}

    def remove(self) -> None:
        self._stack.down()
        self._stack.clean()


def play(piece: Piece, stack: BenchStack, folder: Path) -> Outcome:
    """Run one piece in a child. Whatever happens to it becomes part of the report."""
    start = time.monotonic()
    _, others = others_share(lambda: time.sleep(1))
    try:
        found = {} if piece.needs == "nothing" else stack.ready_for(piece.needs)
        figures = _child(piece, {**os.environ, **found}, folder)
    except Exception as error:  # noqa: BLE001 - the rest goes on
        return Outcome(piece.name, time.monotonic() - start, error=str(error) or repr(error), others=others)
    said = figures.pop("error", None)  # a part of it failed, and the other figures stand
    return Outcome(piece.name, time.monotonic() - start, figures, said, others)


def _child(piece: Piece, environ: dict[str, str], folder: Path) -> dict[str, Any]:
    result, log = folder / f"{piece.name}.json", folder / f"{piece.name}.log"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [sys.executable, "-m", "tests.bench", "--inside", piece.name, "--json", str(result)],
            cwd=REPOSITORY,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as child,
    ):
        try:
            code = child.wait(piece.limit_s)
        except BaseException as error:
            _end(child)
            if isinstance(error, subprocess.TimeoutExpired):
                raise TimeoutError(f"not done after {piece.limit_s:.0f} s\n{_tail(log)}") from error
            raise
    if code:
        raise RuntimeError(f"exit {code}\n{_tail(log)}")
    made: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return made


def _end(child: "subprocess.Popen[bytes]") -> None:
    """As Ctrl-C would, so that it stops what it started; then with force, its children too."""
    child.send_signal(signal.SIGINT)
    try:
        child.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-3000:].strip()


def inside(piece: Piece, file: Path) -> None:
    """In the child: the figures, to the file. An entry `error` says what of it failed."""
    run: Callable[..., dict[str, object]] = import_module(f"tests.bench.{piece.name}").run
    if piece.needs == "nothing":
        figures = run()
    else:
        stack = Stack(StackSettings.from_environment())
        figures = run(stack) if piece.needs == "stack" else run([stack.brokers])
    file.write_text(json.dumps(figures), encoding="utf-8")


def main(argv: Sequence[str]) -> int:
    names = [piece.name for piece in PIECES]
    about = "\n".join(f"  {piece.name:<14} {piece.about}" for piece in PIECES)
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Figures against their bars.\n\n" + about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help="these pieces only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the whole report, for programs")
    parser.add_argument("--inside", choices=names, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    by_name = {piece.name: piece for piece in PIECES}
    if given.inside:
        inside(by_name[given.inside], given.json)
        return 0
    return _suite([by_name[name] for name in names if not given.only or name in given.only], given.json)


def _suite(pieces: Sequence[Piece], file: Path | None) -> int:
    machine, outcomes, verdicts = report.machine(), list[Outcome](), list[report.Verdict]()
    with ExitStack() as after:
        folder = Path(after.enter_context(TemporaryDirectory(prefix="tailrace-bench-")))
        stack = BenchStack(folder)
        after.callback(stack.remove)
        for piece in pieces:
            _say(f"{piece.name}: {piece.about}")
            outcome = play(piece, stack, folder)
            outcomes.append(outcome)
            verdicts += report.judge_all(piece.name, piece.bars, outcome.figures)
            _say(f"  {outcome.seconds:.0f} s{', failed' if outcome.error else ''}")
    if file is not None:
        made = report.as_json(machine, verdicts, outcomes)
        file.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    print(report.table(machine, verdicts, outcomes))  # noqa: T201 - the report
    return 1 if report.failed(verdicts, outcomes) else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
