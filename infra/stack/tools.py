"""The programs that the stack needs from the machine: found, or installed on Debian, or asked for."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.errors import ConfigurationError

JAVA_MIN: Final = 17
"""Kafka 4 brokers and Connect."""

POSTGRES_MIN: Final = 15
"""The oldest that the captures and tests ran on."""

_APT: Final = {
    "java": "openjdk-17-jre-headless",
    "mvn": "maven",
    "postgres": "postgresql",
    "mariadb": "mariadb-server",
}
_HOMEBREW: Final = {
    "java": "openjdk@21",
    "mvn": "maven",
    "postgres": "postgresql@17",
    "mariadb": "mariadb@10.11",
}
_DATABASE_PORTS: Final = {"postgres": 5432, "mariadb": 3306}
"""Where Debian starts a server of its own when it installs one."""


@dataclass(frozen=True, slots=True)
class Tools:
    java: Path
    mvn: Path | None
    """None where all jars are there already."""

    postgres: Path
    """Folder with initdb and postgres."""

    mariadb: Path | None = None
    """Folder with mariadbd; None where none was asked for."""


def find(
    *,
    need_mvn: bool,
    say: Callable[[str], None],
    cluster_major: int | None = None,
    need_mariadb: bool = False,
) -> Tools:
    """The tools; on Debian, as root or with sudo, what is missing is installed first.

    Raises ConfigurationError saying what is missing and how to get it.
    """
    wanted = ["java", "postgres", *(["mvn"] if need_mvn else []), *(["mariadb"] if need_mariadb else [])]
    if missing := _missing(wanted, cluster_major):
        _install(missing, say)
        if missing := _missing(wanted, cluster_major):
            raise ConfigurationError(how_to_get(missing))
    java, postgres = java_binary(), postgres_folder(cluster_major)
    mvn = shutil.which("mvn")
    if java is None or postgres is None:
        raise ConfigurationError(how_to_get(wanted))
    return Tools(java, Path(mvn) if mvn else None, postgres, mariadb_folder() if need_mariadb else None)


def how_to_get(missing: Iterable[str]) -> str:
    needs = {
        "java": f"Java {JAVA_MIN} or newer",
        "mvn": "Maven",
        "postgres": f"PostgreSQL {POSTGRES_MIN} or newer (server)",
        "mariadb": "MariaDB 10.11 (server)",
    }
    names = list(missing)
    return (
        f"Missing: {', '.join(needs[name] for name in names)}.\n"
        f"  Debian, Ubuntu:  sudo apt-get install {' '.join(_APT[name] for name in names)}\n"
        f"  macOS:           brew install {' '.join(_HOMEBREW[name] for name in names)}\n"
        "  elsewhere:       install them so that they are on PATH, then run this again"
    )


def java_binary() -> Path | None:
    """The java of JAVA_HOME or PATH, if new enough."""
    home = os.environ.get("JAVA_HOME")
    for name in filter(None, (f"{home}/bin/java" if home else None, shutil.which("java"))):
        if Path(name).exists() and java_major(_output([name, "-version"])) >= JAVA_MIN:
            return Path(name)
    return None


def java_major(text: str) -> int:
    """17 from `openjdk version "17.0.15" …`; 0 if it says no version."""
    found = re.search(r'version "(\d+)', text)
    return int(found[1]) if found else 0


def postgres_folder(major: int | None = None) -> Path | None:
    """The newest server's folder; of exactly `major` where a cluster exists already."""
    found = [(postgres_major(_output([str(at / "postgres"), "--version"])), at) for at in _postgres_folders()]
    fit = [(have, at) for have, at in found if have >= POSTGRES_MIN and major in {None, have}]
    return max(fit, key=lambda pair: pair[0])[1] if fit else None


def postgres_major(text: str) -> int:
    """15 from `postgres (PostgreSQL) 15.18 (Debian …)`; 0 if it says no version."""
    found = re.search(r"\(PostgreSQL\) (\d+)", text)
    return int(found[1]) if found else 0


def mariadb_folder() -> Path | None:
    """Where mariadbd lies: Debian keeps it where only root's PATH leads."""
    named = Path(shutil.which("mariadbd") or "/usr/sbin/mariadbd")
    brewed = Path("/").glob("opt/homebrew/opt/mariadb*/bin/mariadbd")
    return next((at.parent for at in (named, Path("/usr/libexec/mariadbd"), *brewed) if at.exists()), None)


def _postgres_folders() -> list[Path]:
    """Where initdb and postgres lie together. Links are followed: initdb looks beside its real self."""
    named = [shutil.which("postgres"), shutil.which("initdb")]
    at = [Path(name).resolve().parent for name in named if name]
    if shutil.which("pg_config"):
        at.append(Path(_output(["pg_config", "--bindir"]).strip()))
    for pattern in ("usr/lib/postgresql/*/bin", "opt/homebrew/opt/postgresql*/bin", "usr/pgsql-*/bin"):
        at.extend(Path("/").glob(pattern))
    return [
        folder for folder in dict.fromkeys(at) if all((folder / n).exists() for n in ("initdb", "postgres"))
    ]


def _missing(wanted: Iterable[str], cluster_major: int | None) -> list[str]:
    have = {
        "java": lambda: java_binary() is not None,
        "mvn": lambda: shutil.which("mvn") is not None,
        "postgres": lambda: postgres_folder(cluster_major) is not None,
        "mariadb": lambda: mariadb_folder() is not None,
    }
    return [name for name in wanted if not have[name]()]


def _install(missing: list[str], say: Callable[[str], None]) -> None:
    apt = shutil.which("apt-get")
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if apt is None or (sudo and shutil.which("sudo") is None):
        return
    packages = [_APT[name] for name in missing]
    also = [str(_DATABASE_PORTS[name]) for name in missing if name in _DATABASE_PORTS]
    note = f" (Debian also starts a database on port {' and '.join(also)})" if also else ""
    say(f"installing {', '.join(packages)} with apt-get{note}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *packages]):
        done = subprocess.run([*sudo, apt, *step], env=env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise ConfigurationError(
                f"apt-get {step[0]} failed: {said[-1] if said else done.returncode}\n{how_to_get(missing)}"
            )


def _output(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")
    return done.stdout + done.stderr
