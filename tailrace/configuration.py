"""Reads `tailrace.yaml` and the environment into `Settings`, and knows where each value came from.

The environment wins over the file: `TAILRACE_SERVE__PORT=9000` sets `serve.port`, two underscores
a level. Errors name file, line, key, and what to write instead.
"""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from connectors.file import SUFFIXES
from core.errors import ConfigurationError
from core.settings import Settings, Source
from embed.render import Renderer

PREFIX: Final = "TAILRACE_"
DELIMITER: Final = "__"
DEFAULT_FILE: Final = Path("tailrace.yaml")

Path_ = tuple[str, ...]


class _Environment(BaseSettings):
    """Only its source is used: pydantic-settings reads nested variables by the model's fields."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter=DELIMITER, extra="ignore")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and the origin of each value that is not a default, by dotted path."""

    settings: Settings
    origins: Mapping[str, str]
    file: Path


def load(file: Path = DEFAULT_FILE, environment: Mapping[str, str] | None = None) -> Loaded:
    """The settings of this file under this environment (the process's own by default).

    Relative paths inside the file are relative to it. Raises ConfigurationError.
    """
    variables = dict(os.environ) if environment is None else dict(environment)
    tree, lines = _read(file)
    overrides, names = _overrides(variables)
    merged = _merge(tree, overrides)
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, file, lines, names)) from error
    _read_templates(settings, file, lines, names)
    origins = {".".join(path): f"{file}:{line}" for path, line in lines.items() if _is_leaf(tree, path)}
    origins |= {".".join(path): f"environment {name}" for path, name in names.items()}
    return Loaded(_beside(settings, file.parent), origins, file)


def _read(file: Path) -> tuple[dict[str, Any], dict[Path_, int]]:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            f"{file} does not exist: run `tailrace init` to make one, or name yours with --config"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{file} is no YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigurationError(f"{file}:1: holds no settings: start with `app: <name>`")
    lines: dict[Path_, int] = {}
    if node is not None:
        _walk(node, (), lines, file)
    return tree, lines


