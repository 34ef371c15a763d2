"""The command line of `tailrace connect`: exit codes, what goes where, and what is refused unsent."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from connectors.diff import OWNER_KEY
from connectors.postgres_facts import Facts, Slot, Wanted
from connectors.rest import ConnectClient
from connectors.snapshots import Signal, execute
from core.errors import TransientError
from tailrace.cli.connect_snapshot import until_heard
from tests.unit.connect_hands import Tailrace, write
from tests.unit.connect_world import CANARY, TRACE, URL, Cluster, Running, shop_config

NO_NOPE = r"there is no connector nope on http://\S+: it has "
VERBS = "validate plan apply status restart pause resume stop offsets snapshot export delete".split()  # noqa: SIM905 - read as a line
QUICK = ("--settle", "0.5", "--timeout", "1.2")


def test_help_names_every_verb(tailrace: Tailrace) -> None:
    shown = tailrace("--help").out
    for verb in VERBS:
        assert f"  {verb} " in shown
        assert "Usage" in tailrace(verb, "--help").out


def test_plan_check_is_exit_3_on_drift_and_only_then(
    cluster: Cluster, folder: Path, tailrace: Tailrace
) -> None:
    shown = tailrace("plan", "--check", code=3)
    assert "+ shop  (connectors/shop.yaml)" in shown.out
    assert "1 change: 1 create" in shown.err
    assert tailrace("plan").code == 0
    assert tailrace("apply", "--settle", "0", "--skip-preflight").err.endswith("1 write, 1 ok, 0 failed\n")
    assert tailrace("plan", "--check").err == "no changes\n"
    cluster.connectors["shop"].config["slot.name"] = "other"
    shown = tailrace("plan", "--check", "--json", code=3)
    (change,) = shown.data["steps"][0]["changes"]
    assert (change["sign"], change["key"], change["before"]) == ("~", "slot.name", "other")
    assert "tailrace resync" in change["risk"]


def test_a_rename_says_what_is_read_again(cluster: Cluster, folder: Path, tailrace: Tailrace) -> None:
    tailrace("apply", "--settle", "0")
    path = folder / "connectors" / "shop.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"name": "renamed"}))
    shown = tailrace("apply", "--prune", "--yes", "--settle", "0").out
    assert "    !   topic.prefix: shop has it and goes, and offsets are kept by name" in shown
    assert set(cluster.connectors) == {"renamed"}


def test_a_second_apply_writes_nothing(cluster: Cluster, folder: Path, tailrace: Tailrace) -> None:
    tailrace("apply", "--settle", "0")
    cluster.writes.clear()
    assert tailrace("apply").err == "no changes\n0 writes, 1 ok, 0 failed\n"
    assert cluster.writes == []


def test_a_dry_run_sends_nothing(cluster: Cluster, folder: Path, tailrace: Tailrace) -> None:
    assert "dry run: nothing was sent" in tailrace("apply", "--dry-run").err
    assert cluster.writes == []


def test_a_failure_is_exit_1_with_cause_and_hint_and_the_trace_on_request(
    cluster: Cluster, folder: Path, tailrace: Tailrace
) -> None:
    cluster.failing["shop"] = TRACE
    done = tailrace("apply", *QUICK, code=1)
    assert done.out.endswith("fail  shop: failed\n")
    assert "hint: user or password is wrong" in done.err
    assert "\tat x.y" not in done.err
    assert "\tat x.y" in tailrace("apply", *QUICK, "--trace", code=1).err
    (row,) = tailrace("apply", *QUICK, "--json", code=1).data
    assert row["state"] == "failed"
    shown = tailrace("status", code=1)
    assert "shop: org.apache" in shown.out
    assert "\tat x.y" in tailrace("status", "--trace", code=1).err
    assert tailrace("restart", "shop", *QUICK, code=1).out == "fail  shop: failed\n"
    cluster.failing.clear()
    assert tailrace("restart", "--settle", "0").out == "ok    shop: running\n"


def has_database(folder: Path, monkeypatch: pytest.MonkeyPatch, dsn: str) -> None:
    monkeypatch.setenv("SHOP_DSN", dsn)
    path = folder / "tailrace.yaml"
    tree = yaml.safe_load(path.read_text())
    tree["sources"]["shop"]["database"] = "${env:SHOP_DSN}"
    path.write_text(yaml.safe_dump(tree))


def says(monkeypatch: pytest.MonkeyPatch, facts: Callable[[str, Wanted], Facts]) -> None:
    """The database, to whoever looks at it."""
    for module in ("connectors.inspect", "tailrace.connect_databases"):
        monkeypatch.setattr(f"{module}.read_facts", facts)


def test_a_connector_is_held_still_though_its_database_is_down(
    cluster: Cluster, folder: Path, tailrace: Tailrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    tailrace("apply", "--settle", "0")
    has_database(folder, monkeypatch, "host=127.0.0.1 port=1 dbname=shop user=u")
    path = folder / "connectors" / "shop.yaml"
    held = yaml.safe_load(path.read_text()) | {"state": "paused"}
    path.write_text(yaml.safe_dump(held))
    assert "ok    shop: paused" in tailrace("apply", "--settle", "0").out
    path.write_text(yaml.safe_dump(held | {"state": "running"}))
    refused = tailrace("apply", code=1).err
    assert "nothing was sent: mend the database of shop, give the files of the others" in refused


def test_another_slot_that_somebody_reads_is_refused(
    cluster: Cluster, folder: Path, tailrace: Tailrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = [True]

    def facts(_dsn: str, wanted: Wanted) -> Facts:
        active = looks.pop(0) if len(looks) > 1 else looks[0]
        read = Slot(wanted.slot, "pgoutput", active=active, wal_status="reserved", retained_bytes=0)
        return Facts(15, "logical", 1024, 3, None, {}, None, read)

    tailrace("apply", "--settle", "0")
    has_database(folder, monkeypatch, "host=h dbname=shop user=u")
    says(monkeypatch, facts)
    cluster.connectors["shop"].config["poll.interval.ms"] = "9999"
    own = tailrace("apply", "--dry-run", code=1).err
    assert "is read by somebody already" not in own, "it reads its own slot"
    cluster.connectors["shop"].config["slot.name"] = "another"
    monkeypatch.setattr("tailrace.connect_databases.LETS_GO_SECONDS", 0.3)
    assert "fail  shop: slot: tailrace_shop is read by somebody already" in tailrace("apply", code=1).err
    looks[:] = [True, True, False]
    assert "is read by somebody already" not in tailrace("apply", code=1).err, "it was let go of"


def test_a_new_name_takes_over_the_slot_of_the_one_that_goes(
    cluster: Cluster, folder: Path, tailrace: Tailrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def facts(_dsn: str, wanted: Wanted) -> Facts:
        read = Slot(wanted.slot, "pgoutput", active=True, wal_status="reserved", retained_bytes=0)
        return Facts(15, "logical", 1024, 3, None, {}, None, read)

    tailrace("apply", "--settle", "0")
    has_database(folder, monkeypatch, "host=h dbname=shop user=u")
    says(monkeypatch, facts)
    monkeypatch.setattr("tailrace.connect_databases.LETS_GO_SECONDS", 0.1)
    path = folder / "connectors" / "shop.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"name": "renamed"}))
    told = tailrace("apply", "--prune", "--yes", code=1).err
    assert "fail  renamed: publication" in told, "the rest is looked at"
    assert "is read by somebody already" not in told
    write(folder, "shop")
    path.write_text(path.read_text().replace("name: shop", "name: renamed"))
    cluster.connectors["shop"].config["slot.name"] = "another"
    assert "is read by somebody already" in tailrace("apply", "--prune", "--yes", code=1).err


@pytest.mark.parametrize(
    "changed",
    [
        {"skipped__operations": "t"},
        {"database__password": "hunter22"},
        {"connector__class": "org.evil.Connector"},
        {"producer__override__sasl__jaas__config": "com.sun.JndiLoginModule required;"},
    ],
    ids=["loses truncates", "a literal", "a class", "a door"],
)
def test_what_the_rules_refuse_makes_no_call(
    cluster: Cluster, folder: Path, tailrace: Tailrace, changed: dict[str, str]
) -> None:
    path = folder / "connectors" / "shop.yaml"
    tree = yaml.safe_load(path.read_text())
    config = {key.replace("__", "."): value for key, value in changed.items()}
    tree["class"] = config.pop("connector.class", tree["class"])
    tree["config"] |= config
    path.write_text(yaml.safe_dump(tree))
    for verb in ("plan", "apply"):
        refused = tailrace(verb, code=2)
        assert "refused before anything was sent" in refused.err
        assert "hunter22" not in refused.err
    assert "fail  shop" in tailrace("validate", code=1).out
    assert cluster.asked == 0


def test_validate_offline_asks_nobody_and_needs_no_configuration(
    cluster: Cluster, folder: Path, tailrace: Tailrace
) -> None:
    path = folder / "tailrace.yaml"
    tree = yaml.safe_load(path.read_text())
    del tree["connect"]
    path.write_text(yaml.safe_dump(tree))
    assert tailrace("validate", "--offline").out == "ok    shop  (connectors/shop.yaml)\n"
    assert "has no connect.url" in tailrace("validate", code=2).err
    path.unlink()
    assert tailrace("validate", "connectors", "--offline").out == "ok    shop  (connectors/shop.yaml)\n"
    assert cluster.asked == 0


def test_validate_tells_of_a_waiver_that_waives_nothing(
    cluster: Cluster, folder: Path, tailrace: Tailrace
) -> None:
    path = folder / "connectors" / "shop.yaml"
    tree = yaml.safe_load(path.read_text())
    tree["accept"] = {**tree.get("accept", {}), "partial-snapshot": "once there was one"}
    path.write_text(yaml.safe_dump(tree))
    assert "note  shop: accept.partial-snapshot waives nothing" in tailrace("validate", "--offline").err
    assert cluster.asked == 0


def test_validate_tells_the_workers_errors_by_key(cluster: Cluster, folder: Path, tailrace: Tailrace) -> None:
    cluster.errors = {"database.hostname": ["no such host"]}
    done = tailrace("validate", "--json", code=1)
    assert done.data == [
        {
            "connector": "shop",
            "file": "connectors/shop.yaml",
            "errors": ["database.hostname: no such host"],
        }
    ]
    cluster.plugins = []
    assert "has no plugin" in tailrace("validate", code=1).out


def test_conflicts_are_exit_1_and_nothing_is_sent(cluster: Cluster, folder: Path, tailrace: Tailrace) -> None:
    cluster.connectors["theirs"] = Running(shop_config())
    for verb in ("plan", "apply"):
        assert "conflict: connectors theirs and shop have the same" in tailrace(verb, code=1).err
    assert cluster.writes == []


def test_the_owner_and_the_address_can_be_given_without_a_configuration(
    cluster: Cluster, folder: Path, tailrace: Tailrace
) -> None:
    (folder / "tailrace.yaml").unlink()
    assert "tailrace.yaml does not exist" in tailrace("plan", code=2).err
    tailrace("apply", "--url", URL, "--owner", "me", "--settle", "0")
    assert cluster.connectors["shop"].config[OWNER_KEY] == "me"
    tailrace("apply", "--url", URL, "--owner", "you", code=1)
    cluster.connectors.clear()
    tailrace("apply", "--url", URL, "--settle", "0")
    assert OWNER_KEY not in cluster.connectors["shop"].config, "nobody's: never pruned"


def test_export_writes_no_secret_and_no_file_twice(
    cluster: Cluster, folder: Path, tailrace: Tailrace
) -> None:
    cluster.connectors["shop"] = Running(shop_config(database__password=CANARY, odd__key=CANARY))
    done = tailrace("export", "--to", "out")
    assert "set SHOP_ODD_KEY before `apply`" in done.err
    assert CANARY not in (folder / "out" / "shop.yaml").read_text()
    assert "--force" in tailrace("export", "--to", "out", code=2).err
    assert re.search(NO_NOPE + "shop", tailrace("export", "nope", code=2).err)
    assert "${env:SHOP_DATABASE_PASSWORD}" in tailrace("export").out


def test_one_that_no_file_can_say_does_not_end_the_export(
    cluster: Cluster, folder: Path, tailrace: Tailrace
) -> None:
    cluster.connectors["my shop"] = Running(shop_config(database__password=CANARY))
    cluster.connectors["none"] = Running({"topic": "x"})
    cluster.connectors["shop"] = Running(shop_config())
    done = tailrace("export", "--to", "out", code=1)
    assert "my shop: left out: " in done.err
    assert "none: left out: " in done.err
    assert [path.name for path in (folder / "out").iterdir()] == ["shop.yaml"]


def test_another_running_snapshot_is_not_ours(cluster: Cluster) -> None:
    def running(signal: str, table: str) -> None:
        named = json.dumps([{"incremental_snapshot_collections_id": table}])
        offset = {
            "lsn": 5,
            "lsn_proc": 5,
            "lsn_commit": 5,
            "incremental_snapshot_collections": named,
            "incremental_snapshot_correlation_id": signal,
        }
        cluster.connectors["shop"] = Running(
            {}, offsets=[{"partition": {"server": "shop"}, "offset": offset}]
        )

    with ConnectClient(URL) as client:
        running("tailrace-old", "public.other")
        with pytest.raises(TransientError, match="has not come to the signal"):
            until_heard(client, "shop", execute(["public.articles"]), ["public.articles"], "0/FFFFFF", 0.1)
        assert (
            until_heard(client, "shop", execute(["public.articles"]), ["public.articles"], "0/4", 0.1) is None
        )
        for signal, table in (("tailrace-old", "public.articles"), ("mine", "public.other")):
            running(signal, table)
            found = until_heard(
                client, "shop", Signal("mine", "execute-snapshot", ""), ["public.articles"], "0/FFFFFF", 0.1
            )
            assert found is not None


def test_states_by_hand(cluster: Cluster, folder: Path, tailrace: Tailrace) -> None:
    tailrace("apply", "--settle", "0")
    assert tailrace("pause", "shop").out == "ok    shop: paused\n"
    assert tailrace("stop", "shop", "--json").data[0]["state"] == "stopped"
    assert tailrace("resume", "shop", "--settle", "0").out == "ok    shop: running\n"
    assert re.search(NO_NOPE + "shop", tailrace("stop", "nope", code=2).err)
    assert "--task needs" in tailrace("restart", "--task", "0", code=2).err


def test_status_is_data_on_stdout(cluster: Cluster, folder: Path, tailrace: Tailrace) -> None:
    assert tailrace("status").out == "no connectors\n"
    tailrace("apply", "--settle", "0")
    data = tailrace("status", "--json").data
    assert data["worker"]["version"] == "4.3.0"
    assert data["connectors"][0]["tasks"] == [{"id": 0, "state": "RUNNING", "worker": "w:8083"}]
    assert tailrace("status", "shop", "--json").data["snapshot"] is None


def test_a_connect_that_is_away_is_exit_1_and_one_message(
    cluster: Cluster, folder: Path, tailrace: Tailrace
) -> None:
    cluster.away = 10**6
    done = tailrace("status", code=1)
    assert not done.out
    assert "is Connect running there" in done.err


def test_no_file_at_all_is_said(cluster: Cluster, folder: Path, tailrace: Tailrace) -> None:
    (folder / "connectors" / "shop.yaml").unlink()
    assert "there is no such file" in tailrace("plan", code=2).err


def test_a_secret_is_never_taken_on_the_command_line(
    cluster: Cluster, folder: Path, tailrace: Tailrace
) -> None:
    tailrace("apply", "--settle", "0")
    dsn = f"postgresql://u:{CANARY}@h/d"
    for verb in (
        ["delete", "shop", "--clean", "--yes"],
        ["snapshot", "start", "shop", "-t", "public.articles"],
    ):
        assert "--database takes a reference" in tailrace(*verb, "--database", dsn, code=2).err
