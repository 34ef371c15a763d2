"""The one settings tree, as `tailrace.yaml` spells it.

Pure models: reading files, environment and flags is the front door's work
(`tailrace/configuration.py`). Every field says its unit and why it is there; unknown keys
are errors. Secrets are references, `${env:NAME}` or `${file:PATH}`, resolved when they are
used and never printed; so no address holds a user or a password.
"""

from core.settings.components import (
    Connect,
    EdgeIndex,
    EmbeddedLog,
    EncoderSettings,
    HashingEncoderSettings,
    KafkaLog,
    Llm,
    MemoryIndexSettings,
    OpenAIEncoder,
    OpenVinoEncoder,
    QdrantIndex,
    SentenceTransformersEncoder,
)
from core.settings.content import (
    Cut,
    DocumentSettings,
    Profile,
    Source,
    StateView,
)
from core.settings.tree import (
    Ingest,
    Reindex,
    Settings,
)

__all__ = [
    "Connect",
    "Cut",
    "DocumentSettings",
    "EdgeIndex",
    "EmbeddedLog",
    "EncoderSettings",
    "HashingEncoderSettings",
    "Ingest",
    "KafkaLog",
    "Llm",
    "MemoryIndexSettings",
    "OpenAIEncoder",
    "OpenVinoEncoder",
    "Profile",
    "QdrantIndex",
    "Reindex",
    "SentenceTransformersEncoder",
    "Settings",
    "Source",
    "StateView",
]
