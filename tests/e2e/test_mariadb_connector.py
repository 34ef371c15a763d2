"""MariaDB's connector: the preset it fits, the rights it needs, and what is said when one is missing."""

import json

import pytest

from connectors.preset import violations
from connectors.rest import ConnectClient
from infra.stack.config import MARIADB_TABLES, REPLICATOR
from infra.stack.mariadb import ADMIN
from infra.stack.shop_mariadb import grants
from tests.e2e.mariadb_world import World, arrive, connector_runs, preflight
from tests.e2e.support import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def test_the_deployed_connector_fits_the_preset_and_every_check_is_green(mariadb: World) -> None:
    with ConnectClient(mariadb.stack.connect_url) as client:
        config = client.config(mariadb.stack.settings.mariadb_connector)
        assert config is not None
        assert violations(config, ("no-tls",)) == []
        assert mariadb.stack.mariadb.password(REPLICATOR) not in json.dumps(config)
    checks = preflight(mariadb)
    assert {check.status for check in checks} == {"ok"}, checks
    assert {f"table {table}" for table in MARIADB_TABLES} <= {check.name for check in checks}


def test_a_wrong_password_and_a_missing_grant_are_seen_and_no_secret_is_shown(mariadb: World) -> None:
    password = mariadb.stack.mariadb.password(REPLICATOR)
    dsn = mariadb.stack.mariadb.dsn(REPLICATOR)
    (refused,) = preflight(mariadb, dsn.replace(password, "canary-5e1f"))
    assert (refused.status, "refused the login of debezium" in refused.what) == ("fail", True)
    assert "canary" not in str(refused)
    login = "'debezium'@'127.0.0.1'"
    for grant, title, status in (
        ("RELOAD ON *.*", "privileges", "fail"),
        ("BINLOG MONITOR ON *.*", "privileges", "fail"),
        ("REPLICATION SLAVE ON *.*", "privileges", "fail"),
        ("SELECT ON shop.articles", "table shop.articles", "fail"),
        ("INSERT ON shop.debezium_signal", "signal table", "warn"),
    ):
        mariadb.stack.mariadb.sql(f"REVOKE {grant} FROM {login}", user=ADMIN)
        try:
            bad = [check for check in preflight(mariadb) if check.status != "ok"]
        finally:
            for one in grants():
                mariadb.stack.mariadb.sql(one, user=ADMIN)
        assert [(check.name, check.status) for check in bad] == [(title, status)], grant
        assert password not in str(bad)
    assert {check.status for check in preflight(mariadb)} == {"ok"}


def test_a_connector_that_may_not_beat_ends_is_explained_and_goes_on_after_a_second_up(
    mariadb: World,
) -> None:
    login = "'debezium'@'127.0.0.1'"
    mariadb.stack.mariadb.sql(f"REVOKE UPDATE ON shop.debezium_heartbeat FROM {login}", user=ADMIN)
    eventually(lambda: not connector_runs(mariadb), within_s=30, what="the heartbeat's failure")
    bad = [check for check in preflight(mariadb) if check.status != "ok"]
    assert [(check.name, check.status) for check in bad] == [("heartbeat table", "fail")]
    at = mariadb.run("UPDATE articles SET body = 'Written while the deafstone slept.' WHERE id = 101")
    for one in grants():
        mariadb.stack.mariadb.sql(one, user=ADMIN)
    mariadb.stack.up(with_tailrace=False)
    assert connector_runs(mariadb)
    arrive(mariadb)
    assert [hit["key"] for hit in mariadb.hits("deafstone", at)] == ["101"]
