"""What should run on Kafka Connect: one connector, as its file says it for one profile."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from connectors.file import Env, State, Text, files_of, read_fields, said
from connectors.masking import masked_text
from connectors.preset import NEVER_ACCEPTED, POSTGRES_CLASS, RULES, intrusions, violations
from connectors.substitution import Resolved, resolve
from connectors.values import escaped
from connectors.violation import Violation
from core.errors import ConfigurationError


class ConnectorSpec(BaseModel):
    """One connector. Made by `read_spec` of a file, by `spec_of` of a live configuration."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True
    )

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$")
    """The connector's name on Connect."""

    class_: str = Field(default=POSTGRES_CLASS, alias="class")
    """Its Java class."""

    tasks_max: PositiveInt = 1
    """A Postgres connector has exactly one task."""

    state: State = "running"
    """The state it should be in."""

    config: dict[str, Text]
    """Connect's configuration without name, class and tasks.max. Secrets as references only."""

    accept: dict[str, str] = {}
    """Rules of the preset that are waived, each with its reason."""

    env: Env = "apply"
    """Whose `${env:NAME}` is: filled in when it is applied, or Connect's own provider's."""

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        for key, field in (("name", "name"), ("connector.class", "class"), ("tasks.max", "tasks_max")):
            if key in self.config:
                raise ValueError(f"config.{key}: write it once, as `{field}:` beside config")
        for rule, reason in self.accept.items():
            if not reason.strip():
                raise ValueError(f"accept.{rule}: say why")
            if rule in NEVER_ACCEPTED:
                raise ValueError(f"accept.{rule}: this rule protects the Connect worker and is never waived")
            if rule not in RULES:
                rules = sorted(RULES - NEVER_ACCEPTED)
                close = difflib.get_close_matches(rule, rules, n=1)
                meant = f"did you mean {close[0]}?" if close else f"write one of {', '.join(rules)}"
                raise ValueError(f"accept.{rule}: there is no such rule: {meant}")
        return self

    def full_config(self) -> dict[str, str]:
        """The whole configuration, references and all."""
        return {"connector.class": self.class_, "tasks.max": str(self.tasks_max), **self.config}

    def violations(self, *, hosts: Collection[str] | None = None) -> list[Violation]:
        """What keeps it from being deployed. `hosts`: the only addresses that it may name."""
        return violations(self.full_config(), self.accept, hosts=hosts)

    def idle_waivers(self) -> list[str]:
        """Rules under `accept` that the configuration keeps."""
        return sorted(self.accept.keys() - {found.rule for found in violations(self.full_config())})

    def resolved(self, environment: Mapping[str, str], *, hosts: Collection[str] | None = None) -> Resolved:
        """The configuration as it is sent, with `${env:NAME}` filled in where it is ours to fill in.

        Raises ConfigurationError for a missing variable, and for one that holds what would have been
        refused in the file; what a variable holds is in no message as a whole.
        """
        if self.env == "connect":
            return Resolved(self.full_config(), frozenset())
        try:
            made = resolve(self.full_config(), environment)
        except ConfigurationError as error:
            raise ConfigurationError(f"connector {self.name}: {error}") from None
        # A filled-in password is a literal, as was asked for; nothing else may come in by this way. What
        # the rules about data judge, no reference may stand in.
        wrong = [found for found in intrusions(made.config, hosts=hosts) if found.rule != "inline-secret"]
        if made.filled and wrong:
            said = "; ".join(masked_text(str(violation), secrets=made.secrets) for violation in wrong)
            raise ConfigurationError(f"connector {self.name}, with its environment filled in: {said}")
        return made


def spec_of(
    name: str,
    config: Mapping[str, str],
    *,
    accept: Mapping[str, str] | None = None,
    state: State = "running",
    env: Env = "apply",
) -> ConnectorSpec:
    """A connector of a flat Connect configuration. With `env="connect"` its `${env:…}` are the worker's."""
    rest = {k: v for k, v in config.items() if k not in {"name", "connector.class", "tasks.max"}}
    return ConnectorSpec.model_validate(
        {
            "name": name,
            "class": config["connector.class"],
            "tasks_max": int(config.get("tasks.max", "1")),
            "state": state,
            "config": rest,
            "accept": dict(accept or {}),
            "env": env,
        }
    )


@dataclass(frozen=True, slots=True)
class LoadedSpec:
    """A connector and the file that it came from."""

    path: Path
    spec: ConnectorSpec


def read_spec(path: Path, profile: str | None = None) -> ConnectorSpec:
    """Raises ConfigurationError, naming the file, the key and what to write."""
    fields = read_fields(path, profile)
    try:
        return ConnectorSpec.model_validate(fields)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {said(error, ConnectorSpec)}") from None


def read_specs(paths: Sequence[Path], *, profile: str | None = None) -> list[LoadedSpec]:
    """Each file, and each in a folder. Raises ConfigurationError, also for a name that stands twice."""
    loaded = [LoadedSpec(path, read_spec(path, profile)) for path in files_of(paths)]
    first: dict[str, Path] = {}
    for one in loaded:
        if (other := first.setdefault(one.spec.name, one.path)) != one.path:
            raise ConfigurationError(
                f"{one.path}: connector {one.spec.name} stands in {other} too: keep one of the two"
            )
    return loaded


def write_spec(spec: ConnectorSpec, path: Path) -> None:
    """The file that `read_spec` reads back as the same."""
    shown = spec.model_dump(by_alias=True, exclude_defaults=False)
    shown["config"] = {key: escaped(value) for key, value in spec.config.items()}
    path.write_text(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=110), encoding="utf-8")
