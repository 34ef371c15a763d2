"""The whole tree, and how this process serves, ingests and rebuilds."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from core.keys import TableId
from core.settings.components import (
    Connect,
    EdgeIndex,
    EmbeddedLog,
    EncoderSettings,
    KafkaLog,
    Llm,
    MemoryIndexSettings,
    OpenVinoEncoder,
    QdrantIndex,
)
from core.settings.content import DocumentSettings, Profile, Source, StateView
from core.settings.section import Name, Section

_GENERATION = re.compile(r"-g\d+$")
"""How `core.topics.collection_name` ends."""


class Serve(Section):
    host: str = "127.0.0.1"
    """Loopback only, until callers have an identity."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """0 takes a free one and says which."""

    allowed_hosts: list[str] = Field(default=[])
    """Names in `Host` that are answered beside loopback's own: those that a proxy in front passes on."""

    tenant: str | None = None
    """The tenant of every request. Never taken from the request."""

    groups: list[str] = Field(default=[])
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
    """Static member name of this worker; a restart within the session then moves nothing. Where it is set,
    each worker of an app needs another one, as `TAILRACE_INGEST__INSTANCE`: two of one name push each other
    out for ever."""


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
    llms: list[Llm] = Field(default=[])
    sources: dict[Name, Source] = Field(min_length=1)
    documents: dict[Name, DocumentSettings] = Field(default={})
    state: dict[Name, StateView] = Field(default={})
    prompts: dict[Name, Path] = Field(default={})
    profiles: dict[Name, Profile] = Field(default={})
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
