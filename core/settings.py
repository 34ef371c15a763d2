"""The one settings tree, as `tailrace.yaml` spells it.

Pure models: reading files, environment and flags is the front door's work
(`tailrace/configuration.py`). Every field says its unit and why it is there; unknown keys
are errors. Secrets are references, `${env:NAME}` or `${file:PATH}`, resolved when they are
used and never printed; so no address holds a user or a password.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from core.addresses import Address, HttpAddress
from core.keys import TableId
from core.secret import Secret, SecretRef

_NAME = r"^[a-z][a-z0-9_-]{0,62}$"
_GENERATION = re.compile(r"-g\d+$")
"""How `core.topics.collection_name` ends."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _table(value: str) -> str:
    TableId.parse(value)
    return value


Name = Annotated[str, Field(pattern=_NAME)]
Table = Annotated[str, AfterValidator(_table)]


class EmbeddedLog(Section):
    kind: Literal["embedded"] = "embedded"
    """Kafka inside this process (librdkafka's mock cluster): for demo and tests, gone at exit."""


class KafkaLog(Section):
    kind: Literal["kafka"] = "kafka"
    brokers: list[str] = Field(min_length=1)
    """host:port of one broker or more."""

    replication: PositiveInt = 1
    """Replication factor of the topics that `topics apply` creates."""


class EdgeIndex(Section):
    kind: Literal["edge"] = "edge"
    path: Path = Path(".tailrace/index")
    """Folder of the embedded index. One process owns it."""


class QdrantIndex(Section):
    kind: Literal["qdrant"] = "qdrant"
    url: Address
    api_key: SecretRef | None = None
    timeout_seconds: PositiveFloat = 10.0
    """One call, without retries."""


class MemoryIndexSettings(Section):
    kind: Literal["memory"] = "memory"
    """The twin of the index seam: for tests and experiments, gone at exit."""


class OpenVinoEncoder(Section):
    kind: Literal["openvino"] = "openvino"
    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    """A sentence-transformers folder, or the name of a model that an installed package carries."""

    threads: PositiveInt | None = None
    """Threads of the ingest encoder; all cores by default. Questions have their own, with one."""

    precision: Literal["auto", "bf16", "f32"] = "auto"
    """auto: bf16 where the CPU has it (cosine to f32 at least 0.9999), else f32."""


class SentenceTransformersEncoder(Section):
    kind: Literal["sentence-transformers"] = "sentence-transformers"
    model: str
    device: str | None = None
    """As torch names it; its own choice by default. Needs the extra `torch`."""


class OpenAIEncoder(Section):
    kind: Literal["openai"] = "openai"
    base_url: HttpAddress
    model: str
    api_key: SecretRef | None = None
    dimensions: PositiveInt
    """Length of the vectors that the endpoint gives; checked at start."""

    max_tokens: PositiveInt = 512
    """Longest text the model takes, in its own tokens."""

    characters_per_token: PositiveFloat = 3.0
    """A cautious estimate, since the endpoint's tokenizer is not here: lower cuts shorter."""

    timeout_seconds: PositiveFloat = 30.0

    price_per_million_tokens: NonNegativeFloat | None = None
    """What the endpoint asks for a million tokens: `tailrace reindex` says what a rebuild costs."""


class HashingEncoderSettings(Section):
    kind: Literal["hashing"] = "hashing"
    dimensions: PositiveInt = 64
    """The twin of the encoder seam: stable hashes of words, for tests and load experiments."""


EncoderSettings: TypeAlias = Annotated[
    OpenVinoEncoder | SentenceTransformersEncoder | OpenAIEncoder | HashingEncoderSettings,
    Field(discriminator="kind"),
]


