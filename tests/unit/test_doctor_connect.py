"""What `doctor` says of a database whose connector's configuration it could not read."""

import pytest

from core.settings import Settings
from tailrace.doctor import examine


def test_what_could_not_be_read_of_connect_is_told_where_the_database_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOP_DSN", "postgresql://nobody@127.0.0.1:1/shop")
    nowhere = "http://127.0.0.1:1"
    settings = Settings.model_validate(
        {
            "app": "shop",
            "index": {"kind": "memory"},
            "encoder": {"kind": "hashing"},
            "connect": {"url": nowhere, "timeout_seconds": 1},
            "sources": {
                "shop": {
                    "prefix": "shop",
                    "tables": ["public.articles"],
                    "connector": "shop.yaml",
                    "database": "${env:SHOP_DSN}",
                }
            },
        }
    )
    found = list(examine(settings))
    [told] = [check for check in found if check.name == "database of shop"]
    assert (told.status, "shop.yaml is not known" in told.what) == ("warn", True)
    failed = [check for check in found if check.status == "fail"]
    assert any(nowhere in check.what for check in failed)
    assert any("Is the server running" in check.what for check in failed), "the database is asked"
