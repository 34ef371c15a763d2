"""The sample shop "Tarn & Trail": articles, products, customers and orders as table rows.

The content lies beside this module as Markdown with YAML front matter (articles, products)
and as YAML lists (customers, orders). It is read through `importlib.resources`, so it works
the same from a checkout and from an installed wheel.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import TypeAlias, TypeGuard

import yaml

Cell: TypeAlias = int | str | bool | None
Row: TypeAlias = dict[str, Cell]

_EPOCH = datetime(2026, 9, 1, 8, 0, tzinfo=UTC)
_STEP = timedelta(minutes=97)
_TIMESTAMP = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One table as PostgreSQL holds it.

    `types` maps each column to its PostgreSQL type and keeps the order of `schema.sql`;
    `key` names the columns of the primary key; columns in `nullable` may hold None.
    """

    name: str
    key: tuple[str, ...]
    types: Mapping[str, str]
    nullable: frozenset[str] = frozenset()
    schema: str = "public"

    @property
    def columns(self) -> tuple[str, ...]:
        """The column names in order."""
        return tuple(self.types)


def _table(name: str, *columns: str, nullable: Iterable[str] = ()) -> TableSpec:
    types = dict(column.split(" ", 1) for column in columns)
    return TableSpec(name, ("id",), MappingProxyType(types), frozenset(nullable))


TABLES: Mapping[str, TableSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            _table(
                "articles",
                "id bigint",
                "title text",
                "body text",
                "category text",
                "lang text",
                "published boolean",
                "updated_at timestamptz",
            ),
            _table(
                "products",
                "id bigint",
                "name text",
                "description text",
                "category text",
                "price numeric(10,2)",
                "in_stock integer",
                "updated_at timestamptz",
            ),
            _table(
                "customers",
                "id bigint",
                "name text",
                "email text",
                "city text",
                "since date",
            ),
            _table(
                "orders",
                "id bigint",
                "customer_id bigint",
                "product_id bigint",
                "status text",
                "eta date",
                "total numeric(10,2)",
                "updated_at timestamptz",
                nullable=("eta",),
            ),
        )
    }
)
"""The tables of the shop by name, the same as `schema.sql` creates them."""


@dataclass(frozen=True, slots=True)
class Shop:
    """The rows of every table, ordered by id.

    A row has exactly the columns of its table in `TABLES`, in their order. Decimals are
    strings with two places ("129.00"), dates ISO strings ("2026-11-27"), timestamps ISO
    strings in UTC ("2026-11-01T09:00:00Z"); a null is None.
    """

    articles: tuple[Row, ...]
    products: tuple[Row, ...]
    customers: tuple[Row, ...]
    orders: tuple[Row, ...]

    def rows(self, table: str) -> tuple[Row, ...]:
        """The rows of `table`, a name in `TABLES`; raises KeyError for any other."""
        return {
            "articles": self.articles,
            "products": self.products,
            "customers": self.customers,
            "orders": self.orders,
        }[table]


def load_shop() -> Shop:
    """Read the whole shop from its content files; every call returns fresh rows.

    Raises ValueError, naming the file, where the content is not what the tables hold.
    """
    here = files(__name__)
    return Shop(
        articles=_read_documents(here / "articles", TABLES["articles"], "body"),
        products=_read_documents(here / "products", TABLES["products"], "description"),
        customers=_read_list(here / "customers.yaml", TABLES["customers"]),
        orders=_read_list(here / "orders.yaml", TABLES["orders"]),
    )


def schema_sql() -> str:
    """The statements of `schema.sql`, which create every table that does not exist yet."""
    return (files(__name__) / "schema.sql").read_text(encoding="utf-8")


def parse_document(text: str, spec: TableSpec, text_column: str, *, source: str) -> Row:
    """One row from Markdown with front matter: `text_column` is what follows the front matter.

    `updated_at` is derived from the id, so that it is the same on every load. Raises
    ValueError, naming `source`, if the front matter is missing or does not fit the table.
    """
    opening, _, rest = text.partition("---\n")
    head, fence, body = rest.partition("\n---\n")
    if opening or not fence:
        raise ValueError(f"{source}: no front matter; begin the file with YAML between --- lines")
    fields = _mapping(_parse_yaml(head, source), source)
    derived: Row = {text_column: body.strip(), "updated_at": _updated_at(fields.get("id"))}
    if clash := derived.keys() & fields.keys():
        raise ValueError(f"{source}: {_names(clash)} must not be in the front matter; remove it")
    return check_row({**fields, **derived}, spec, source=source)


