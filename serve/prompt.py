"""Prompts are files: Jinja templates with a block for each role, checked before anything starts.

A template has `{% block system %}` and `{% block user %}`, and these variables:

* `question`: what was asked;
* `passages`: best first, each with `n` (what a citation says), `title`, `text`, `url`, `document`,
  `key`, `stale` (the row has changed since) and `committed_at`;
* `state`: view name to an entry with `rows` and `text`;
* `as_of`: source name to `position` and `committed_at`;
* `history`: earlier messages, each with `role` and `content` (they are sent as messages of their own
  too, between the two roles);
* `nonce`: the mark of this request.

What rows say is data. `text` of a passage or entry is therefore a whole block, between two lines
that carry the nonce and say where the text is from. The nonce is random for each request and
stripped from data, so no row can write such a line; characters that no reader sees are stripped.
"""

import json
import re
import secrets
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Self

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError, meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import SandboxedEnvironment

from core.errors import ConfigurationError
from core.state import Json
from retrieve.model import AsOf, Hit, Rows

ROLES: Final = ("system", "user")
VARIABLES: Final = frozenset({"question", "passages", "state", "as_of", "history", "nonce"})

_INVISIBLE: Final = re.compile(
    "[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef]"
)
"""Zero width, direction and tag characters: a reader does not see them, a model reads them."""

_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_LONGEST_LABEL: Final = 200
"""Characters of a title or key: it labels, the text says."""

_FAILURES: Final = (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A hit as templates see it."""

    n: int
    title: str
    text: str
    url: str
    document: str
    key: str
    stale: bool
    committed_at: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A state entry as templates see it."""

    rows: tuple[Mapping[str, Json], ...]
    text: str


class Prompt:
    """A checked template. `render` gives the messages: system, history, user.

    Raises ConfigurationError, with file and line, for a template that cannot be read, lacks a
    role, or names an unknown variable or attribute.
    """

    def __init__(self, name: str, source: str, file: str) -> None:
        self.name, self._file = name, file
        environment = SandboxedEnvironment(
            undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
        )
        environment.globals.clear()
        environment.filters.pop("random")
        try:
            tree = environment.parse(source, name, file)
            self._check(tree)
            code = environment.compile(source, name, file)
        except TemplateSyntaxError as error:
            raise ConfigurationError(f"{file}:{error.lineno}: {error.message}") from error
        self._template = environment.template_class.from_code(environment, code, {})
        for passages in ([], [_SAMPLE, replace(_SAMPLE, stale=True)]):
            self._try(passages)

    @classmethod
    def load(cls, name: str, file: Path) -> Self:
        try:
            source = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"prompts.{name}: {file} cannot be read: {error}") from error
        return cls(name, source, str(file))

    @classmethod
    def builtin(cls) -> Self:
        """The grounded prompt, for profiles that name none."""
        file = files("serve") / "templates" / "grounded.md.j2"
        return cls("grounded", file.read_text(encoding="utf-8"), "serve/templates/grounded.md.j2")

    def render(
        self,
        question: str,
        hits: Sequence[Hit],
        state: Mapping[str, Rows],
        as_of: Mapping[str, AsOf],
        history: Sequence[Message],
        *,
        nonce: str | None = None,
    ) -> list[Message]:
        """The messages. `nonce` is random unless given; ConfigurationError if the template fails."""
        nonce = nonce or new_nonce()
        values: dict[str, Any] = {
            "question": visible(question, nonce),
            "passages": [_passage(n, hit, nonce) for n, hit in enumerate(hits, 1)],
            "state": {view: _entry(view, rows, nonce) for view, rows in state.items()},
            "as_of": as_of,
            "history": list(history),
            "nonce": nonce,
        }
        try:
            system, user = self._filled(values)
        except _FAILURES as error:
            raise ConfigurationError(f"{self._file}:{self._line(error)}: {error}") from error
        return [Message("system", system), *history, Message("user", user)]

    def _filled(self, values: Mapping[str, Any]) -> list[str]:
        """What the template says for each role."""
        context = self._template.new_context(dict(values))
        return ["".join(self._template.blocks[role](context)).strip() for role in ROLES]

    def _try(self, passages: Sequence[Passage]) -> None:
        """Find names that nothing has. Columns, views and sources are the operator's: any may be there."""
        anything: dict[str, Any] = {"state": _Anything(), "as_of": _Anything()}
        known = {"question": "?", "passages": passages, "history": [Message("user", "?")], "nonce": "0"}
        try:
            self._filled(anything | known)
        except (UndefinedError, SecurityError) as error:
            raise ConfigurationError(f"{self._file}:{self._line(error)}: {error}") from error
        except _FAILURES:
            pass  # it may do with real values what it cannot with these

    def _check(self, tree: nodes.Template) -> None:
        blocks = {block.name for block in tree.find_all(nodes.Block)}
        for role in ROLES:
            if role not in blocks:
                raise ConfigurationError(
                    f"{self._file}:1: the template says nothing for the role {role}:"
                    f" write {{% block {role} %}}…{{% endblock %}}"
                )
        for name in sorted(meta.find_undeclared_variables(tree) - VARIABLES):
            line = min(node.lineno for node in tree.find_all(nodes.Name) if node.name == name)
            raise ConfigurationError(
                f"{self._file}:{line}: unknown variable {name!r}: write one of {', '.join(sorted(VARIABLES))}"
            )

    def _line(self, error: BaseException) -> int:
        """Of the template, where the compiled template failed."""
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == self._file and frame.lineno]
        return self._template.get_corresponding_lineno(lines[-1]) if lines else 1


