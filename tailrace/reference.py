"""The page of every configuration key, written from the settings themselves."""

from collections.abc import Iterator
from typing import Any

from core.settings import Settings

_HEAD = """# Configuration

One file, `tailrace.yaml`. Every value can be overridden by a variable: `TAILRACE_SERVE__PORT=9000` sets
`serve.port`. Secrets are references only, `${env:NAME}` or `${file:PATH}`. `tailrace config show --origin`
prints what is in force and where it came from. Relative paths are relative to the file.

This page is made from the settings by `python -m tailrace.reference`; a test holds it current.

## What a change does to a running system

| change | what happens at the next start |
|---|---|
| a document or a view added | filled from the state topic; answers are incomplete until it has caught up |
| a table added | its changes arrive; for its older rows the connector must take an incremental snapshot |
| template, `where`, cutter, metadata, encoder | the running generation goes on; it waits for a reindex |
| of `encoder`: address, key, timeout, threads, device, place of a model | every generation uses it |
| a document removed | its index is dropped, for it would no longer hear of deletions |
| a view removed | it is gone |

## Keys
"""


def page() -> str:
    """The whole page, Markdown."""
    schema = Settings.model_json_schema()
    return _HEAD + "\n".join(_section("tailrace.yaml", schema, schema)) + "\n"


def _section(name: str, at: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    yield f"\n### {name}\n"
    if at.get("description") and name != "tailrace.yaml":
        yield " ".join(at["description"].split()) + "\n"
    yield "| key | type | default | |\n|---|---|---|---|"
    inner: list[tuple[str, dict[str, Any]]] = []
    for key, field in at.get("properties", {}).items():
        inner += [(f"{key} ({title})" if title else key, one) for title, one in _inner(field, schema)]
        default = "required" if key in at.get("required", []) else f"`{field.get('default')!r}`"
        said = " ".join(field.get("description", "").split()).replace("|", "\\|")
        yield f"| `{key}` | {_type(field)} | {default} | {said} |"
    for title, one in inner:
        yield from _section(title if name == "tailrace.yaml" else f"{name}.{title}", one, schema)


def _inner(field: dict[str, Any], schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sections behind a field: of itself, of its entries, of each kind of a choice."""
    choices = field.get("oneOf") or field.get("anyOf")
    if choices:
        for choice in choices:
            for title, one in _inner(choice, schema):
                kind = one["properties"].get("kind", {}).get("const")
                yield (f"kind: {kind}" if kind else title), one
    elif "$ref" in field:
        yield "", schema["$defs"][field["$ref"].rsplit("/", 1)[-1]]
    elif "items" in field:
        yield from _inner(field["items"], schema)
    else:
        entries = [field.get("additionalProperties"), *field.get("patternProperties", {}).values()]
        for entry in entries:
            if isinstance(entry, dict):
                yield from ((title or "<name>", one) for title, one in _inner(entry, schema))


def _type(field: dict[str, Any]) -> str:
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{one}`" for one in field["enum"])
    choices = field.get("oneOf") or field.get("anyOf")
    if choices:
        return " or ".join(dict.fromkeys(_type(choice) for choice in choices))
    if "items" in field:
        return f"list of {_type(field['items'])}"
    if "$ref" in field or field.get("type") == "object":
        return "section"
    return str(field.get("type", "value"))


if __name__ == "__main__":
    import sys

    sys.stdout.write(page())