def _walk(node: yaml.Node, path: Path_, lines: dict[Path_, int], file: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            child = (*path, str(key.value))
            if child in lines:
                raise ConfigurationError(
                    f"{file}:{key.start_mark.line + 1}: {'.'.join(child)} stands twice"
                    f" (first at line {lines[child]}): keep one"
                )
            lines[child] = key.start_mark.line + 1
            _walk(value, child, lines, file)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            child = (*path, str(number))
            lines[child] = value.start_mark.line + 1
            _walk(value, child, lines, file)


def _overrides(variables: Mapping[str, str]) -> tuple[dict[str, Any], dict[Path_, str]]:
    """What the environment sets: the tree, and each leaf's variable."""
    source = EnvSettingsSource(_Environment, env_prefix=PREFIX, env_nested_delimiter=DELIMITER)
    tree: dict[str, Any] = {}
    names: dict[Path_, str] = {}
    for name, value in variables.items():
        if not name.startswith(PREFIX):
            continue
        path = tuple(part.lower() for part in name.removeprefix(PREFIX).split(DELIMITER))
        if path[0] not in Settings.model_fields or (len(path) == 1 and path[0] != "app"):
            if DELIMITER in name:
                raise ConfigurationError(
                    f"environment variable {name}: there is no section {path[0]!r}:"
                    f" write {PREFIX}<SECTION>{DELIMITER}<KEY> with one of"
                    f" {', '.join(sorted(Settings.model_fields))}"
                )
            continue  # of another tool of ours: TAILRACE_STACK_DIR and its like
        at = tree
        for part in path[:-1]:
            at = at.setdefault(part, {})
        at[path[-1]] = _value(source, value)
        names[path] = name
    return tree, names


def _value(source: EnvSettingsSource, text: str) -> Any:
    """JSON for lists and mappings, as pydantic-settings reads them; any other text as it is."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return source.decode_complex_value("value", None, text)  # type: ignore[arg-type]
        except ValueError:
            return text
    return text


def _merge(tree: Any, over: Any, path: Path_ = ()) -> Any:
    if not isinstance(over, dict):
        return over
    if isinstance(tree, list):
        merged = list(tree)
        for key, value in over.items():
            if not key.isdecimal() or int(key) >= len(merged):
                raise ConfigurationError(f"{'.'.join(path)} has {len(merged)} entries: there is no {key!r}")
            merged[int(key)] = _merge(merged[int(key)], value, (*path, key))
        return merged
    result = dict(tree) if isinstance(tree, dict) else {}
    for key, value in over.items():
        # Names are lower case in variables; the file may spell them otherwise.
        actual = next((k for k in result if str(k).lower().replace("-", "_") == key.replace("-", "_")), key)
        result[actual] = _merge(result.get(actual), value, (*path, key))
    return result


def _is_leaf(tree: Any, path: Path_) -> bool:
    for part in path:
        tree = tree[int(part)] if isinstance(tree, list) else tree[_key(tree, part)]
    return not isinstance(tree, dict | list) or not tree


def _key(tree: Mapping[Any, Any], part: str) -> Any:
    return part if part in tree else next(key for key in tree if str(key) == part)


def _explain(
    error: ValidationError, file: Path, lines: Mapping[Path_, int], names: Mapping[Path_, str]
) -> str:
    said = []
    for item in error.errors(include_url=False):
        loc = tuple(str(part) for part in item["loc"])
        path = _written(loc, lines, names)
        where = names.get(path) or f"{file}:{_line(path, lines)}"
        what = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            what = f"unknown key; {_suggest(loc)}"
        elif item["type"] == "missing":
            what = "is missing: it must be set"
        dotted = ".".join(path)
        said.append(f"{where}: {dotted}: {what}" if dotted else f"{where}: {what}")
    return "\n".join(said)


def _read_templates(
    settings: Settings, file: Path, lines: Mapping[Path_, int], names: Mapping[Path_, str]
) -> None:
    """Refuses templates that are none, while nothing has recorded them: a generation goes on as it began."""
    for name, document in settings.documents.items():
        try:
            Renderer(name, document)
        except ConfigurationError as error:
            path = tuple(str(error).partition(":")[0].split("."))
            where = names.get(path) or f"{file}:{_line(path, lines)}"
            raise ConfigurationError(f"{where}: {error}") from error


def _written(loc: Path_, lines: Mapping[Path_, int], names: Mapping[Path_, str]) -> Path_:
    """The location without the union tags that pydantic puts in between."""
    known = {*lines, *names}
    path: Path_ = ()
    for place, part in enumerate(loc):
        last = place == len(loc) - 1
        if (*path, part) in known or last or any(k[: len(path) + 1] == (*path, part) for k in known):
            path = (*path, part)
    return path


def _line(path: Path_, lines: Mapping[Path_, int]) -> int:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _suggest(loc: Path_) -> str:
    fields = _fields_at(loc[:-1])
    close = difflib.get_close_matches(loc[-1], fields, n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"write one of {', '.join(sorted(fields))}" if fields else "remove it"


def _fields_at(loc: Path_) -> list[str]:
    """The field names of the section at a location, by walking the JSON schema."""
    schema = Settings.model_json_schema()
    at: Any = schema
    for part in loc:
        at = _resolve(at, schema)
        if "properties" in at and part in at["properties"]:
            at = at["properties"][part]
        elif isinstance(at.get("additionalProperties"), dict):
            at = at["additionalProperties"]
        elif "patternProperties" in at:
            at = next(iter(at["patternProperties"].values()))
        elif "items" in at:
            at = at["items"]
        elif "discriminator" in at:
            at = {"$ref": at["discriminator"]["mapping"].get(part, "")}
    return list(_resolve(at, schema).get("properties", {}))


def _resolve(at: Any, schema: Mapping[str, Any]) -> Any:
    reference = at.get("$ref", "")
    return schema["$defs"].get(reference.rsplit("/", 1)[-1], {}) if reference else at


def _beside(settings: Settings, folder: Path) -> Settings:
    """Relative paths made relative to the file that named them."""

    def moved(section: BaseModel) -> BaseModel:
        update: dict[str, Any] = {}
        for name in type(section).model_fields:
            value = getattr(section, name)
            if isinstance(value, BaseModel):
                update[name] = moved(value)
            elif isinstance(value, Path):
                update[name] = folder / value
            elif isinstance(section, Source) and name == "connector" and Path(value or "").suffix in SUFFIXES:
                update[name] = str(folder / value)
            elif isinstance(value, dict):
                update[name] = {
                    key: moved(item)
                    if isinstance(item, BaseModel)
                    else (folder / item if isinstance(item, Path) else item)
                    for key, item in value.items()
                }
        return section.model_copy(update=update)

    made = moved(settings)
    if not isinstance(made, Settings):
        raise TypeError(type(made))
    return made
