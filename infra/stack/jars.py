"""Kafka, Connect and the connector as folders of jars, fetched once by Maven coordinates."""

import fcntl
import hashlib
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from core.errors import ConfigurationError

_HERE: Final = Path(__file__).resolve().parent
_FOLDERS: Final = {"broker": "broker", "postgres": "plugins/postgres"}
"""Each pom's folder beside this file, and where its jars go. Connect's plugin root is `plugins`."""

_MARIADB: Final = {"mariadb": "mariadb-plugins/mariadb"}
"""The same for the optional connector: a plugin root of its own, which only stacks with MariaDB read."""

_UNLISTED: Final = "META-INF/services/org.apache.kafka.connect.storage.Converter"


def complete(jars: Path, *, mariadb: bool = False) -> bool:
    """Whether all are there, of the versions that the poms name."""
    wanted = _wanted(mariadb=mariadb)
    return all(_stamp(pom) == _read(jars / folder / ".complete") for pom, folder in wanted.items())


def plugin_path(jars: Path, *, mariadb: bool) -> str:
    """Connect's plugin.path."""
    roots = ["plugins", *(["mariadb-plugins"] if mariadb else [])]
    return ",".join(str(jars / root) for root in roots)


def fetch(jars: Path, mvn: Path | None, say: Callable[[str], None], *, mariadb: bool = False) -> bool:
    """Bring the jars here; False if all were there. A folder is whole or absent.

    Stacks may share a folder. Raises ConfigurationError if Maven cannot, with its reason.
    """
    if complete(jars, mariadb=mariadb):
        return False
    jars.mkdir(parents=True, exist_ok=True)
    with (jars / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _fetch(jars, mvn, say, _wanted(mariadb=mariadb))


def _wanted(*, mariadb: bool) -> dict[str, str]:
    return {**_FOLDERS, **(_MARIADB if mariadb else {})}


def _fetch(jars: Path, mvn: Path | None, say: Callable[[str], None], wanted: Mapping[str, str]) -> bool:
    fetched = False
    for pom, folder in wanted.items():
        target = jars / folder
        if _stamp(pom) == _read(target / ".complete"):
            continue
        if mvn is None:
            raise ConfigurationError("Maven is needed to fetch the jars of Kafka and Debezium")
        say(f"fetching the jars of {pom} (once)")
        draft = jars / f".{pom}.part"
        shutil.rmtree(draft, ignore_errors=True)
        _copy_dependencies(mvn, _HERE / pom / "pom.xml", draft)
        for jar in draft.glob("debezium-connect-plugins-*.jar"):
            without_entry(jar, _UNLISTED)
        (draft / ".complete").write_text(_stamp(pom), encoding="ascii")
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.rename(target)
        fetched = True
    return fetched


def without_entry(jar: Path, entry: str) -> None:
    """Rewrite the jar without one entry.

    Debezium lists a converter for CloudEvents that looks for a private method of another version of
    Connect's JSON converter: unlisted, Connect starts without a stack trace and misses nothing we use.
    """
    with zipfile.ZipFile(jar) as source:
        if entry not in source.namelist():
            return
        draft = jar.with_suffix(".part")
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as target:
            for item in source.infolist():
                if item.filename != entry:
                    target.writestr(item, source.read(item))
    draft.replace(jar)


def _copy_dependencies(mvn: Path, pom: Path, target: Path) -> None:
    argv = [str(mvn), "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
    argv += ["-DincludeScope=runtime", f"-DoutputDirectory={target}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line]
        raise ConfigurationError(f"Maven could not fetch {pom}: {lines[0] if lines else done.returncode}")


def _stamp(pom: str) -> str:
    return hashlib.sha256((_HERE / pom / "pom.xml").read_bytes()).hexdigest()


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        return None
