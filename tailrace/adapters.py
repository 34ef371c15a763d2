"""From settings to the concrete things behind each seam: the only place that names them.

Imports stand inside, for each costs a second or a hundred megabytes that another choice does
not need.
"""

from dataclasses import dataclass
from pathlib import Path

from core.clock import Clock
from core.secret import Secret
from core.settings import (
    EdgeIndex,
    OpenAIEncoder,
    OpenVinoEncoder,
    QdrantIndex,
    SentenceTransformersEncoder,
    Settings,
)
from embed.encoder import Encoder, HashingEncoder, PausingEncoder
from embed.index import Index
from embed.store import VectorStore

QUERY_THREADS = 1


@dataclass(frozen=True, slots=True)
class Encoders:
    """One for ingest, one for questions: a question never queues behind a batch."""

    document: PausingEncoder
    query: Encoder


def build_index(settings: object) -> Index:
    """The index that `index:` names."""
    if isinstance(settings, EdgeIndex):
        from embed.indexes.edge import EdgeIndex as Edge  # noqa: PLC0415 - see above

        return Edge(settings.path)
    if isinstance(settings, QdrantIndex):
        from embed.indexes.qdrant import QdrantIndex as Qdrant  # noqa: PLC0415 - see above

        key = Secret(settings.api_key).reveal() if settings.api_key else None
        return Qdrant(settings.url, api_key=key, timeout_seconds=settings.timeout_seconds)
    from embed.memory_index import MemoryIndex  # noqa: PLC0415 - see above

    return MemoryIndex()


def load_encoders(settings: object) -> Encoders:
    """The encoders that `encoder:` names; with OpenVINO both share tokenizer and word embeddings."""
    if isinstance(settings, OpenVinoEncoder):
        from embed.encoders.openvino import OpenVinoModel  # noqa: PLC0415 - see above

        model = OpenVinoModel.load(settings.model, settings.precision)
        return Encoders(model.encoder(settings.threads), model.encoder(QUERY_THREADS))
    if isinstance(settings, SentenceTransformersEncoder):
        from embed.encoders.sentence_transformers import SentenceTransformersTextEncoder  # noqa: PLC0415

        one = SentenceTransformersTextEncoder(settings.model, settings.device)
        return Encoders(one, one)
    if isinstance(settings, OpenAIEncoder):
        from embed.encoders.openai import OpenAITextEncoder  # noqa: PLC0415 - see above

        return Encoders(OpenAITextEncoder(settings), OpenAITextEncoder(settings))
    dimensions = int(getattr(settings, "dimensions", 64))
    return Encoders(HashingEncoder(dimensions), HashingEncoder(dimensions))


def build_vector_store(settings: Settings, clock: Clock) -> VectorStore:
    """The store of reusable vectors, beside the index where that is a folder."""
    return VectorStore(vector_store_path(settings), settings.ingest.vector_store_mb << 20, clock)


def vector_store_path(settings: Settings) -> Path | None:
    """Where its file is; None for one in memory."""
    if settings.ingest.vector_store is not None:
        return settings.ingest.vector_store
    if isinstance(settings.index, EdgeIndex):
        return settings.index.path.parent / "vectors.db"
    return Path(".tailrace/vectors.db") if isinstance(settings.index, QdrantIndex) else None
