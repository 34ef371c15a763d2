"""What `doctor` says of connectors, and of a database whose connector's configuration it could not read."""

from pathlib import Path

import pytest

from connectors.checks import Check
from core.settings import Settings
from tailrace.doctor import examine
from tests.unit.connect_world import CANARY, URL, Cluster, Running, shop_config


def settings(connector: str, url: str = URL, **source: str) -> Settings:
    return Settings.model_validate(
        {
            "app": "shop",
            "index": {"kind": "memory"},
            "encoder": {"kind": "hashing"},
            "connect": {"url": url, "timeout_seconds": 1},
            "sources": {
                "shop": {
                    "prefix": "shop",
                    "tables": ["public.articles"],
                    "connector": connector,
                    "placeholder": "__uv_0123456789abcdef__",
                    **source,
                }
            },
        }
    )


def examined(cluster: Cluster, connector: str) -> dict[str, Check]:
    with cluster.served():
        return {check.name: check for check in examine(settings(connector))}


def test_what_could_not_be_read_of_connect_is_told_where_the_database_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOP_DSN", "postgresql://nobody@127.0.0.1:1/shop")
    nowhere = "http://127.0.0.1:1"
    found = list(examine(settings("shop.yaml", nowhere, database="${env:SHOP_DSN}")))
    [told] = [check for check in found if check.name == "database of shop"]
    assert (told.status, "shop.yaml is not known" in told.what) == ("warn", True)
    failed = [check for check in found if check.status == "fail"]
    assert any(nowhere in check.what for check in failed)
    assert any("Is the server running" in check.what for check in failed), "the database is asked"


@pytest.mark.parametrize("key", ["database__password", "odd__key"])
def test_a_trace_is_shown_without_the_values_of_secrets(key: str) -> None:
    trace = f"org.x.ConnectException: bad value of the thing ({CANARY})\n\tat x.y"
    cluster = Cluster()
    cluster.connectors["shop"] = Running(shop_config(**{key: CANARY}), trace=trace)
    check = examined(cluster, "shop")["connector shop"]
    assert check.status == "fail"
    assert "bad value of the thing (********)" in check.what


@pytest.mark.parametrize(
    ("state", "task", "what", "fix"),
    [
        ("PAUSED", "PAUSED", "is paused", "`tailrace connect resume shop`"),
        ("STOPPED", "STOPPED", "is stopped", "`tailrace connect resume shop`"),
        ("RUNNING", "UNASSIGNED", "is starting", "wait"),
    ],
)
def test_a_connector_that_is_held_is_told_from_one_that_failed(
    state: str, task: str, what: str, fix: str
) -> None:
    cluster = Cluster()
    cluster.connectors["shop"] = Running(shop_config(), state, looks=[task])
    check = examined(cluster, "shop")["connector shop"]
    assert (check.status, check.what) == ("fail", what)
    assert check.fix.startswith(fix)


def test_a_connector_is_looked_for_by_the_name_that_its_file_says(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text("name: shop-{{ values.stage }}\nvalues: {stage: dev}\nconfig: {}\n")
    cluster = Cluster()
    cluster.connectors |= {"shop-dev": Running(shop_config()), "orders.cdc": Running(shop_config())}
    assert examined(cluster, str(file))["connector shop-dev"].status == "ok"
    assert examined(cluster, "orders.cdc")["connector orders.cdc"].status == "ok"
    assert "not deployed" in examined(cluster, "nope")["connector nope"].what
    file.write_text("name: shop-{{ values.stage }}\nconfig: {}\n")
    told = examined(cluster, str(file))["connector of shop"]
    assert (told.status, "stage" in told.what) == ("fail", True)