def check_row(fields: Mapping[str, object], spec: TableSpec, *, source: str) -> Row:
    """`fields` as a row of the table, in the order of its columns.

    Raises ValueError, naming `source` and the column, for a missing or unknown column and
    for a value that the column's type cannot hold.
    """
    if missing := spec.types.keys() - fields.keys():
        raise ValueError(f"{source}: {_names(missing)} missing; {spec.name} needs it")
    if unknown := fields.keys() - spec.types.keys():
        raise ValueError(f"{source}: {_names(unknown)} unknown; {spec.name} has no such column")
    row: Row = {}
    for column, kind in spec.types.items():
        value = fields[column]
        if value is None and column in spec.nullable:
            row[column] = None
            continue
        accepts, expected = _KINDS[kind]
        if not accepts(value):
            raise ValueError(f"{source}: {column} is {value!r}; write {expected}")
        row[column] = value
    return row


def _read_documents(folder: Traversable, spec: TableSpec, text_column: str) -> tuple[Row, ...]:
    if not folder.is_dir():
        raise ValueError(f"{folder.name}: no such folder; reinstall the package")
    rows = []
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".md"):
            source = f"{folder.name}/{file.name}"
            row = parse_document(_read_text(file, source), spec, text_column, source=source)
            if not file.name.startswith(f"{row['id']}-"):
                raise ValueError(f"{source}: id is {row['id']}; the name must begin with it")
            rows.append(row)
    return _by_id(rows, folder.name)


def _read_list(file: Traversable, spec: TableSpec) -> tuple[Row, ...]:
    entries = _parse_yaml(_read_text(file, file.name), file.name)
    if not isinstance(entries, list):
        message = f"{file.name}: no list; write one `- id: ...` entry per row"
        raise ValueError(message)  # noqa: TRY004 - the content is wrong, not an argument's type
    rows = []
    for number, entry in enumerate(entries, start=1):
        source = f"{file.name}, entry {number}"
        rows.append(check_row(_mapping(entry, source), spec, source=source))
    return _by_id(rows, file.name)


def _read_text(file: Traversable, source: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{source}: cannot be read as UTF-8 text: {error}") from error


def _parse_yaml(text: str, source: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{source}: not valid YAML: {error}") from error


def _mapping(value: object, source: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        message = f"{source}: no mapping; write `name: value` lines"
        raise ValueError(message)  # noqa: TRY004 - the content is wrong, not an argument's type
    return value


def _by_id(rows: Iterable[Row], source: str) -> tuple[Row, ...]:
    by_id: dict[int, Row] = {}
    for row in rows:
        key = row["id"]
        if not isinstance(key, int) or key in by_id:
            raise ValueError(f"{source}: id {key} appears twice; give every row its own")
        by_id[key] = row
    return tuple(by_id[key] for key in sorted(by_id))


def _updated_at(key: object) -> str | None:
    """A time that rises with the id, before the first order; None if `key` is no id."""
    if not _is_integer(key):
        return None
    return (_EPOCH + key * _STEP).strftime(_TIMESTAMP)


def _names(columns: Iterable[object]) -> str:
    return ", ".join(sorted(str(column) for column in columns))


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_boolean(value: object) -> TypeGuard[bool]:
    return isinstance(value, bool)


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip())


def _is_decimal(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and re.fullmatch(r"[0-9]{1,8}\.[0-9]{2}", value) is not None


def _is_date(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _is_time(value, "%Y-%m-%d")


def _is_timestamp(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _is_time(value, _TIMESTAMP)


def _is_time(value: str, form: str) -> bool:
    """Whether `value` is exactly what `form` writes: strptime alone lets "2026-1-5" pass."""
    try:
        parsed = datetime.strptime(value, form).replace(tzinfo=UTC)
    except ValueError:
        return False
    return parsed.strftime(form) == value


# A numeric or a date without quotes would arrive as a float or a date object, and no longer
# be the text that the table holds: hence the demand for quotes.
_KINDS: Mapping[str, tuple[Callable[[object], TypeGuard[int | str]], str]] = {
    "bigint": (_is_integer, "an integer"),
    "integer": (_is_integer, "an integer"),
    "boolean": (_is_boolean, "true or false"),
    "text": (_is_text, "a text that is not empty"),
    "numeric(10,2)": (_is_decimal, 'a decimal in quotes, such as "129.00"'),
    "date": (_is_date, 'a date in quotes, such as "2026-11-27"'),
    "timestamptz": (_is_timestamp, 'a UTC time in quotes, such as "2026-11-01T09:00:00Z"'),
}
