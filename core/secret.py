"""Secrets of the settings: references, which are read when they are used."""

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from core.errors import ConfigurationError

_REFERENCE = re.compile(r"\$\{(env|file):([^}]+)\}")


class Secret(str):
    """A reference to a secret. Prints as the reference; `reveal()` reads it."""

    __slots__ = ()

    def reveal(self) -> str:
        """The secret. Raises ConfigurationError if the variable or file is missing."""
        found = _REFERENCE.fullmatch(self)
        if found is None:
            raise ConfigurationError("a secret that is no reference")
        kind, name = found.groups()
        if kind == "env":
            if name not in os.environ:
                raise ConfigurationError(f"environment variable {name} is not set: {self} needs it")
            return os.environ[name]
        try:
            return Path(name).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigurationError(f"{self}: cannot be read: {error.strerror}") from error


def _secret(value: str) -> Secret:
    if not _REFERENCE.fullmatch(value):
        # The value itself must not be in the message: it may be the secret.
        raise ValueError("a secret is never written here: write ${env:NAME} or ${file:PATH}")
    return Secret(value)


SecretRef = Annotated[str, AfterValidator(_secret)]
"""A field that takes a reference and nothing else."""
