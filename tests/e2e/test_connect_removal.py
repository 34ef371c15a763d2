"""What `tailrace connect delete` leaves, tells, and removes when it is asked to."""

import pytest

from connectors.rest import ConnectClient
from infra.stack.config import ADMIN
from tests.e2e.connect_desk import SECRET, Desk, publications, slots
from tests.e2e.support import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_what_a_deleted_connector_leaves_is_told_and_clean_removes_it(desk: Desk) -> None:
    desk.publish("one")
    desk.write("one")
    desk.apply()
    with ConnectClient(desk.stack.connect_url) as client:
        eventually(
            lambda: "one.public.articles" in client.topics("one"), within_s=30, what="no snapshot came"
        )
        eventually(lambda: bool(client.offsets("one")), within_s=30, what="nothing is committed")
    assert "--yes" in desk.run("delete", "one", code=2).stderr
    told = desk.run("delete", "one", "--yes").stderr
    for what in (
        "slot tailrace_one",
        "publication tailrace_one",
        "source offsets",
        "topic one.public.articles",
    ):
        assert what in told
    assert slots(desk) == {"tailrace_one"}
    desk.apply()
    kept = desk.run("delete", "one", "--clean", "--yes", code=1)
    assert "deleted slot tailrace_one" in kept.stdout
    assert "publication tailrace_one stays" in kept.stderr, "the connector's own role may not drop it"
    desk.apply()
    dsn = desk.folder / "admin.dsn"
    dsn.write_text(desk.stack.postgres.dsn(ADMIN))
    done = desk.run("delete", "one", "--clean", "--yes", "--database", f"${{file:{dsn}}}")
    assert "deleted source offsets" in done.stdout
    assert "topic one.public.articles stays" in done.stderr
    assert slots(desk) == set()
    assert "tailrace_one" not in publications(desk)


def test_no_secret_is_taken_on_the_command_line(desk: Desk) -> None:
    desk.publish("one")
    desk.write("one")
    desk.apply()
    done = desk.run("delete", "one", "--clean", "--yes", "--database", f"postgresql://u:{SECRET}@h/d", code=2)
    assert "--database takes a reference" in done.stderr
