"""What the default install takes on disk: a fresh environment from the hashed locks, without extras."""

import subprocess
import sys
import venv
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.bench.encoder import ROOT

LOCKS: Final = (("runtime.lock",), ("model.lock", "--no-deps"))


def size(path: Path) -> int:
    """Bytes on disk, hard links and sparse files counted as what they take."""
    return sum(file.lstat().st_blocks * 512 for file in path.rglob("*"))


def packages(site: Path) -> Counter[str]:
    return Counter({entry.name: size(entry) if entry.is_dir() else 0 for entry in site.iterdir()})


def run() -> dict[str, object]:
    with TemporaryDirectory(prefix="tailrace-bench-") as folder:
        home = Path(folder) / "venv"
        venv.create(home, with_pip=True)
        for lock, *options in LOCKS:
            command = [
                str(home / "bin" / "python"),
                "-m",
                "pip",
                "install",
                "-q",
                "--disable-pip-version-check",
                "--no-compile",
            ]
            done = subprocess.run(
                [*command, *options, "--require-hashes", "-r", str(ROOT / "requirements" / lock)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(f"pip could not install {lock}: {done.stderr[-1500:]}")
        # As `make setup` does: what is imported, and nothing else.
        subprocess.run([str(home / "bin" / "python"), "-m", "infra.bytecode"], cwd=ROOT, check=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        site = packages(home / "lib" / version / "site-packages")
        return {
            "installed, MB": size(home) / 1e6,
            "packages": len(list((home / "lib" / version / "site-packages").glob("*.dist-info"))),
            "largest, MB": {name: round(taken / 1e6, 1) for name, taken in site.most_common(12)},
        }
