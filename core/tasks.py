"""Tasks that go on behind everything else, and die unheard by nobody."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""Not begun yet: one that is cancelled before it begins leaves nothing behind."""


def background(work: Work, on_fatal: Callable[[BaseException], None], *, name: str) -> asyncio.Task[None]:
    """A task of this work. What it does not foresee is handed to `on_fatal`, whose owner ends the process."""

    async def guarded() -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - handed to the owner
            on_fatal(error)

    return asyncio.create_task(guarded(), name=name)
