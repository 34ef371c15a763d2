"""The real stack, for every end-to-end test: the same code as `make up`, in a folder of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from xdist.scheduler import LoadFileScheduling

from core.errors import ConfigurationError
from infra.stack import Ports, Stack, StackSettings, tools
from infra.stack.jars import complete
from infra.stack.settings import REPOSITORY
from tests.e2e.connect_desk import Desk, desk_in
from tests.e2e.mariadb_world import World, written_to
from tests.ports import free_ports

NewStack = Callable[[str], Stack]

JARS: Final = REPOSITORY / ".tailrace" / "stack" / "jars"
"""The checkout's: fetched once, read by all."""

WORLDS: Final = {
    "shared": ("test_connect_", "test_stack", "test_topics_admin"),
    "reindex": ("test_reindex",),
    "promotion": ("test_promotion",),
    "faults": ("test_faults",),
    "mariadb": ("test_mariadb_", "test_database_identity"),
}
"""How the names of files begin whose tests run in one process, in this order: on one stack, or long, so that
none of these begins last and is waited for alone. Any other file is a world of its own."""

FIXTURES: Final = {"new_stack": "shared", "mariadb": "mariadb"}
"""Those of the session, which belong to one world: in another one they would be made a second time."""


class WorldScheduling(LoadFileScheduling):
    """Hands out whole worlds, in the order of the collection."""

    def _split_scope(self, nodeid: str) -> str:
        return world_of(Path(nodeid.split("::", 1)[0]))


def world_of(file: Path) -> str:
    return next((world for world, names in WORLDS.items() if file.name.startswith(names)), file.stem)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> WorldScheduling:
    config.option.loadscopereorder = False  # by the number of tests, which says nothing of how long they take
    return WorldScheduling(config, log)


def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """What is missing on the machine is installed once, before several processes look for it."""
    try:
        tools.find(
            need_mvn=not complete(JARS, mariadb=True),
            need_mariadb=True,
            say=config.get_terminal_writer().line,
        )
    except ConfigurationError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {world: rank for rank, world in enumerate(WORLDS)}
    mine = [item for item in items if Path(__file__).parent in item.path.parents]
    mine.sort(key=lambda item: ranks.get(world_of(item.path), len(ranks)))
    items[:] = [*(item for item in items if item not in mine), *mine]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for fixture, world in FIXTURES.items():
        if fixture in getattr(item, "fixturenames", ()) and world_of(item.path) != world:
            pytest.fail(f"{item.nodeid} uses {fixture}: name its file in WORLDS[{world!r}]", pytrace=False)


@pytest.fixture(scope="session")
def new_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewStack]:
    """Makes stacks that are not started yet, with free ports; at the end all are stopped and removed."""
    made: list[Stack] = []

    def make(name: str) -> Stack:
        directory = tmp_path_factory.mktemp(name) / "stack"
        stack = Stack(StackSettings(directory, Ports(*free_ports(5)), jars=JARS))
        made.append(stack)
        return stack

    yield make
    for stack in made:
        stack.down()
        stack.clean()


@pytest.fixture(scope="session")
def stack(new_stack: NewStack) -> Stack:
    """Postgres with the sample shop, Kafka, and Connect with the connector running. Tailrace is not started.

    Shared by all tests of its world: one that kills a piece calls `stack.up(with_tailrace=False)` after.
    """
    made = new_stack("shared")
    made.up(with_tailrace=False)
    return made


@pytest.fixture
def desk(stack: Stack, tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path, stack) as made:
        yield made


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One stack for all files on MariaDB, which are a world; it ends with the process that plays it."""
    with written_to(tmp_path_factory.mktemp("mariadb") / "stack") as made:
        yield made
