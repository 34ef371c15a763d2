"""A connector's file: its shapes, its profile, its values, its template.

Two shapes are read: ours (YAML or JSON), and plain Connect JSON as it is found in repositories, either
`{name, config}` or flat. The plain one is taken as it stands: nothing in it is filled in.
"""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, ValidationError

from connectors.parsing import parsed
from connectors.templates.catalogue import TEMPLATES, expand
from connectors.values import merged, names_used, rendered
from core.errors import ConfigurationError

SUFFIXES: Final = (".yaml", ".yml", ".json")
State: TypeAlias = Literal["running", "paused", "stopped"]
Env: TypeAlias = Literal["apply", "connect"]

_CONNECT_KEYS: Final = {"name", "config", "tasks", "type", "state", "accept", "env", "initial_state"}


def _as_text(value: object) -> object:
    """Connect knows strings only; YAML's `true` and `10` are meant as such."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


Text = Annotated[str, BeforeValidator(_as_text)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class _Profile(_Section):
    values: dict[str, Any] = {}
    tasks_max: PositiveInt | None = None
    state: State | None = None
    config: dict[str, Text] = {}


class _File(_Section):
    """Our shape, before a profile is chosen."""

    name: str
    class_: str | None = Field(default=None, alias="class")
    template: str | None = None
    tasks_max: PositiveInt | None = None
    state: State = "running"
    config: dict[str, Text] = {}
    accept: dict[str, str] = {}
    values: dict[str, Any] = {}
    profiles: dict[str, _Profile] = {}
    env: Env = "apply"


def read_fields(path: Path, profile: str | None = None) -> dict[str, Any]:
    """The fields of a ConnectorSpec, by their names in files.

    Raises ConfigurationError that names the file, the key and what to write; it quotes no value.
    """
    try:
        raw = parsed(path)
        return _connect_shape(raw) if _is_connect(raw) else _our_shape(raw, profile)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {said(error, _File)}") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def files_of(paths: Sequence[Path]) -> list[Path]:
    """These files, and in place of a folder the connectors' files in it, by name.

    Raises ConfigurationError for what does not exist and for a folder without any.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and not p.name.startswith("."))
            if not inside:
                raise ConfigurationError(
                    f"{path}: holds no connector: no file ends with {', '.join(SUFFIXES)}"
                )
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise ConfigurationError(f"{path}: there is no such file or folder")
    return list(dict.fromkeys(found))


def files_below(folder: Path) -> list[Path]:
    """What may be a connector's file in the folder and in those inside it; nothing hidden.

    Raises ConfigurationError for a folder that cannot be read.
    """
    found: list[Path] = []
    seen = set()
    for root, folders, names in os.walk(folder, onerror=_unread, followlinks=True):
        # A link may lead back up.
        real = os.path.realpath(root)
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        if real not in seen:
            found += [Path(root, name) for name in names if not name.startswith(".")]
        seen.add(real)
    return sorted(path for path in found if path.suffix in SUFFIXES)


def _unread(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise ConfigurationError(f"{error.filename}: cannot be read: {error.strerror}") from error


def said(error: ValidationError, model: type[BaseModel]) -> str:
    """Not pydantic's own text: it quotes values, and one of them may be a secret."""
    known = [field.alias or name for name, field in model.model_fields.items()]
    lines = []
    for e in error.errors(include_input=False):
        message = e["msg"].removeprefix("Value error, ")
        if e["type"] == "extra_forbidden":
            close = difflib.get_close_matches(str(e["loc"][-1]), known, n=1)
            message = f"there is no such key{f': did you mean {close[0]}?' if close else ''}"
        lines.append(f"{'.'.join(map(str, e['loc'])) or 'file'}: {message}")
    return "; ".join(lines)


def _is_connect(raw: Mapping[str, Any]) -> bool:
    if "class" in raw or "template" in raw:
        return False
    config = raw.get("config")
    return "connector.class" in raw or (isinstance(config, dict) and "connector.class" in config)


def _connect_shape(raw: dict[str, Any]) -> dict[str, Any]:
    if "connector.class" in raw:
        raw = {"name": raw.get("name"), "config": {k: v for k, v in raw.items() if k != "name"}}
    unknown = sorted(raw.keys() - _CONNECT_KEYS)
    if unknown:
        raise ConfigurationError(f"{unknown[0]}: there is no such key in Connect's own form")
    config = dict(raw["config"])
    if config.pop("name", raw.get("name")) != raw.get("name"):
        raise ConfigurationError("config.name is not the name beside it: keep one")
    initial = raw.get("initial_state")
    fields = {
        "name": raw.get("name"),
        "class": config.pop("connector.class"),
        "tasks_max": config.pop("tasks.max", 1),
        "state": initial.lower() if isinstance(initial, str) else raw.get("state", "running"),
        "config": config,
        "accept": raw.get("accept", {}),
        "env": raw.get("env", "connect"),
    }
    if fields["name"] is None:
        raise ConfigurationError("name is missing: the connector's name on Connect")
    return fields


def _our_shape(raw: dict[str, Any], profile: str | None) -> dict[str, Any]:
    file = _File.model_validate(raw)
    chosen = _chosen(file, profile)
    values = merged(file.values, chosen.values)
    _plain(values, "values")
    config = {**file.config, **chosen.config}
    used = set().union(*map(names_used, (file.name, file.class_ or "", *config.values())))
    below = _expanded(file, values, used)
    own_class = below.pop("connector.class", None)
    if file.class_ is not None and own_class is not None:
        raise ConfigurationError(f"class: template {file.template} has its own: remove one of the two")
    fields = {
        "name": rendered("name", file.name, values),
        "tasks_max": chosen.tasks_max or file.tasks_max or int(below.pop("tasks.max", "1")),
        "state": chosen.state or file.state,
        "config": below | {key: rendered(f"config.{key}", text, values) for key, text in config.items()},
        "accept": file.accept,
        "env": file.env,
    }
    class_ = own_class or (rendered("class", file.class_, values) if file.class_ is not None else None)
    return fields if class_ is None else {**fields, "class": class_}


def _chosen(file: _File, profile: str | None) -> _Profile:
    """A file without profiles is the same in each."""
    if profile is None or not file.profiles:
        return _Profile()
    if profile not in file.profiles:
        raise ConfigurationError(
            f"profiles: there is no {profile!r}: write one of {', '.join(sorted(file.profiles))}"
        )
    return file.profiles[profile]


def _expanded(file: _File, values: dict[str, Any], used: set[str]) -> dict[str, str]:
    """The template's configuration; nothing without one. Raises ConfigurationError for an idle value."""
    if file.template is not None:
        known = TEMPLATES[file.template].values.model_fields if file.template in TEMPLATES else {}
        return expand(file.template, {k: v for k, v in values.items() if k in known or k not in used})
    if idle := sorted(values.keys() - used):
        close = difflib.get_close_matches(idle[0], sorted(used), n=1)
        meant = f": did you mean {close[0]}?" if close else ""
        raise ConfigurationError(f"values.{idle[0]}: nothing uses it{meant}")
    return {}


def _plain(value: object, where: str) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _plain(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _plain(inner, f"{where}.{number}")
    elif isinstance(value, str) and "{{" in value:
        raise ConfigurationError(f"{where}: a value is plain text: {{{{ … }}}} stands in config only")
    elif not isinstance(value, str | int | float):
        raise ConfigurationError(f"{where}: a value is text, a number, true or false, a list or a mapping")
