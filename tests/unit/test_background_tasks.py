"""What goes on in the background: its failures are heard, its cancellation is none."""

import asyncio

import pytest

from core.tasks import background


async def _fail() -> None:
    await asyncio.sleep(0)
    raise KeyError("not foreseen")


def test_a_failure_is_handed_over_and_the_task_ends() -> None:
    heard: list[BaseException] = []

    async def run() -> str:
        task = background(_fail, heard.append, name="loop")
        await task
        return task.get_name()

    assert asyncio.run(run()) == "loop"
    assert [repr(error) for error in heard] == ["KeyError('not foreseen')"]


@pytest.mark.parametrize("begun", [False, True])
def test_a_cancelled_one_is_no_failure(*, begun: bool) -> None:
    heard: list[BaseException] = []

    async def run() -> None:
        running = asyncio.Event()

        async def work() -> None:
            running.set()
            await asyncio.Event().wait()

        task = background(work, heard.append, name="loop")
        if begun:
            await running.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert heard == []
