"""What a user waits for, and what the embedded default takes: processes, timed from outside."""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.bench.encoder import ROOT, child

STARTS: Final = 9
DEMO_SECONDS: Final = 150.0


def help_seconds() -> list[float]:
    """`tailrace --help`, after one that fills the disk cache."""
    found = []
    for _ in range(STARTS + 1):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "tailrace", "--help"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
        )
        found.append(time.perf_counter() - start)
    return found[1:]


def first_vector_seconds() -> list[float]:
    """From the start of a process to its first vector."""
    found = []
    for _ in range(4):
        start = time.perf_counter()
        with child(sys.executable, "openvino"):
            found.append(time.perf_counter() - start)
    return found[1:]


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident now and at most, MB of 10^6 bytes; nothing of a process that is ending."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    said = dict(line.split(":", 1) for line in lines)
    if "VmRSS" not in said:
        return 0.0, 0.0
    now, most = (int(said[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
    return now, most


def demo() -> dict[str, object]:
    """The embedded default, whole: log, worker, index, encoder, query service in one process."""
    with TemporaryDirectory(prefix="tailrace-bench-") as folder:
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        start = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "tailrace", "demo", "--once", "--json", "--port", "0"],
            cwd=folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=(Path(folder) / "stderr").open("wb"),
        ) as process:
            # Memory is highest in the story's last seconds, so the last reading but those of the end counts.
            resident, most = [0.0], 0.0
            while process.poll() is None:
                now, high = memory_mb(process.pid)
                resident, most = [*resident, now][-50:], max(most, high)
                if time.perf_counter() - start > DEMO_SECONDS:
                    process.kill()
                time.sleep(0.02)
            assert process.stdout is not None
            said = process.stdout.read()
        if process.returncode != 0:
            why = (Path(folder) / "stderr").read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(
                f"`tailrace demo --once --json` ended with {process.returncode}:\n{why[-2000:]}"
            )
        return {
            "seconds": time.perf_counter() - start,
            "rss, MB": max(resident),
            "rss at most, MB": most,
            "report": json.loads(said),
        }


def run() -> dict[str, object]:
    figures: dict[str, object] = {
        "help, s": statistics.median(help_seconds()),
        "first vector, s": statistics.median(first_vector_seconds()),
    }
    try:
        figures["demo"] = demo()
    except RuntimeError as error:  # the other figures stand
        figures["error"] = str(error)
    return figures
