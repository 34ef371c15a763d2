"""What Tailrace works with: log, index, encoder, Kafka Connect, and the models that write answers."""

from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from core.addresses import Address, HttpAddress
from core.secret import Secret, SecretRef
from core.settings.section import Name, Section


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
