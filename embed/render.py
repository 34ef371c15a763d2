"""A row becomes a document: templates, the filter, and who may read it.

Pure: the same row and configuration give the same document, so no template can ask for the time or
for chance. A column that a template names and the row lacks is an error, never an empty text.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, NoReturn

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import SandboxedEnvironment

from core.errors import ConfigurationError, ContractError, LimitError
from core.settings import DocumentSettings
from core.state import Json, StateRow
from embed.model import Change, Document, Removal

_INVISIBLE: Final = re.compile("[\u200b-\u200d\u2060\ufe00-\ufe0f\ufeff\U000e0000-\U000e007f]")
"""Characters that a reader does not see and a model reads: they carry hidden instructions."""

LONGEST_VALUE: Final = 1024
"""Characters of a metadata text. Every chunk carries its row's metadata, twice: 1 KB on the 500 chunks of a
long text is 1 MB of index, and nobody filters by more."""

MOST_VALUES: Final = 100
"""Of one metadata list, for the same reason."""

MOST_GROUPS: Final = 1000
"""Of one access list, each as short as a metadata text: every chunk carries them too."""

_TEMPLATE_FAILURES: Final = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


class Renderer:
    """Documents of one configured name out of rows of its table.

    Raises ConfigurationError for a template that cannot be read or, where `known_columns` are
    given, names a column that is not among them.
    """

    def __init__(
        self, name: str, settings: DocumentSettings, known_columns: Collection[str] | None = None
    ) -> None:
        self._name, self._settings = name, settings
        self._environment = _environment()
        self._columns: dict[str, frozenset[str]] = {}
        self._title = self._template("title", settings.title)
        self._text = self._template("text", settings.text)
        self._url = None if settings.url is None else self._template("url", settings.url)
        self._where = None if settings.where is None else self._expression("where", settings.where)
        for place in ("tenant", "acl"):
            column = getattr(settings, place)
            self._columns[place] = frozenset() if column is None else frozenset([column])
        self._columns["metadata"] = frozenset(settings.metadata)
        if known_columns is not None:
            self._check(known_columns)

    def columns(self) -> frozenset[str]:
        """Every column that the document is made of."""
        return frozenset().union(*self._columns.values())

    def render(self, row: StateRow) -> Change:
        """The document, or its removal if the row is deleted or `where` is false.

        Raises ContractError, naming document, row and column, if the row lacks a column that is asked
        for or holds what no document can be made of; LimitError where tenant, access list or metadata,
        which each chunk carries, are past their limits.
        """
        key = row.key.text
        if row.deleted or not self._wanted(row):
            tenant = row.columns.get(self._settings.tenant) if self._settings.tenant else None
            return Removal(
                self._name,
                key,
                row.key.canonical,
                row.version,
                None if tenant is None else str(tenant),
                row.position,
                row.committed_at,
            )
        return Document(
            name=self._name,
            key=key,
            canonical=row.key.canonical,
            version=row.version,
            title=" ".join(self._rendered("title", self._title, row).split()),
            text=self._rendered("text", self._text, row),
            url=None if self._url is None else self._rendered("url", self._url, row).strip(),
            tenant=self._tenant(row),
            groups=self._groups(row),
            metadata={column: self._metadata(row, column) for column in self._settings.metadata},
            position=row.position,
            committed_at=row.committed_at,
        )

    def _template(self, place: str, source: str) -> Template:
        try:
            self._columns[place] = _names(self._environment, source)
            return self._environment.from_string(source)
        except TemplateSyntaxError as error:
            raise ConfigurationError(f"documents.{self._name}.{place}: {error.message}") from error

    def _expression(self, place: str, source: str) -> Callable[..., Any]:
        self._template(place, f"{{{{ {source} }}}}")
        return self._environment.compile_expression(source, undefined_to_none=False)

    def _check(self, known: Collection[str]) -> None:
        for place, columns in self._columns.items():
            if missing := sorted(columns - set(known)):
                raise ConfigurationError(
                    f"documents.{self._name}.{place}: {self._settings.table} has no column"
                    f" {missing[0]!r}: write one of {', '.join(sorted(known))}"
                )

    def _wanted(self, row: StateRow) -> bool:
        if self._where is None:
            return True
        try:
            answer = self._where(row.columns)
            if isinstance(answer, StrictUndefined):
                bool(answer)  # raises: says which column
        except _TEMPLATE_FAILURES as error:
            self._refuse(row, f"where: {error}", error)
        if not isinstance(answer, bool):
            self._refuse(row, f"where gives {answer!r:.60}, which is neither true nor false: compare it")
        return answer

    def _rendered(self, place: str, template: Template, row: StateRow) -> str:
        try:
            return _INVISIBLE.sub("", template.render(row.columns))
        except _TEMPLATE_FAILURES as error:
            self._refuse(row, f"{place}: {error}", error)

    def _column(self, row: StateRow, place: str, column: str) -> Json:
        if column not in row.columns:
            self._refuse(row, f"{place}: the row has no column {column!r}")
        return row.columns[column]

    def _tenant(self, row: StateRow) -> str | None:
        column = self._settings.tenant
        if column is None:
            return None
        value = self._column(row, "tenant", column)
        if isinstance(value, bool) or not isinstance(value, str | int):
            self._refuse(
                row, f"tenant: column {column!r} holds {_kind(value)}; a tenant is text or a whole number"
            )
        limit = f"{LONGEST_VALUE} characters; scope by a short column"
        self._check_carried(row, "tenant", column, [value], 1, limit)
        return str(value)

    def _groups(self, row: StateRow) -> tuple[str, ...] | None:
        column = self._settings.acl
        if column is None:
            return None
        value = self._column(row, "acl", column)
        groups = [] if value is None else value if isinstance(value, list) else [value]
        made = sorted({group for group in groups if isinstance(group, str)})
        if any(not isinstance(group, str) for group in groups):
            self._refuse(
                row, f"acl: column {column!r} holds {_kind(value)}; groups are text or a list of texts"
            )
        limit = (
            f"{MOST_GROUPS} groups of {LONGEST_VALUE} characters each; name groups, not each of their members"
        )
        self._check_carried(row, "acl", column, made, MOST_GROUPS, limit)
        return tuple(made)

    def _metadata(self, row: StateRow, column: str) -> Json:
        value = self._column(row, "metadata", column)
        items = value if isinstance(value, list) else [value]
        if any(isinstance(item, list | dict) for item in items):
            self._refuse(
                row, f"metadata: column {column!r} holds {_kind(value)}; filters compare plain values"
            )
        limit = (
            f"{MOST_VALUES} values of {LONGEST_VALUE} characters each; put long texts into `text`, and filter"
            " by a short column"
        )
        self._check_carried(row, "metadata", column, items, MOST_VALUES, limit)
        return value

    def _check_carried(
        self, row: StateRow, place: str, column: str, values: Sequence[Json], most: int, limit: str
    ) -> None:
        """`limit` says what is allowed, and what to do about more."""
        longest = max((len(value) for value in values if isinstance(value, str)), default=0)
        if longest > LONGEST_VALUE or len(values) > most:
            much = f"a text of {longest} characters" if longest > LONGEST_VALUE else f"{len(values)} values"
            raise LimitError(
                f"{self._place(row)}: {place}: column {column!r} holds {much}, and each chunk carries it:"
                f" at most {limit}"
            )

    def _refuse(self, row: StateRow, why: str, cause: Exception | None = None) -> NoReturn:
        raise ContractError(f"{self._place(row)}: {why}") from cause

    def _place(self, row: StateRow) -> str:
        return f"document {self._name}, row {row.key.text}"


def _environment() -> SandboxedEnvironment:
    # Text for a model, not a page: nothing is escaped.
    made = SandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=False,
        finalize=lambda value: "" if value is None else value,
        keep_trailing_newline=True,
    )
    made.globals.clear()
    made.filters.pop("random")
    return made


def _names(environment: SandboxedEnvironment, source: str) -> frozenset[str]:
    return frozenset(meta.find_undeclared_variables(environment.parse(source)))


def _kind(value: Json) -> str:
    if isinstance(value, list):
        return f"a list with {' and '.join(sorted(set(_kinds(value))))}"
    return "null" if value is None else type(value).__name__


def _kinds(values: list[Json]) -> Iterator[str]:
    for value in values:
        yield "null" if value is None else type(value).__name__
