"""`tailrace connect apply` as its user meets it: the real Connect, the real Postgres, by the command line."""

import json

import pytest
import yaml

from connectors.preset import derived_name
from connectors.rest import ConnectClient
from tests.e2e.connect_desk import LOOPBACK, SECRET, Desk
from tests.e2e.support import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_a_connector_is_created_and_a_second_apply_writes_nothing(desk: Desk) -> None:
    desk.write("one")
    desk.publish("one")
    assert "ok    one" in desk.run("validate").stdout
    planned = desk.run("plan", "--check", code=3)
    assert "+ one" in planned.stdout
    assert "1 change: 1 create" in planned.stderr
    assert f"not ours, left alone: {desk.stack.connector}" in planned.stderr
    done = desk.apply()
    assert "ok    one: running" in done.stdout
    assert "1 write, 1 ok, 0 failed" in done.stderr
    assert "0 writes, 1 ok, 0 failed" in desk.apply().stderr
    assert desk.run("plan", "--check").stderr.strip().endswith("no changes")
    with ConnectClient(desk.stack.connect_url) as client:
        eventually(
            lambda: "one.public.articles" in client.topics("one"), within_s=30, what="no snapshot came"
        )


def test_drift_made_by_hand_is_found_and_repaired(desk: Desk) -> None:
    desk.write("one")
    desk.publish("one")
    desk.apply()
    desk.put("one", poll__interval__ms="9999", slot__name="another")
    found = json.loads(desk.run("plan", "--check", "--json", code=3).stdout)
    (step,) = found["steps"]
    assert {change["key"] for change in step["changes"]} == {"poll.interval.ms", "slot.name"}
    assert any("tailrace resync" in (change["risk"] or "") for change in step["changes"])
    repaired = desk.apply()
    assert "~ poll.interval.ms: 9999 → 10" in repaired.stdout
    desk.run("plan", "--check")


def test_a_configuration_that_cannot_work_is_stopped_by_whoever_knows_first(desk: Desk) -> None:
    """The preset offline, then the database, then the worker; and then the task, when all were skipped."""
    with ConnectClient(desk.stack.connect_url) as client:
        desk.write("one", skipped__operations="t")
        assert "TRUNCATE" in desk.apply(code=2).stderr
        assert "TRUNCATE" in desk.run("validate", "--offline", code=1).stdout
        desk.write("one")
        refused = desk.apply(code=1)
        assert "CREATE PUBLICATION tailrace_one FOR TABLE" in refused.stderr
        assert "nothing was sent" in refused.stderr
        desk.write("one", snapshot__mode="bogus", accept={"snapshot.mode": "a test"})
        wrong = desk.apply("--skip-preflight", code=1)
        assert "snapshot.mode: The 'snapshot.mode' value is invalid" in wrong.stderr
        assert client.config("one") is None
        desk.write("one", tables=("public.articles",))
        failed = desk.apply("--skip-preflight", code=1)
        assert "fail  one: failed" in failed.stdout
        assert "Publication autocreation is disabled" in failed.stderr
        assert "hint: the publication is missing" in failed.stderr
        assert "\tat io.debezium" not in failed.stderr
        assert "\tat io.debezium" in desk.apply("--skip-preflight", "--trace", code=1).stderr
    shown = desk.run("status", "one", code=1)
    assert "hint: the publication is missing" in shown.stdout


def test_a_wrong_password_is_a_hint_and_never_shown(desk: Desk) -> None:
    desk.write("one", database__password="${env:PG_PASSWORD}")  # noqa: S106 - a reference
    desk.publish("one")
    assert "environment variable PG_PASSWORD is not set" in desk.run("plan", code=2).stderr
    planned = desk.run("plan", PG_PASSWORD=SECRET)
    assert "+ database.password: ********" in planned.stdout
    for arguments in (["validate"], ["apply", "--trace"], ["apply", "--json", "--skip-preflight"]):
        done = desk.run(*arguments, code=1, PG_PASSWORD=SECRET)
        assert "password authentication failed" in done.stdout + done.stderr
    with ConnectClient(desk.stack.connect_url) as client:
        assert client.config("one") is None
    right = desk.stack.postgres.password("debezium")
    desk.apply(PG_PASSWORD=right)
    changed = desk.run("plan", PG_PASSWORD=SECRET)
    assert "~ database.password: ******** → ********" in changed.stdout
    desk.run("plan", "--check", PG_PASSWORD=right)
    exported = desk.run("export", "one")
    assert "database.password: ${env:ONE_DATABASE_PASSWORD}" in exported.stdout
    assert "held a secret in the open" in exported.stderr


def test_a_worker_restarted_in_the_middle_of_an_apply_is_waited_for(desk: Desk) -> None:
    desk.write("one")
    desk.publish("one")
    running = desk.start("apply", "--settle", "4", "--timeout", "90")
    with ConnectClient(desk.stack.connect_url) as client:
        eventually(lambda: client.config("one") is not None, within_s=30, what="nothing was sent")
    desk.stack.connect.kill()
    desk.stack.connect.start()
    done = desk.end(running)
    assert done.returncode == 0, done.stderr
    assert "ok    one: running" in done.stdout
    assert "0 writes, 1 ok" in desk.apply().stderr


def test_a_worker_that_is_away_when_apply_begins_is_waited_for(desk: Desk) -> None:
    desk.write("one")
    desk.publish("one")
    desk.stack.connect.kill()
    running = desk.start("apply", "--settle", "1")
    desk.stack.connect.start()
    done = desk.end(running)
    assert done.returncode == 0, done.stderr


def test_two_connectors_at_once_and_one_that_fails(desk: Desk) -> None:
    desk.write("one")
    desk.write("two", tables=("public.products",))
    desk.publish("one")
    done = desk.apply("--skip-preflight", code=1)
    assert "ok    one: running" in done.stdout
    assert "fail  two: failed" in done.stdout
    desk.publish("two", "public.products")
    done = desk.apply()
    assert "ok    two: running" in done.stdout
    assert "1 change: 1 state" in done.stderr
    (desk.folder / "connectors" / "two.yaml").unlink()
    assert "in no file, and ours: two" in desk.apply().stderr
    refused = desk.apply("--prune", code=2)
    assert "--yes" in refused.stderr
    assert "ok    two: absent" in desk.apply("--prune", "--yes").stdout
    with ConnectClient(desk.stack.connect_url) as client:
        assert set(client.names()) == {"one", desk.stack.connector}


def test_two_connectors_of_one_slot_are_a_conflict(desk: Desk) -> None:
    desk.write("one", slot__name=derived_name(desk.stack.settings.prefix))
    done = desk.run("plan", code=1)
    assert f"connectors {desk.stack.connector} and one have the same slot.name" in done.stderr


def test_an_exported_cluster_is_adopted_without_a_change(desk: Desk) -> None:
    desk.publish("one")
    desk.write("one")
    desk.apply()
    (desk.folder / "connectors" / "one.yaml").unlink()
    desk.run("export", "one", "--to", "adopted")
    again = desk.run("export", "one", "--to", "adopted", code=2)
    assert "--force" in again.stderr
    path = desk.folder / "adopted" / "one.yaml"
    tree = yaml.safe_load(path.read_text())
    tree["accept"] = LOOPBACK
    path.write_text(yaml.safe_dump(tree))
    assert desk.run("plan", "adopted", "--check").stderr.strip().endswith("no changes")
    assert "= one" in desk.run("plan", "adopted").stdout
