"""A `tailrace.yaml` for topics that already exist: what was found, and guesses that say that they are.

Pure. The guess of a document is the table's longest text; of a state view, a table without one.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import yaml

from core.state import Json
from ingest.adopt import Adoption, Finding, Table

LONG_TEXT: Final = 40
"""Mean characters from which a text is worth searching; a name or a state is shorter."""

_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NO_PROSE: Final = re.compile(
    r"\d{4}-\d\d-\d\d|[0-9a-f]{8}-[0-9a-f]{4}-|https?://|[{\[<]|\S+$", re.IGNORECASE
)
_TITLES: Final = ("title", "name", "subject", "headline", "label")
_TIMES: Final = ("updated_at", "modified_at", "changed_at", "created_at", "inserted_at", "ts", "date")


def adoption_yaml(app: str, brokers: Sequence[str], adoption: Adoption) -> str:
    """The file's text. Tables that a worker would refuse stand in it as comments, with the reason."""
    usable = [table for table in adoption.tables if adoption.usable(table)]
    sources: dict[str, list[Table]] = {}
    for table in usable:
        sources.setdefault(table.prefix, []).append(table)
    names = _unique(list(sources), {prefix: prefix for prefix in sources})
    own = _unique([table.topic for table in usable], {table.topic: table.table for table in usable})
    lines = [
        "# Made of topics that exist: what is certain stands here, what is guessed says so.",
        f"app: {app}",
        f"log: {{kind: kafka, brokers: {_flow(list(brokers))}}}",
        "index: {kind: edge, path: .tailrace/index}",
        '# connect: {url: "http://localhost:8083"}   # with it, answers name a database position',
        "",
        "sources:",
    ]
    for prefix, tables in sources.items():
        lines += _source(names[prefix], prefix, tables, adoption.findings)
    lines += [f"# left out, {line}" for line in _left_out(adoption)]
    unknown = [
        f"# not to be seen in a sample: {_comment(f.fix)}" for f in adoption.findings if f.level == "unknown"
    ]
    lines += dict.fromkeys(unknown)
    documents = [(table, text) for table in usable if (text := text_column(table)) is not None]
    views = [table for table in usable if text_column(table) is None and table.rows]
    lines += ["", "documents:" if documents else "documents: {}"]
    for table, text in documents:
        lines += _document(own[table.topic], f"{names[table.prefix]}.{table.table}", table, text)
    lines += ["", "state:" if views else "state: {}"]
    for table in views:
        lines += _view(own[table.topic], f"{names[table.prefix]}.{table.table}", table)
    shown, state = [own[table.topic] for table, _ in documents], [own[table.topic] for table in views]
    lines += ["", "profiles:", f"  support: {{documents: {_flow(shown)}, state: {_flow(state)}, top_k: 6}}"]
    return "\n".join(lines) + "\n"


def text_column(table: Table) -> str | None:
    """The column with the longest prose; None if no column holds any."""
    lengths = {
        column: sum(map(len, texts)) / len(texts)
        for column in _columns(table)
        if (texts := _texts(table.rows, column)) and not all(map(_NO_PROSE.match, texts))
    }
    longest = max(lengths, key=lambda column: lengths[column], default=None)
    return longest if longest is not None and lengths[longest] >= LONG_TEXT else None


def _source(name: str, prefix: str, tables: Sequence[Table], findings: Sequence[Finding]) -> list[str]:
    lines = [f"  {name}:", f"    prefix: {_flow(prefix)}"]
    lines.append(f"    # connector: {_flow(prefix)}   # its name on Kafka Connect, if it is this")
    if tables[0].schemas:
        lines.append("    schemas: true")
    if tables[0].connector == "postgresql":
        lines.append('    # placeholder: "…"   # the connector\'s unavailable.value.placeholder')
    lines.append("    tables:")
    for table in tables:
        lines.append(
            f"      - {_flow(table.table)}   # key: {', '.join(map(_comment, table.key)) or 'not seen'}"
        )
        lacks = [f for f in findings if f.topic == table.topic and f.level == "lacks"]
        lines += [f"      #   lacks: {_comment(f.what)}; {f.fix}" for f in lacks]
    return lines


def _document(name: str, table: str, found: Table, text: str) -> list[str]:
    title = next((t for t in _TITLES if t in _columns(found) and t != text), None)
    short = [c for c in _columns(found) if c not in (text, title, *found.key) and _short(found.rows, c)]
    return [
        f"  {name}:",
        f"    table: {_flow(table)}",
        *([f'    title: "{{{{ {title} }}}}"   # a guess'] if title else []),
        f'    text: "{{{{ {text} }}}}"   # a guess: the longest text',
        *([f"    # metadata: {_flow(short[:4])}   # columns that searches may filter by"] if short else []),
    ]


def _view(name: str, table: str, found: Table) -> list[str]:
    foreign = [c for c in _columns(found) if c.endswith("_id") and c not in found.key]
    by = foreign[:1] or list(found.key)
    order = next((t for t in _TIMES if t in _columns(found)), None)
    return [
        f"  {name}:",
        f"    table: {_flow(table)}",
        f"    by: {_flow(by)}   # a guess: the column that questions come with",
        *([f'    order_by: "-{order}"   # a guess'] if order else []),
        "    limit: 5",
    ]


def _left_out(adoption: Adoption) -> list[str]:
    return [
        f"{_comment(f.topic)}: {_comment(f.what)}; {f.fix}" for f in adoption.findings if f.level == "refused"
    ]


def _columns(table: Table) -> list[str]:
    """Those that a template can name, in the row's order."""
    return [c for c in dict.fromkeys(c for row in table.rows for c in row) if _WORD.fullmatch(c)]


def _texts(rows: Sequence[Mapping[str, Json]], column: str) -> list[str]:
    values = [row[column] for row in rows if row.get(column) is not None]
    texts = [value for value in values if isinstance(value, str)]
    return texts if len(texts) == len(values) else []


def _short(rows: Sequence[Mapping[str, Json]], column: str) -> bool:
    texts = _texts(rows, column)
    return bool(texts) and max(map(len, texts)) <= LONG_TEXT and len(set(texts)) < len(texts)


def _unique(keys: Sequence[str], texts: Mapping[str, str]) -> dict[str, str]:
    """A name of the configuration for each key, of the last part of its text or, if taken, of the whole."""
    made: dict[str, str] = {}
    for key in keys:
        whole = re.sub(r"[^a-z0-9_-]", "_", texts[key].lower())
        last = re.sub(r"[^a-z0-9_-]", "_", texts[key].rpartition(".")[2].lower())
        wanted = (last, whole, *(f"{whole}_{number}" for number in range(2, len(keys) + 2)))
        legal = [(text if text[:1].isascii() and text[:1].isalpha() else f"t_{text}")[:60] for text in wanted]
        made[key] = next(name for name in legal if name not in made.values())
    return made


def _flow(value: object) -> str:
    """As YAML on one line."""
    made = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=False)
    return made.removesuffix("\n...\n").strip()


def _comment(text: str) -> str:
    """On one line, whatever a topic is called."""
    return re.sub(r"[^ -~]", "?", text)
