"""Ports for the servers that tests start."""

import itertools
import os
import random
from typing import Final

from infra.stack.ports import is_free

_BELOW_EPHEMERAL: Final = (20_000, 32_000)
"""Below the range from which the kernel gives outgoing connections theirs: a client that keeps dialling
a server that was killed would be given the server's own port, and talk to itself."""

_given: Final = set[int]()


def free_ports(count: int) -> list[int]:
    """That many ports that are free now, and are given to nobody else in this run of the tests.

    A server that a test has killed does not hold its port: another test that drew a free one at that
    moment would take it for good. So each process of the run draws from a share of its own.
    """
    first, end = share(os.environ.get("PYTEST_XDIST_WORKER"), os.environ.get("PYTEST_XDIST_WORKER_COUNT"))
    candidates = random.SystemRandom().sample(range(first, end), end - first)
    found = itertools.islice((port for port in candidates if port not in _given and is_free(port)), count)
    ports = list(found)
    _given.update(ports)
    return ports


def share(worker: str | None, workers: str | None) -> tuple[int, int]:
    """The first port of this process and the one after its last; `worker` as pytest-xdist names it: gw0."""
    first, end = _BELOW_EPHEMERAL
    if worker is None or workers is None:
        return first, end
    width = (end - first) // int(workers)
    begin = first + int(worker.removeprefix("gw")) * width
    return begin, begin + width
