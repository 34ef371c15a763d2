"""The real stack, for every end-to-end test: the same code as `make up`, in a folder of its own."""

from collections.abc import Callable, Iterator

import pytest

from infra.stack import Ports, Stack, StackSettings
from infra.stack.ports import free_ports
from infra.stack.settings import REPOSITORY

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


@pytest.fixture(scope="session")
def live_stack(stack: Stack) -> Stack:
    """The same with `tailrace dev` ready on `stack.http_url`."""
    stack.up()
    return stack
