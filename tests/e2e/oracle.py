"""What the database says must be in the index and in the state, compared with what is there. All rows.

Knows SQL, Kafka's bytes and the store's points; uses nothing of the product's decoding, rendering,
cutting or joining, so that a fault in those is seen.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

import qdrant_edge

from infra.stack import Stack
from tests.e2e.support import Api, read_topic, say, tables

_DOCUMENTS: Final = {
    "articles": "SELECT id::text, title, body, category, lang FROM articles WHERE published",
    "products": "SELECT id::text, name, description, category, NULL FROM products",
}
_SHOWN_ROWS: Final = 5
"""Rows of one entry of orders_by_customer, as the stack configures it."""


@dataclass(frozen=True, slots=True)
class Expected:
    """A document as SQL spells it, white space aside: passages begin and end without it."""

    title: str
    text: str
    category: str
    lang: str | None


@dataclass(slots=True)
class Compared:
    """How many were compared, and what differs."""

    what: str
    count: int = 0
    wrong: list[str] = field(default_factory=list)

    def equal(self, key: object, found: object, expected: object) -> None:
        self.count += 1
        if found != expected:
            self.wrong.append(f"{key}: {_short(found)} is there, SQL says {_short(expected)}")

    def keys(self, found: Counter[str], expected: Mapping[str, object]) -> None:
        """Each expected key once, and nothing else."""
        self.wrong += [f"{key}: missing" for key in expected if key not in found]
        self.wrong += [f"{key}: there, although SQL has no such row" for key in found if key not in expected]
        self.wrong += [f"{key}: there {times} times" for key, times in found.items() if times > 1]

    def check(self) -> int:
        """Prints how many were compared, fails on any difference and on a comparison of nothing."""
        say(f"{self.what}: {self.count} compared, {len(self.wrong)} differ")
        assert not self.wrong, f"{self.what}: {len(self.wrong)} differ\n" + "\n".join(self.wrong[:20])
        assert self.count > 0, f"{self.what}: nothing was compared"
        return self.count


def check_all(stack: Stack, api: Api) -> int:
    """State topics, state entries and documents over HTTP: all rows. How many were compared."""
    return check_rows(stack, api) + sum(check_documents(stack, api, document) for document in _DOCUMENTS)


def check_rows(stack: Stack, api: Api) -> int:
    """State topics and state entries: all rows of all tables."""
    return sum(check_state_topic(stack, table) for table in tables()) + check_entries(stack, api)


def check_titles(stack: Stack, api: Api, document: str) -> int:
    """The pages of documents: every key with its title, and no other."""
    expected = documents(stack, document)
    result = Compared(f"titles of {document} over HTTP")
    pages = list(api.pages(document))
    result.keys(Counter(one["key"] for one in pages), expected)
    for one in pages:
        if (said := expected.get(one["key"])) is not None:
            result.equal(one["key"], plain(one["title"]), said.title)
    return result.check()


def check_documents(stack: Stack, api: Api, document: str) -> int:
    """What the service shows of every document."""
    expected = documents(stack, document)
    rows = sql_rows(stack, f"public.{document}")
    result = Compared(f"{document} over HTTP")
    keys = [one["key"] for one in api.pages(document)]
    result.keys(Counter(keys), expected)
    for key in keys:
        if key in expected:
            found = api.document(document, key)
            assert found is not None, f"{document} {key} is listed and not there"
            said = expected[key]
            texts = [chunk["text"] for chunk in found["chunks"]]
            result.equal(key, (plain(found["manifest"]["title"]), plain(*texts)), (said.title, said.text))
            if (row := like(rows[key], found["row"])) != rows[key]:
                result.wrong.append(f"{key}: the row is {_short(row)}, SQL says {_short(rows[key])}")
    return result.check()


def check_entries(stack: Stack, api: Api) -> int:
    """The state view: of every customer that has an order the newest five, in order."""
    result = Compared("orders_by_customer over HTTP")
    for (customer,) in stack.sql("SELECT DISTINCT customer_id FROM orders ORDER BY 1"):
        rows = _rows(
            stack,
            "SELECT * FROM orders WHERE customer_id = %s ORDER BY updated_at DESC, id LIMIT %s",
            [customer, _SHOWN_ROWS],
        )
        found = api.state("orders_by_customer", customer)["rows"]
        shown = [like(row, one) for row, one in zip(rows, found, strict=False)]
        result.equal(customer, shown if len(found) == len(rows) else found, rows)
    return result.check()


def check_state_topic(stack: Stack, table: str) -> int:
    """What every reader of the state topic arrives at: the highest version of each key."""
    expected = sql_rows(stack, table)
    result = Compared(f"{table} in the state topic")
    live = list(live_rows(stack, table))
    result.keys(Counter(str(row["id"]) for row in live), expected)
    for row in live:
        if (key := str(row["id"])) in expected:
            result.equal(key, like(expected[key], row), expected[key])
    placeholder = stack.memory.placeholder
    result.wrong += [f"{row['id']}: the placeholder is shown" for row in live if placeholder in row.values()]
    return result.check()


def check_index_on_disk(stack: Stack, *, unlisted_too: bool = True) -> int:
    """Every point of the index, read from its folder while nobody owns it. How many were compared.

    Right after a crash there may be passages that no manifest lists: no search counts them, and they
    are swept later. Without `unlisted_too` they are counted, not refused.
    """
    return sum(_check_on_disk(stack, one, unlisted_too=unlisted_too) for one in _DOCUMENTS)


def _check_on_disk(stack: Stack, document: str, *, unlisted_too: bool) -> int:
    assert not stack.tailrace.is_running()
    return check_points(stack, document, stored_points(stack, document), unlisted_too=unlisted_too)


def check_points(
    stack: Stack, document: str, found: Iterable[tuple[str, dict[str, Any]]], *, unlisted_too: bool
) -> int:
    """Manifests and passages, by id and payload, are what SQL says; no passage is listed by none."""
    expected = documents(stack, document)
    result = Compared(f"{document} in the index")
    points = list(found)
    chunks = {one: payload for one, payload in points if payload["kind"] == "chunk"}
    manifests = [payload for _, payload in points if payload["kind"] == "manifest"]
    result.keys(Counter(one["key"] for one in manifests), expected)
    listed: list[str] = []
    for manifest in manifests:
        key, ids = manifest["key"], manifest["chunks"].split()
        listed += ids
        if key not in expected:
            continue
        absent = [one for one in ids if one not in chunks]
        own = [chunks[one] for one in ids if one in chunks]
        said = expected[key]
        text = plain(*(chunk["text"] for chunk in own))
        result.equal(key, (absent, plain(manifest["title"]), text), ([], said.title, said.text))
        for chunk in own:
            metadata = json.loads(chunk["metadata"])
            if (chunk["key"], metadata["category"], metadata.get("lang")) != (key, said.category, said.lang):
                result.wrong.append(f"{key}: a passage is of {chunk['key']} with {metadata}")
    graves = Counter(payload["key"] for _, payload in points if payload["kind"] == "grave")
    result.wrong += [f"{key}: a grave, although SQL has the row" for key in graves if key in expected]
    unlisted = [f"{chunks[one]['key']}: passage {one} is not listed" for one in chunks.keys() - {*listed}]
    if unlisted_too:
        result.wrong += unlisted
    elif unlisted:
        say(f"{document}: {len(unlisted)} passages that no manifest lists, left by a crash")
    return result.check()


def documents(stack: Stack, document: str) -> dict[str, Expected]:
    """By key."""
    return {
        key: Expected(plain(title), plain(text), category, lang)
        for key, title, text, category, lang in stack.sql(_DOCUMENTS[document])
    }


def sql_rows(stack: Stack, table: str) -> dict[str, dict[str, Any]]:
    """Every row of a table as Postgres gives it, by id."""
    return {str(row["id"]): row for row in _rows(stack, f"SELECT * FROM {table}")}


def _rows(stack: Stack, query: str, parameters: list[Any] | None = None) -> list[dict[str, Any]]:
    with stack.postgres.connect() as connection:
        cursor = connection.execute(query.encode(), parameters or [])
        names = [column.name for column in cursor.description or []]
        return [
            {name: _instant(value) for name, value in zip(names, row, strict=True)}
            for row in cursor.fetchall()
        ]


def _instant(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def like(expected: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The found row with its texts read as the types that the database gives."""
    return {name: _read(expected.get(name), value) for name, value in found.items()}


