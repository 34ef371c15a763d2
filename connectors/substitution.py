"""`${env:NAME}` in a connector's file, which means this process's environment or the worker's own.

`env: apply` in the file (its default): the reference is replaced here, just before the configuration is
sent, and what it held is masked from then on. `env: connect` (the default of plain Connect JSON): it is
the worker's, and passes. Any other `${provider:…}` always passes. `$${env:NAME}` writes the worker's
own into a file of the first kind.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from core.errors import ConfigurationError

_ENV = re.compile(r"\$(?P<escaped>\$?)\{env:(?P<name>[^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A configuration as it is sent. `secrets` is every value that was put in: mask it everywhere."""

    config: dict[str, str]
    secrets: frozenset[str]
    filled: frozenset[str] = frozenset()
    """The keys that something was put in under."""

    def __repr__(self) -> str:
        return f"Resolved({len(self.config)} keys, {len(self.secrets)} secrets)"


def resolve(config: Mapping[str, str], environment: Mapping[str, str]) -> Resolved:
    """Put the environment in. Raises ConfigurationError that names variable and key, never a value."""
    secrets: set[str] = set()
    made = {
        key: _ENV.sub(partial(_put_in, key, environment, secrets), value) for key, value in config.items()
    }
    filled = {key for key, value in config.items() if any(not m["escaped"] for m in _ENV.finditer(value))}
    return Resolved(made, frozenset(secrets), frozenset(filled))


def _put_in(key: str, environment: Mapping[str, str], secrets: set[str], found: re.Match[str]) -> str:
    name = found["name"]
    if found["escaped"]:
        return found[0][1:]
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"config.{key}: {found[0]} names no environment variable: write ${{env:NAME}}"
        )
    if not environment.get(name):
        said = "is empty" if name in environment else "is not set"
        raise ConfigurationError(
            # The key is not followed by a colon: what stands after one is masked where the key is a secret's.
            f"environment variable {name} {said}, which config.{key} needs: {found[0]} is filled in when it"
            f" is applied; for Connect's own provider write ${found[0]}, or `env: connect` in the file"
        )
    secrets.add(environment[name])
    return environment[name]


def connects_own(text: str) -> str:
    """The text as it is written into a file with `env: apply` so that Connect gets it unchanged."""
    return _ENV.sub(lambda found: "$" + found[0], text)
