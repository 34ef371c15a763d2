"""`{{ values.x }}` in a connector's file: plain values of a profile, put into its strings.

Jinja2's sandbox without functions; expressions only, for `{%` and `{#` occur in regular expressions.
The result is text: a list or a missing value is an error, never `[…]` or nothing.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

from core.errors import ConfigurationError

_NOWHERE: Final = "\x00"
"""Begins delimiters that no text holds: control characters are refused."""

_OPEN: Final = "{{"
_FAILURES: Final = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


def rendered(where: str, text: str, values: Mapping[str, Any]) -> str:
    """The text with its values. Raises ConfigurationError that names `where` and what is missing."""
    if _OPEN not in text:
        return text
    try:
        return _ENVIRONMENT.from_string(text).render(values=values)
    except _FAILURES as error:
        said = re.sub("'dict object' has no attribute", "there is no value", str(error))
        raise ConfigurationError(
            f"{where}: {{{{ … }}}} cannot be filled in: {said or type(error).__name__};"
            " it takes `values.<name>` of this file and its profile"
        ) from None


def names_used(text: str) -> set[str]:
    """The top-level values that a text asks for; none for a text that is no template."""
    if _OPEN not in text:
        return set()
    try:
        tree = _ENVIRONMENT.parse(text)
    except (TemplateError, RecursionError):
        return set()
    used = set()
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        of = getattr(node, "node", None)
        if isinstance(of, nodes.Name) and of.name == "values":
            if isinstance(node, nodes.Getattr):
                used.add(node.attr)
            elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
                used.add(str(node.arg.value))
    return used


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`, mapping by mapping; a list is replaced whole."""
    made = dict(below)
    for key, value in above.items():
        known = made.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            made[key] = merged(known, value)
        else:
            made[key] = value
    return made


def escaped(text: str) -> str:
    """The text as it is written into a file so that it is read back unchanged."""
    return text.replace(_OPEN, "{{ '{{' }}")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float | StrictUndefined):
        return str(value)  # of what is undefined: raises, and says its name
    raise TypeError(f"a {type(value).__name__} is no text")


class _Sandbox(SandboxedEnvironment):
    """Refuses what makes a text of any length out of a few letters."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise SecurityError(f"`{operator}` takes two numbers, and there are no powers")
        return super().call_binop(context, operator, left, right)


def _environment() -> SandboxedEnvironment:
    made = _Sandbox(
        undefined=StrictUndefined,
        autoescape=False,
        finalize=_text,
        keep_trailing_newline=True,
        block_start_string=f"{_NOWHERE}%",
        block_end_string=f"%{_NOWHERE}",
        comment_start_string=f"{_NOWHERE}#",
        comment_end_string=f"#{_NOWHERE}",
    )
    made.globals.clear()
    made.filters.pop("random")
    return made


_ENVIRONMENT: Final = _environment()