def load_prompts(configured: Mapping[str, Path]) -> dict[str, Prompt]:
    """Every configured prompt by its name. Raises ConfigurationError for the first that is wrong."""
    return {name: Prompt.load(name, file) for name, file in configured.items()}


def new_nonce() -> str:
    """64 random bits: no row can have been written to guess it."""
    return secrets.token_hex(8)


def visible(text: str, nonce: str = "") -> str:
    """The text that a reader sees, without the nonce."""
    shown = _CONTROL.sub(" ", _INVISIBLE.sub("", text))
    while nonce and nonce in shown:
        shown = shown.replace(nonce, "")
    return shown


def instant(ms: int) -> str:
    """Milliseconds since 1970 as UTC text; empty for none."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if ms else ""
    except (OverflowError, ValueError, OSError):
        return ""


def _passage(n: int, hit: Hit, nonce: str) -> Passage:
    title, key = _label(hit.title, nonce), _label(hit.key, nonce)
    committed = instant(hit.committed_at)
    label = f"passage [{n}], {hit.document}/{key}, committed {committed or 'at an unknown time'}"
    body = f"{title}\n{visible(hit.text, nonce)}" if title else visible(hit.text, nonce)
    return Passage(
        n,
        title,
        _block(label, body, nonce),
        _label(hit.url or "", nonce),
        hit.document,
        key,
        hit.stale,
        committed,
    )


def _entry(view: str, rows: Rows, nonce: str) -> Entry:
    lines = [visible(json.dumps(dict(row), ensure_ascii=False, default=str), nonce) for row in rows]
    return Entry(
        tuple(json.loads(line) for line in lines),
        _block(f"rows of {view}", "\n".join(lines) or "(no rows)", nonce),
    )


def _block(label: str, body: str, nonce: str) -> str:
    return f"--- data {nonce}: {label}\n{body}\n--- end of data {nonce}"


def _label(text: str, nonce: str) -> str:
    return " ".join(visible(text, nonce).split())[:_LONGEST_LABEL]


class _Anything(dict[str, Any]):
    """A mapping that has everything, and all of it empty."""

    def __missing__(self, key: object) -> "_Anything":
        return _Anything()


_SAMPLE: Final = Passage(1, "Title", "Text.", "https://example.org/1", "documents", "1", False, instant(1))
