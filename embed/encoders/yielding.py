"""Threads that leave the cores to others.

Making vectors of documents takes all cores for as long as there is something to do. Questions, and all that
a change has to pass on its way, take them for a millisecond at a time, and somebody waits for that.
"""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

Made = TypeVar("Made")

NICE: Final = 10
"""Beside the process's own priority, 19 in all at most. A thread that never rests then leaves such a one
a tenth of the core: nothing stands still."""


def yielding(make: Callable[[], Made]) -> Made:
    """What `make` gives. The threads that it starts, a library's own too, come after the process's others.

    Linux: there, a thread has a priority of its own, and those that it starts inherit it. Elsewhere
    all are alike.
    """
    with ThreadPoolExecutor(1, "yielding", initializer=_yield) as one:
        return one.submit(make).result()


def _yield() -> None:
    if sys.platform == "linux":
        me = threading.get_native_id()
        with suppress(OSError):  # a sandbox may forbid it; it is no more than a courtesy
            os.setpriority(os.PRIO_PROCESS, me, os.getpriority(os.PRIO_PROCESS, me) + NICE)