def _read(expected: Any, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if isinstance(expected, Decimal):
        return Decimal(value)
    if isinstance(expected, datetime):
        return datetime.fromisoformat(value).astimezone(UTC)
    return date.fromisoformat(value.removesuffix("Z")) if isinstance(expected, date) else value


def live_rows(stack: Stack, table: str) -> Iterator[dict[str, Any]]:
    """The live rows of a state topic: by key the highest version, unless deleted or truncated."""
    newest: dict[tuple[int, bytes], dict[str, Any]] = {}
    truncated: dict[int, int] = {}
    topic = f"{stack.settings.app}.state.{stack.settings.prefix}.{table}"
    for message in read_topic(stack, topic):
        partition, key = message.partition(), message.key()
        if message.value() is None:
            removed = int(dict(message.headers())["tailrace.removes"])
            if newest.get((partition, key), {"v": removed + 1})["v"] <= removed:
                del newest[partition, key]
            continue
        value = json.loads(message.value())
        if key == b"t":
            truncated[partition] = max(value["v"], truncated.get(partition, -1))
        elif key != b"p" and value["v"] >= newest.get((partition, key), {"v": -1})["v"]:
            newest[partition, key] = value
    for (partition, _), row in newest.items():
        if not row.get("d") and row["v"] >= truncated.get(partition, -1):
            yield row["c"]


def stored_points(stack: Stack, document: str) -> Iterator[tuple[str, dict[str, Any]]]:
    folder = stack.settings.directory / "index"
    aliases = json.loads((folder / "aliases.json").read_text(encoding="utf-8"))["aliases"]
    live = aliases[f"{stack.settings.app}-{document}"]
    shard = qdrant_edge.EdgeShard.load(str(folder / "collections" / live / "shard"))
    try:
        offset = None
        while True:
            request = qdrant_edge.ScrollRequest(offset=offset, limit=1000, with_payload=True)
            points, offset = shard.scroll(request)
            yield from ((str(one.id), one.payload or {}) for one in points)
            if offset is None:
                return
    finally:
        shard.close()


def plain(*texts: str) -> str:
    return " ".join(" ".join(texts).split())


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 300 else f"{text[:150]} … {text[-140:]}"
