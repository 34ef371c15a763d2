"""The text of a connector's file, YAML or JSON, as a mapping of plain values.

A number or truth value is one only where it would be written the same again: `05432`, `1:30`, `1.50` and
`on`, which YAML 1.1 rewrites, are text. So what stands in a file is what Connect is sent.
"""

import json
import re
from pathlib import Path
from typing import Any, Final

import yaml

from core.errors import ConfigurationError

MAX_BYTES: Final = 1 << 20
"""A connector's configuration is a few kB; anything longer is another file, or an attack on the parser."""

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_DECIMAL = re.compile(r"-?[0-9]{1,18}\.[0-9]{1,18}")
_TAG: Final = "tag:yaml.org,2002:"


def parsed(path: Path) -> dict[str, Any]:
    """Raises ConfigurationError, which quotes nothing of the file: a secret may stand there."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigurationError(f"is longer than {MAX_BYTES} bytes: that is no connector's file")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError("is not in UTF-8") from error
    try:
        made = _of_json(text) if path.suffix == ".json" else yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        # Its own text quotes the line.
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ConfigurationError(f"no YAML: {line}{error.problem}") from None
    except (ValueError, OverflowError, yaml.YAMLError, RecursionError) as error:
        where = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else ""
        raise ConfigurationError(f"cannot be parsed {where}".rstrip()) from None
    if not isinstance(made, dict):
        raise ConfigurationError("holds no connector: start with `name:`")
    return made


def _of_json(text: str) -> Any:
    return json.loads(
        text, object_pairs_hook=_once, parse_int=_number, parse_float=_number, parse_constant=_number
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise ConfigurationError(f"{key} stands twice: keep one")
        made[key] = value
    return made


def _number(text: str) -> int | float | str:
    """The number; the text itself where the number would be written another way."""
    made: int | float | str = text
    if _INTEGER.fullmatch(text):
        made = int(text)
    elif _DECIMAL.fullmatch(text):
        made = float(text)
    return made if str(made) == text else text


class _Loader(yaml.SafeLoader):
    """No key twice (the last would win in silence), no aliases (they multiply without end).

    Of plain scalars only null and those of JSON are more than text.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ConfigurationError(
                f"line {self.line + 1}: an alias: write the value again, or use `values`"
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - theirs
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                line = key.start_mark.line + 1
                raise ConfigurationError(f"line {line}: {key.value} stands twice: keep one")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep=deep)


def _scalar(loader: _Loader, node: yaml.ScalarNode) -> int | float | str:
    text = str(loader.construct_scalar(node))
    return text == "true" if text in {"true", "false"} else _number(text)


_Loader.yaml_implicit_resolvers = {}
_Loader.yaml_constructors = {
    tag: construct
    for tag, construct in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix(_TAG) in {"null", "str", "seq", "map"}
}
for _name, _form, _first in (
    ("null", r"(~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    ("bool", r"(true|false)\Z", ["t", "f"]),
    ("int", rf"{_INTEGER.pattern}\Z", list("-0123456789")),
    ("float", rf"{_DECIMAL.pattern}\Z", list("-0123456789")),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(_form), _first)
for _name in ("bool", "int", "float"):
    _Loader.add_constructor(_TAG + _name, _scalar)
