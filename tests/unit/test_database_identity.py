"""Which database a raw topic comes from: asked where that is configured, and never worth a stop in itself."""

from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from connectors.identity import Identity
from core.keys import TableId
from core.settings import Settings, Source
from ingest.topics_admin import Bounds
from tailrace.preparation import identity_of, observe

TOPIC, STATE = "shop.public.articles", "shop.state.shop.public.articles"


def source(database: str | None = None) -> Source:
    return Source.model_validate({"prefix": "shop", "tables": ["public.articles"], "database": database})


def test_what_is_observed_of_a_topic_names_its_database() -> None:
    settings = Settings.model_validate(
        {
            "app": "shop",
            "index": {"kind": "memory"},
            "encoder": {"kind": "hashing"},
            "sources": {"shop": {"prefix": "shop", "tables": ["public.articles"]}},
            "documents": {},
        }
    )
    admin: Any = SimpleNamespace(
        bounds=lambda _: {(TOPIC, 0): Bounds(0, 9), (STATE, 0): Bounds(0, 9)},
        describe=lambda _: SimpleNamespace(topic_id="x", partitions=1),
        committed=lambda _: {(TOPIC, 0): 5},
    )
    table = TableId("shop", "public.articles")
    found = observe(settings, admin, TOPIC, table, Identity("7301234567890", 2))
    assert (found.server, found.timeline) == ("7301234567890", 2)


@pytest.mark.parametrize(
    "dsn", ["host=127.0.0.1 port=1 user=u password=pst", "mysql://u:pst@127.0.0.1:1/shop", "pst"]
)
def test_a_database_that_does_not_answer_is_unknown_and_said_to_be(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DSN", dsn)
    with capture_logs() as said:
        assert identity_of("shop", source("${env:SHOP_DSN}")) == Identity()
    (one,) = said
    assert one["source"] == "shop"
    assert "cannot be told" in one["event"]
    assert "pst" not in str(one)


def test_without_a_database_or_its_secret_it_is_said_what_to_set() -> None:
    with capture_logs() as said:
        assert identity_of("shop", source()) == Identity()
        assert identity_of("shop", source("${env:NOBODY_SETS_THIS}")) == Identity()
    assert "sources.shop.database" in said[0]["todo"]
    assert "NOBODY_SETS_THIS" in said[1]["why"]
