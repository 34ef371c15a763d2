"""A connector as a file: what should run on Kafka Connect, kept under version control."""

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    model_validator,
)

from connectors.preset import POSTGRES_CLASS, violations
from connectors.violation import Violation
from core.errors import ConfigurationError


def _as_text(value: object) -> object:
    """Connect knows strings only; YAML's `true` and `10` are meant as such."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


Text = Annotated[str, BeforeValidator(_as_text)]


class ConnectorSpec(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True
    )

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$")
    """The connector's name on Connect."""

    class_: str = Field(default=POSTGRES_CLASS, alias="class")
    """Its Java class."""

    tasks_max: PositiveInt = 1
    """A Postgres connector has exactly one task."""

    state: Literal["running", "paused", "stopped"] = "running"
    """The state it should be in."""

    config: dict[str, Text]
    """Connect's configuration without name, class and tasks.max. Secrets as `${file:…}` only."""

    accept: dict[str, str] = {}
    """Rules of the preset that are waived, each with its reason."""

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        for key, field in (("name", "name"), ("connector.class", "class"), ("tasks.max", "tasks_max")):
            if key in self.config:
                raise ValueError(f"config.{key}: write it once, as `{field}:` beside config")
        for rule, reason in self.accept.items():
            if not reason.strip():
                raise ValueError(f"accept.{rule}: say why")
        return self

    def full_config(self) -> dict[str, str]:
        """As it is sent to Connect."""
        return {"connector.class": self.class_, "tasks.max": str(self.tasks_max), **self.config}

    def violations(self) -> list[Violation]:
        """What keeps it from being deployed."""
        return violations(self.full_config(), self.accept)


def spec_of(name: str, config: dict[str, str], *, accept: dict[str, str] | None = None) -> ConnectorSpec:
    """A file's content from a flat Connect configuration."""
    rest = {k: v for k, v in config.items() if k not in {"name", "connector.class", "tasks.max"}}
    return ConnectorSpec.model_validate(
        {
            "name": name,
            "class": config["connector.class"],
            "tasks_max": int(config.get("tasks.max", "1")),
            "config": rest,
            "accept": accept or {},
        }
    )


def read_spec(path: Path) -> ConnectorSpec:
    """Raises ConfigurationError, naming the file, the key and what to write."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: no YAML: {error}") from error
    try:
        return ConnectorSpec.model_validate(raw)
    except ValidationError as error:
        # Not pydantic's own text: it quotes values, and one of them may be a secret.
        lines = [
            f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors(include_input=False)
        ]
        raise ConfigurationError(f"{path}: " + "; ".join(lines)) from None


def write_spec(spec: ConnectorSpec, path: Path) -> None:
    """The file that `read_spec` reads back as the same."""
    shown = spec.model_dump(by_alias=True, exclude_defaults=False)
    path.write_text(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=110), encoding="utf-8")