class Connect(Section):
    url: HttpAddress
    """Kafka Connect's REST address."""

    user: str | None = None
    """For a Connect that asks for a login (HTTP Basic)."""

    password: SecretRef | None = None
    """The password of `user`. Only `url` gets it, no address that `--url` names."""

    timeout_seconds: PositiveFloat = 10.0
    hosts: list[str] | None = Field(default=None, min_length=1)
    """The only addresses that connectors may name: `db.example`, or `*.example` for all below it; Kafka's,
    for a schema history, among them. Without a list all but clouds' metadata services."""

    @model_validator(mode="after")
    def _whole_login(self) -> Self:
        if (self.user is None) is not (self.password is None):
            raise ValueError("user and password go together: write both, or neither")
        return self

    def login(self) -> tuple[str, str] | None:
        """User and password, if Connect asks for them. Raises ConfigurationError as `Secret.reveal` does."""
        if self.user is None or self.password is None:
            return None
        return self.user, Secret(self.password).reveal()


class Llm(Section):
    name: Name
    base_url: HttpAddress
    model: str
    api_key: SecretRef | None = None
    timeout_seconds: PositiveFloat = 60.0
    """From the request to the last token."""

    context_tokens: PositiveInt = 8192
    """Prompt and answer together."""

    answer_tokens: PositiveInt = 512
    """Kept free for the answer."""


class Source(Section):
    connector: str | None = None
    """The connector's name on Kafka Connect, or its file (`connectors/shop.yaml`): its committed
    offset tells the database position; without it freshness names no position."""

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
    """Column whose value scopes every query."""

    acl: str | None = None
    """Column (text, or array of text) with the groups that may read the row."""

    metadata: list[str] = []
    """Columns that searches may filter by: plain values, texts of up to 1,024 characters, or lists of up
    to 100 of these. Every chunk of a row carries them; a row with more is parked."""

    url: str | None = None
    """Jinja template of the page that a citation opens."""

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
    documents: list[str] = []
    state: list[str] = []
    prompt: str | None = None
    """A name from `prompts`; the built-in grounded prompt by default."""

    top_k: PositiveInt = 6
    llm: str | None = None
    """A name from `llms`; without one answers quote the evidence."""

    min_relevance: Annotated[float, Field(ge=0, le=1)] = 0.35
    """Without an LLM: passages are quoted only if they, or a sentence of theirs, are so like the question."""


class Serve(Section):
    host: str = "127.0.0.1"
    """Loopback only, until callers have an identity."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """0 takes a free one and says which."""

    allowed_hosts: list[str] = []
    """Names in `Host` that are answered beside loopback's own: those that a proxy in front passes on."""

    tenant: str | None = None
    """The tenant of every request. Never taken from the request."""

    groups: list[str] = []
    """The groups of every request, for documents with an `acl`."""

    wait_seconds: PositiveFloat = 2.0
    """Longest wait of one request for `min_position` or `max_staleness_ms`."""

    join_wait_seconds: NonNegativeFloat = 0.5
    """Longest wait for the state view to reach a hit's version."""


