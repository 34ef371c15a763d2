"""The real stack, for every end-to-end test: the same code as `make up`, in a folder of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.stack import Ports, Stack, StackSettings
from infra.stack.ports import free_ports
from infra.stack.settings import REPOSITORY
from tests.e2e.connect_desk import Desk, desk_in
from tests.e2e.mariadb_world import World, written_to

NewStack = Callable[[str], Stack]


@pytest.fixture(scope="session")
def new_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewStack]:
    """Makes stacks that are not started yet, with free ports; at the end all are stopped and removed."""
    made: list[Stack] = []

    def make(name: str) -> Stack:
        directory = tmp_path_factory.mktemp(name) / "stack"
        # The jars are the checkout's: fetched once, read by all.
        jars = REPOSITORY / ".tailrace" / "stack" / "jars"
        stack = Stack(StackSettings(directory, Ports(*free_ports(5)), jars=jars))
        made.append(stack)
        return stack

    yield make
    for stack in made:
        stack.down()
        stack.clean()


@pytest.fixture(scope="session")
def stack(new_stack: NewStack) -> Stack:
    """Postgres with the sample shop, Kafka, and Connect with the connector running. Tailrace is not started.

    Shared by the whole session: a test that kills a piece calls `stack.up(with_tailrace=False)` after.
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
    """One stack for all files on MariaDB; it ends with the last of them, or with the session."""
    with written_to(tmp_path_factory.mktemp("mariadb") / "stack") as made:
        yield made
