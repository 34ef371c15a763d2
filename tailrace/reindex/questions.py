"""Saved questions: what a new generation is compared by, and which documents each should find.

# queries/shipping.yaml
- query: How long do parcels take to Norway?
  document: articles        # or documents: [...]; without it the question is put to every document
  expected: [7, 104]        # keys of rows that a good answer rests on
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from core.errors import ConfigurationError

MOST_QUESTIONS: Final = 500
"""Of one document: what the query service compares in one go."""


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _texts(value: Any) -> Any:
    """Keys are written as numbers as often as not."""
    return [str(one) if isinstance(one, int) and not isinstance(one, bool) else one for one in _listed(value)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    query: Annotated[str, Field(min_length=1, max_length=20_000, pattern=r"\S")]
    documents: Annotated[list[str], BeforeValidator(_listed), Field(alias="document", min_length=1)] = []
    expected: Annotated[list[str], BeforeValidator(_texts)] = []


@dataclass(frozen=True, slots=True)
class Saved:
    """One question. `documents` is empty where it concerns them all."""

    query: str
    documents: tuple[str, ...]
    expected: tuple[str, ...]
    where: str
    """File and line, for messages."""


def read_questions(path: Path, documents: Sequence[str]) -> list[Saved]:
    """Those of a folder's `*.yaml` files or of one file; none where nothing is there.

    Raises ConfigurationError that names file, line and entry. `documents`: the configured names.
    """
    files = sorted({*path.glob("*.yaml"), *path.glob("*.yml")}) if path.is_dir() else [path]
    return [one for file in files if file.exists() for one in _read(file, documents)]


def asked_of(questions: Sequence[Saved], document: str) -> list[Saved]:
    """Those that concern this document. ConfigurationError for more than MOST_QUESTIONS."""
    found = [one for one in questions if not one.documents or document in one.documents]
    if len(found) > MOST_QUESTIONS:
        raise ConfigurationError(
            f"{found[MOST_QUESTIONS].where}: {len(found)} questions concern {document}, and at most"
            f" {MOST_QUESTIONS} are compared in one go: leave some out"
        )
    return found


def _read(file: Path, documents: Sequence[str]) -> Iterator[Saved]:
    try:
        text = file.read_text(encoding="utf-8")
        node, entries = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from error
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # a day that does not exist; no end of brackets
        raise ConfigurationError(f"{file} is no YAML: {error}") from error
    if entries is None:
        return
    if not isinstance(entries, list) or not isinstance(node, yaml.SequenceNode):
        raise ConfigurationError(f"{file}:1: holds no list of questions: start with `- query: ...`")
    for number, (entry, place) in enumerate(zip(entries, node.value, strict=True), start=1):
        where = f"{file}:{place.start_mark.line + 1}"
        if isinstance(entry, dict) and "documents" in entry and "document" not in entry:
            entry["document"] = entry.pop("documents")
        try:
            made = _Entry.model_validate(entry)
        except ValidationError as error:
            raise ConfigurationError(f"{where}: question {number}: {_said(error)}") from error
        for name in made.documents:
            if name not in documents:
                raise ConfigurationError(
                    f"{where}: question {number}: there is no document {name!r}: write one of"
                    f" {', '.join(sorted(documents)) or '(none configured)'}"
                )
        yield Saved(made.query, tuple(made.documents), tuple(made.expected), where)


def _said(error: ValidationError) -> str:
    said = []
    for item in error.errors(include_url=False):
        name = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            said.append(f"{name} is unknown: write query, document, expected")
        elif item["type"] == "missing":
            said.append(f"{name} is missing")
        else:
            said.append(f"{name}: {item['msg']}" if name else "write a mapping with a query")
    return "; ".join(said)
