"""Commands that are interrupted, or whose broker goes away: what is taken back, and what is said."""

import asyncio
import os
import pty
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from signal import SIGINT

import pytest

from core.errors import TransientError
from ingest.generations import Aliased, Pointer
from ingest.registry import RegistryWriter
from tailrace.reindex.control import Control
from tailrace.reindex.fencing import PUT_BACK
from tests.contract.control_world import FIRST, Late, fill, in_log, outcome, record, seen, settings

pytestmark = pytest.mark.timeout(120)


class Failing:
    """A writer whose broker is away from the given write on, once it has appended it or before."""

    def __init__(self, writer: RegistryWriter, at: int, *, appended: bool) -> None:
        self._writer, self._left, self._appended = writer, at, appended

    async def write(self, records: Sequence[tuple[bytes, bytes | None]]) -> list[int]:
        self._left -= 1
        offsets = await self._writer.write(records) if self._left > 0 or self._appended else []
        if self._left <= 0:
            raise TransientError("no broker answers")
        return offsets

    async def stop(self) -> None:
        await self._writer.stop()


@pytest.mark.parametrize(("at", "appended"), [(1, True), (2, False)])
def test_where_kafka_goes_away_the_wish_is_said_to_stand_perhaps(at: int, appended: bool) -> None:
    """Once it was appended, or as it was to be taken back."""

    async def test(brokers: list[str]) -> None:
        await record(brokers, replace(FIRST, number=2))
        async with Control(settings(brokers)) as control:
            control._writer = Failing(control._writer, at, appended=appended)  # type: ignore[assignment]
            with pytest.raises(TransientError, match=r"no broker.* may stand all the same.*reindex ls"):
                await control.move(Pointer("articles", 2, 1, 5), 0.2)
        async with Control(settings(brokers)) as control:
            assert control.registry.pointers["articles"].live == 2

    in_log(test)


def test_a_record_that_cannot_be_read_back_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tailrace.reindex.control.RECORDED_SECONDS", 0.2)

    async def test(brokers: list[str]) -> None:
        await record(brokers, replace(FIRST, number=2))
        async with Control(settings(brokers)) as control:
            assert control._tail._task is not None
            control._tail._task.cancel()
            with pytest.raises(TransientError, match=r"may stand all the same.*reindex ls"):
                await control.move(Pointer("articles", 2, 1, 5), 20.0)

    in_log(test)


def test_an_interrupted_promotion_takes_its_wish_back() -> None:
    async def test(brokers: list[str]) -> None:
        await record(brokers, replace(FIRST, number=2))
        async with Control(settings(brokers)) as control:
            moving = asyncio.create_task(control.move(Pointer("articles", 2, 1, 5), 20.0))
            await seen(control, lambda: control.registry.pointers["articles"].live == 2)
            moving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await moving
            assert control.registry.pointers["articles"] == Pointer("articles", 1)

    in_log(test)


class Slow:
    """A writer that stands still at its write of this number; `appended`: that arrives as it is stopped."""

    def __init__(self, writer: RegistryWriter, at: int, *, appended: bool) -> None:
        self._writer, self._left, self._appended = writer, at, appended
        self.stands_still = asyncio.Event()
        self._late: Sequence[tuple[bytes, bytes | None]] = ()

    async def write(self, records: Sequence[tuple[bytes, bytes | None]]) -> list[int]:
        self._left -= 1
        if self._left:
            return await self._writer.write(records)
        if self._appended:
            self._late = records
        self.stands_still.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def stop(self) -> None:
        late, self._late = self._late, ()
        await self._writer.write(late)
        await self._writer.stop()


def test_an_interrupted_promotion_takes_back_what_was_on_its_way_still() -> None:
    async def test(brokers: list[str]) -> None:
        await record(brokers, replace(FIRST, number=2))
        async with Control(settings(brokers)) as control:
            control._writer = slow = Slow(control._writer, 1, appended=True)  # type: ignore[assignment]
            moving = asyncio.create_task(control.move(Pointer("articles", 2, 1, 5), 20.0))
            await slow.stands_still.wait()
            moving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await moving
        async with Control(settings(brokers)) as control:
            assert control.registry.pointers["articles"] == Pointer("articles", 1)

    in_log(test)


def test_an_interrupted_promotion_leaves_the_wish_alone_that_was_faster() -> None:
    """It stood, and the interrupted command was about to put it back."""

    async def test(brokers: list[str]) -> None:
        await record(brokers, replace(FIRST, number=2), replace(FIRST, number=3))
        async with Control(settings(brokers)) as control:
            slow = Slow(control._writer, 2, appended=False)
            control._writer = Late(slow, brokers, Pointer("articles", 3, 1, 6))  # type: ignore[assignment,arg-type]
            moving = asyncio.create_task(control.move(Pointer("articles", 2, 1, 5), 20.0))
            await slow.stands_still.wait()
            assert control.registry.pointers["articles"].live == 2
            moving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await moving
            assert control.registry.pointers["articles"].live == 3

    in_log(test)


