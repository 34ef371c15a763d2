"""What is read, and what is made of it: sources, documents, state views, profiles."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from core.secret import SecretRef
from core.settings.section import Section, Table


class Source(Section):
    connector: str | None = None
    """The connector's name on Kafka Connect, or its file (`connectors/shop.yaml`), which says the name, read
    without a profile: its committed offset tells the database position; without it freshness names no
    position."""

    prefix: str
    """Debezium's topic.prefix."""

    tables: list[str] = Field(min_length=1)
    """`schema.table`, each with a primary key."""

    placeholder: str = "__debezium_unavailable_value"
    """The connector's unavailable.value.placeholder: stands for unchanged long text."""

    schemas: bool = False
    """The converters' schemas.enable: records are wrapped in {schema, payload}."""

    replica_identity_full: bool = False
    """All tables of this source have REPLICA IDENTITY FULL: `before` is whole."""

    database: SecretRef | None = None
    """Connection string of the server that the connector reads; read-only is enough. For `tailrace doctor`
    and the signals of `tailrace connect snapshot`; a worker asks once, at its start, whether the database is
    still the same one, and goes on without an answer."""

    expected_events_per_second: PositiveInt = 10_000
    """Bounds how many replayed events are ordinary after a crash; more stops the worker."""


class Cut(Section):
    kind: Literal["markdown", "plain", "html", "code"] = "markdown"
    min_tokens: PositiveInt = 40
    """A chunk is at least so long, unless the text ends or a heading begins."""

    max_tokens: PositiveInt = 200
    """And at most so long; never above what the encoder takes."""

    language: str | None = None
    """For code: the language as langchain-text-splitters names it (python, js, go …)."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_tokens >= self.max_tokens:
            raise ValueError("min_tokens must be below max_tokens")
        if self.kind == "code" and self.language is None:
            raise ValueError("code needs its language: add `language: python`")
        return self


class DocumentSettings(Section):
    table: Table
    title: str = ""
    """Jinja template over the row's columns."""

    text: str
    """Jinja template: what is cut, embedded and quoted."""

    where: str | None = None
    """Jinja expression; a row for which it is false is not in the index."""

    tenant: str | None = None
    """Column whose value scopes every query; up to 1,024 characters."""

    acl: str | None = None
    """Column (text, or array of text) with the groups that may read the row: up to 1,000, of up to 1,024
    characters each. Every chunk of a row carries them; a row with more is parked."""

    metadata: list[str] = Field(default=[])
    """Columns that searches may filter by: plain values, texts of up to 1,024 characters, or lists of up
    to 100 of these. Every chunk of a row carries them; a row with more is parked."""

    url: str | None = None
    """Jinja template of the page that a citation opens: `http://…` or `https://…`, percent-encoded. Any other
    value is shown to nobody, and counted in `tailrace_pages_refused_total`."""

    cut: Cut = Cut()


class StateView(Section):
    table: Table
    by: list[str] = Field(min_length=1)
    """Columns whose values make the key of one entry."""

    order_by: str | None = None
    """Column, newest or largest first with a leading minus; by key otherwise."""

    limit: PositiveInt = 10
    """Rows of one entry."""

    columns: list[str] | None = None
    """Columns shown; all by default."""

    tenant: str | None = None
    """Column that must equal the caller's tenant."""

    claim: str | None = None
    """Claim of the caller that must equal `by`."""


class Profile(Section):
    documents: list[str] = Field(default=[])
    state: list[str] = Field(default=[])
    prompt: str | None = None
    """A name from `prompts`; the built-in grounded prompt by default."""

    top_k: PositiveInt = 6
    llm: str | None = None
    """A name from `llms`; without one answers quote the evidence."""

    min_relevance: Annotated[float, Field(ge=0, le=1)] = 0.35
    """Without an LLM: passages are quoted only if they, or a sentence of theirs, are so like the question."""