class Ingest(Section):
    state_partitions: PositiveInt = 4
    """Partitions of each state topic: the most index workers that share a table. Fixed once made."""

    grave_hours: PositiveFloat = 24.0
    """How long a deleted row is remembered: at least twice the longest replay."""

    session_seconds: PositiveFloat = 10.0
    """Kafka session: a worker silent for longer is replaced; a restart after kill -9 waits so long."""

    rebalance_seconds: PositiveFloat = 60.0
    """A batch must end well before: at most a quarter of it."""

    stuck_seconds: PositiveFloat = 120.0
    """Without progress for so long although work waits, the worker exits for its supervisor to restart."""

    batch_records: PositiveInt = 500
    """Most raw records resolved in one go."""

    index_batch_records: PositiveInt = 128
    """Most rows indexed before one flush."""

    poison_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Stop, do not park, when more than this share of the last 1,000 records is refused, or nearly all."""

    vector_store: Path | None = None
    """File of reusable vectors; beside the embedded index by default, `.tailrace/vectors.db` otherwise."""

    vector_store_mb: PositiveInt = 512
    """Size bound of that file: the least recently used vectors go first."""

    instance: str | None = None
    """Static member name of this worker; a restart within the session then moves nothing."""


class Reindex(Section):
    """What a new generation must pass before `tailrace reindex promote` lets it answer."""

    queries: Path = Path("queries")
    """A folder of saved questions (`*.yaml`), or one such file. Optional."""

    top_k: Annotated[int, Field(ge=1, le=100)] = 10
    """Documents of each answer that are compared."""

    min_overlap: Annotated[float | None, Field(ge=0, le=1)] = None
    """Least share of the documents that both generations find, over all saved questions. A new model
    finds others on purpose: set it for changes that should not matter."""

    min_recall: Annotated[float | None, Field(ge=0, le=1)] = None
    """Least share of the documents that saved questions expect."""

    max_missing: NonNegativeInt = 0
    """Most documents that answer now and are not in the new generation."""

    max_extra: NonNegativeInt | None = None
    """Most documents of the new generation that do not answer now; by default they are counted and not
    judged, for a wider `where` makes them on purpose. Where `where` stays, one is a row that was deleted and
    has come back: write 0."""

    max_different: NonNegativeInt = 0
    """Most documents whose row versions still differ after a while, though both follow the log."""


class Settings(Section):
    """`tailrace.yaml`, whole. Names in one section that point into another are checked here."""

    app: Name
    """Prefix of topics, consumer groups and collections. Of two apps on one broker or index, neither may be
    the other's beginning before a `-`: document `prod-articles` of `shop` and document `articles` of
    `shop-prod` would share their names."""

    log: Annotated[EmbeddedLog | KafkaLog, Field(discriminator="kind")] = EmbeddedLog()
    index: Annotated[EdgeIndex | QdrantIndex | MemoryIndexSettings, Field(discriminator="kind")] = EdgeIndex()
    encoder: EncoderSettings = OpenVinoEncoder()
    connect: Connect | None = None
    llms: list[Llm] = []
    sources: dict[Name, Source] = Field(min_length=1)
    documents: dict[Name, DocumentSettings] = {}
    state: dict[Name, StateView] = {}
    prompts: dict[Name, Path] = {}
    profiles: dict[Name, Profile] = {}
    serve: Serve = Serve()
    ingest: Ingest = Ingest()
    reindex: Reindex = Reindex()

    @model_validator(mode="after")
    def _names_point_somewhere(self) -> Self:
        tables = {f"{name}.{table}" for name, s in self.sources.items() for table in s.tables}
        known: dict[str, set[str]] = {
            "documents": set(self.documents),
            "state": set(self.state),
            "prompts": set(self.prompts),
            "llms": {llm.name for llm in self.llms},
        }
        for name in self.documents:
            if _GENERATION.search(name):
                raise ValueError(
                    f"documents.{name}: a name that ends in -g and a number is that of a generation of"
                    " another document in the index: choose another one"
                )
        for section, entries in (("documents", self.documents), ("state", self.state)):
            for name, entry in entries.items():
                if entry.table not in tables:
                    raise ValueError(
                        f"{section}.{name}.table: {entry.table} is not in sources:"
                        f" write one of {', '.join(sorted(tables))}, or add it to its source's tables"
                    )
        for name, profile in self.profiles.items():
            wanted = [
                *(("documents", item) for item in profile.documents),
                *(("state", item) for item in profile.state),
                *([("prompts", profile.prompt)] if profile.prompt else []),
                *([("llms", profile.llm)] if profile.llm else []),
            ]
            for section, item in wanted:
                if item not in known[section]:
                    raise ValueError(
                        f"profiles.{name}: {item!r} is not in {section}:"
                        f" write one of {', '.join(sorted(known[section])) or '(none defined)'}"
                    )
        return self

    @model_validator(mode="after")
    def _index_lives_no_longer_than_its_log(self) -> Self:
        if isinstance(self.log, EmbeddedLog) and isinstance(self.index, QdrantIndex):
            raise ValueError(  # noqa: TRY004 - pydantic's way to refuse
                "log.kind embedded is gone when the process ends, and an index on a Qdrant server would stay"
                " without the log that made it: write `log: {kind: kafka, brokers: [host:9092]}`,"
                " or `index: {kind: edge}`"
            )
        return self

    def tables(self) -> list[TableId]:
        """Every configured table, in order."""
        return [TableId(name, table) for name, s in self.sources.items() for table in s.tables]