def test_a_wish_is_taken_back_though_another_command_puts_it_back_meanwhile() -> None:
    async def test(brokers: list[str]) -> None:
        mine = Pointer("articles", 2, 1, 5)
        await record(brokers, replace(FIRST, number=2), replace(FIRST, number=3))
        async with Control(settings(brokers)) as control:
            moving = asyncio.create_task(outcome(control.move(mine, 0.5)))
            await seen(control, lambda: control.registry.pointers["articles"] == mine)
            other = [Pointer("articles", 3, 1, 6, decided=0), replace(mine, decided=PUT_BACK)]
            control._writer = Late(control._writer, brokers, *other)  # type: ignore[assignment]
            assert "the wish was taken back, generation 1 goes on" in await moving
            assert control.registry.pointers["articles"].live == 1

    in_log(test)


def test_ctrl_c_ends_the_waiting_and_not_the_work(tmp_path: Path) -> None:
    async def test(brokers: list[str]) -> None:
        await fill(brokers, 100)  # nobody covers them: it waits
        config = tmp_path / "tailrace.yaml"
        config.write_text(settings(brokers, "NEXT {{ body }}").model_dump_json(exclude_none=True))
        command = [sys.executable, "-m", "tailrace", "reindex", "start", "articles", "-c", str(config)]
        waiting = await asyncio.create_subprocess_exec(*command, stderr=PIPE, stdout=PIPE)
        assert waiting.stderr is not None
        begun = await waiting.stderr.readline()
        assert begun.startswith(b"generation 2 of articles begins: text changed")
        waiting.send_signal(SIGINT)
        out, said = await waiting.communicate()
        assert (waiting.returncode, out) == (130, b"")
        assert b"the workers go on with it: `tailrace reindex status articles --watch`" in said
        assert b"Traceback" not in said
        async with Control(settings(brokers)) as control:
            assert [one.number for one in control.registry.running()] == [1, 2]

    in_log(test)


def test_ctrl_c_takes_a_rollback_back_and_says_so(tmp_path: Path) -> None:
    async def test(brokers: list[str]) -> None:
        answers = Pointer("articles", 2, 1)
        await record(brokers, replace(FIRST, number=2), answers, Aliased("articles", 2))
        config = tmp_path / "tailrace.yaml"
        config.write_text(settings(brokers).model_dump_json(exclude_none=True))
        command = [sys.executable, "-m", "tailrace", "reindex", "rollback", "articles", "-c", str(config)]
        async with Control(settings(brokers)) as control:
            waiting = await asyncio.create_subprocess_exec(*command, stderr=PIPE, stdout=PIPE)
            await seen(control, lambda: control.registry.pointers["articles"].live == 1)
            waiting.send_signal(SIGINT)
            _, said = await waiting.communicate()
            assert b"the wish for generation 1 was taken back, generation 2 goes on answering" in said
            assert (waiting.returncode, b"Traceback" in said) == (130, False)
            await seen(control, lambda: control.registry.pointers["articles"] == answers)

    in_log(test)


def test_ctrl_c_ends_the_question_of_a_drop(tmp_path: Path) -> None:
    async def test(brokers: list[str]) -> None:
        await record(brokers, replace(FIRST, number=2))
        config = tmp_path / "tailrace.yaml"
        config.write_text(settings(brokers).model_dump_json(exclude_none=True))
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "tailrace", "reindex", "drop", "articles", "2", "-c", str(config)]
        asked = await asyncio.create_subprocess_exec(*command, stdin=theirs, stderr=theirs, stdout=PIPE)
        os.close(theirs)
        said = b""
        while b"Delete generation 2 of articles?" not in said:
            said += await asyncio.to_thread(os.read, ours, 1000)
        await ended(asked)
        os.close(ours)
        async with Control(settings(brokers)) as control:
            assert [one.number for one in control.registry.running()] == [1, 2]

    in_log(test)


def test_ctrl_c_ends_a_promotion_that_compares(tmp_path: Path) -> None:
    """However long the service is at it: nothing more is to come of it."""

    async def test(brokers: list[str]) -> None:
        await record(brokers, replace(FIRST, number=2))
        config = tmp_path / "tailrace.yaml"
        config.write_text(settings(brokers).model_dump_json(exclude_none=True))
        asked = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.set()
            await reader.read(-1)  # until the other end goes away
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        command = [sys.executable, "-m", "tailrace", "reindex", "promote", "articles", "-c", str(config)]
        comparing = await asyncio.create_subprocess_exec(*command, "--url", url, stderr=PIPE, stdout=PIPE)
        await asked.wait()
        await ended(comparing)
        server.close()

    in_log(test)


async def ended(command: Process) -> None:
    """By Ctrl-C, within seconds."""
    try:
        command.send_signal(SIGINT)
        async with asyncio.timeout(20):
            await command.communicate()
        assert command.returncode == 130
    finally:
        if command.returncode is None:
            command.kill()
            await command.communicate()
