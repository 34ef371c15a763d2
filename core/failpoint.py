"""Places where a test may kill the process: `TAILRACE_FAILPOINT=after_upsert:3` at the third passing."""

import os
import signal
from collections.abc import Callable
from typing import Final

VARIABLE: Final = "TAILRACE_FAILPOINT"


def from_environment(setting: str | None = None) -> Callable[[str], None]:
    """What is called by name between effects. Does nothing unless the variable is set."""
    wanted = os.environ.get(VARIABLE, "") if setting is None else setting
    if not wanted:
        return lambda _: None
    name, _, count = wanted.partition(":")
    left = int(count or 1)

    def passing(place: str) -> None:
        nonlocal left
        if place == name:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return passing


failpoint: Final = from_environment()
