"""`tailrace connect delete` and `apply --prune`: they ask before they hurt, and say what stays."""

from pathlib import Path

import pytest

from connectors.diff import OWNER_KEY
from tests.unit.connect_hands import Tailrace, write
from tests.unit.connect_world import Cluster, Running


def test_pruning_asks_and_never_without_a_terminal(
    cluster: Cluster, folder: Path, tailrace: Tailrace
) -> None:
    tailrace("apply", "--settle", "0")
    cluster.connectors["old"] = Running({OWNER_KEY: "trial"})
    cluster.connectors["theirs"] = Running({OWNER_KEY: "other"})
    told = tailrace("apply").err
    assert "in no file, and ours: old (--prune deletes them)" in told
    assert "not ours, left alone: theirs" in told
    assert "run it again with --yes" in tailrace("apply", "--prune", code=2).err
    assert "old" in cluster.connectors
    assert "- old" in tailrace("apply", "--prune", "--yes").out
    assert set(cluster.connectors) == {"shop", "theirs"}


def test_pruning_by_a_part_of_the_files_is_refused(
    cluster: Cluster, folder: Path, tailrace: Tailrace
) -> None:
    write(folder, "two", topic__prefix="two", slot__name="two", publication__name="two")
    tailrace("apply", "connectors", "--settle", "0")
    cluster.writes.clear()
    for verb in (["plan"], ["apply", "--yes"]):
        refused = tailrace(*verb, "connectors/shop.yaml", "--prune", code=2)
        assert "run it without files" in refused.err
    told = tailrace("plan", "connectors/shop.yaml").err
    assert "in no file" not in told, "one file says nothing of the others"
    tailrace("apply", "--prune", "--yes", "--settle", "0")
    assert set(cluster.connectors) == {"shop", "two"}, "no source names its file, but it is there"
    assert cluster.writes == []


def test_pruning_keeps_what_stands_in_a_folder_inside(
    cluster: Cluster, folder: Path, tailrace: Tailrace
) -> None:
    write(folder, "two", topic__prefix="two", slot__name="two", publication__name="two")
    inside = folder / "connectors" / "prod" / "eu"
    inside.mkdir(parents=True)
    (folder / "connectors" / "two.yaml").rename(inside / "two.yaml")
    (inside / "shop.yaml").write_text((folder / "connectors" / "shop.yaml").read_text())
    (inside / "up").symlink_to(folder / "connectors", target_is_directory=True)
    tailrace("apply", "connectors", str(inside / "two.yaml"), "--settle", "0")
    tailrace("apply", "--prune", "--yes", "--settle", "0")
    assert set(cluster.connectors) == {"shop", "two"}
    (inside / "two.yaml").write_text("name: [")
    assert "two.yaml" in tailrace("apply", "--prune", "--yes", code=2).err
    (inside / "two.yaml").unlink()
    tailrace("apply", "--prune", "--yes", "--settle", "0")
    assert set(cluster.connectors) == {"shop"}


def test_a_profile_does_not_prune_anothers(cluster: Cluster, folder: Path, tailrace: Tailrace) -> None:
    cluster.connectors["prod"] = Running({OWNER_KEY: "trial"})
    cluster.connectors["old"] = Running({OWNER_KEY: "trial@staging"})
    done = tailrace("apply", "--profile", "staging", "--prune", "--yes", "--settle", "0")
    assert "not ours, left alone: prod" in done.err
    assert set(cluster.connectors) == {"shop", "prod"}
    assert cluster.connectors["shop"].config[OWNER_KEY] == "trial@staging"
    assert tailrace("restart", "--all", "--settle", "0").out == "ok    prod: running\nok    shop: running\n"


@pytest.mark.parametrize(
    "arguments",
    [["delete", "shop"], ["offsets", "reset", "shop", "--stop"]],
    ids=" ".join,
)
def test_what_cannot_be_undone_wants_a_yes(
    cluster: Cluster, folder: Path, tailrace: Tailrace, arguments: list[str]
) -> None:
    tailrace("apply", "--settle", "0")
    cluster.writes.clear()
    assert "--yes" in tailrace(*arguments, code=2).err
    assert cluster.writes == []


def test_clean_needs_its_database_before_anything(
    cluster: Cluster, folder: Path, tailrace: Tailrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    tailrace("apply", "--settle", "0")
    cluster.writes.clear()
    refused = tailrace("delete", "shop", "--clean", "--yes", code=2)
    assert "--database" in refused.err
    assert "pg_drop_replication_slot('tailrace_shop')" in refused.err
    monkeypatch.setenv("ADMIN", "host=127.0.0.1 port=1 dbname=shop user=u")
    away = tailrace("delete", "shop", "--clean", "--yes", "--database", "${env:ADMIN}", code=1)
    assert "the database could not be asked" in away.err
    monkeypatch.setenv("ADMIN", "mysql://u@127.0.0.1:1/shop")
    other = tailrace("delete", "shop", "--clean", "--yes", "--database", "${env:ADMIN}", code=2)
    assert "another database" in other.err
    assert cluster.writes == []


def test_clean_of_a_connector_that_is_gone_goes_by_its_file(
    cluster: Cluster, folder: Path, tailrace: Tailrace
) -> None:
    assert "run it with --clean" in tailrace("delete", "shop", "--yes", code=2).err
    refused = tailrace("delete", "shop", "--clean", "--yes", code=2).err
    assert "--database" in refused
    assert "pg_drop_replication_slot('tailrace_shop')" in refused, "its file says which"
    unknown = tailrace("delete", "nope", "--clean", "--yes", code=2).err
    assert "no file names it" in unknown
    assert "pg_replication_slots" in unknown
    assert cluster.writes == []


def test_a_delete_says_what_stays(cluster: Cluster, folder: Path, tailrace: Tailrace) -> None:
    tailrace("apply", "--settle", "0")
    cluster.connectors["shop"].topics = ["shop.public.articles"]
    done = tailrace("delete", "shop", "--yes")
    assert done.out == "deleted shop\n"
    for what in (
        "slot tailrace_shop",
        "publication tailrace_shop",
        "source offsets",
        "topic shop.public.articles",
    ):
        assert what in done.err
    assert cluster.connectors == {}
