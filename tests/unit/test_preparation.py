"""What a start drops of what a log that is gone has left, and which settings would make it dangerous."""

import pytest
from pydantic import ValidationError

from core.errors import ConfigurationError
from core.settings import DocumentSettings, HashingEncoderSettings, Settings
from embed.memory_index import MemoryIndex
from ingest.generation_plan import owned_collections
from ingest.generations import Frozen, Generation
from tailrace.preparation import forget_strays, refuse_elsewhere

SECTION = DocumentSettings(table="shop.public.articles", text="{{ body }}")
ONE = Generation("articles", 4, "running", Frozen(SECTION, HashingEncoderSettings(), "hashing-8", 8))
OTHERS = [
    "shop-prod-articles-g3",
    "shop-articles-g",
    "shop-articles-g1-old",
    "my-shop-articles-g1",
    "shop-notes-g1",
]


def test_only_collections_of_the_configured_documents_are_strays() -> None:
    index = MemoryIndex()
    for name in ["shop-articles-g1", "shop-articles-g4", *OTHERS]:
        index.create(name, 8)
    forget_strays("shop", index, [ONE])
    assert set(index.collections()) == {"shop-articles-g4", *OTHERS}


def test_what_another_process_follows_in_another_store_is_not_built_anew_here() -> None:
    """Half of the rows would go to each."""
    groups = {"shop-index-articles-g4": 2}
    members = lambda group: groups.get(group, 0)  # noqa: E731 - Kafka's answer
    with pytest.raises(ConfigurationError, match=r"generation 4 is not here, and 2 consumers .*index\.url"):
        refuse_elsewhere("shop", {("articles", 4)}, members)
    refuse_elsewhere("shop", {("articles", 3), ("notes", 4)}, members)


def test_without_a_document_nothing_is_ours() -> None:
    assert owned_collections("shop", [], ["shop-articles-g1", "-g1"]) == []


def test_an_index_that_outlives_its_log_is_refused_with_what_to_write() -> None:
    said = {
        "app": "shop",
        "index": {"kind": "qdrant", "url": "http://qdrant:6333"},
        "sources": {"shop": {"prefix": "shop", "tables": ["public.articles"]}},
    }
    with pytest.raises(ValidationError, match=r"log\.kind embedded.*write `log: \{kind: kafka"):
        Settings.model_validate(said)
    made = Settings.model_validate({**said, "log": {"kind": "kafka", "brokers": ["kafka:9092"]}})
    assert (made.log.kind, made.index.kind) == ("kafka", "qdrant")
