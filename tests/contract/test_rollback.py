"""A rollback through a log (embedded): at once where its target is level, else refused with the reason."""

import asyncio
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from core.clock import SystemClock
from core.errors import TransientError
from ingest.generations import Aliased, Pointer, Report
from tailrace.cli import run
from tailrace.reindex import decide
from tailrace.reindex.control import Control
from tests.contract.control_world import FIRST, fill, in_log, obey, record, seen, settings

pytestmark = pytest.mark.timeout(120)

PROMOTED = (replace(FIRST, number=2), Pointer("articles", 2, 1), Aliased("articles", 2))
WHY = "128 of the last 128 records could not be applied"


def report(offsets: dict[int, int], waiting: str | None = None) -> Report:
    return Report("articles", 1, "w", SystemClock().now_ms(), offsets=offsets, waiting=waiting)


async def rolled_back(brokers: list[str], folder: Path, seconds: float = 20.0) -> tuple[int, str]:
    """Exit code and messages of the command."""
    config = folder / "tailrace.yaml"
    config.write_text(settings(brokers).model_dump_json(exclude_none=True))
    said = StringIO()

    def command() -> int:
        with redirect_stderr(said), redirect_stdout(StringIO()):
            return run(["reindex", "rollback", "articles", "-c", str(config), "--timeout", str(seconds)])

    return await asyncio.to_thread(command), said.getvalue()


def test_to_one_that_waits_is_refused_with_what_it_waits_for_and_nothing_is_wished(tmp_path: Path) -> None:
    async def test(brokers: list[str]) -> None:
        await fill(brokers, 300)
        await record(brokers, *PROMOTED, report({0: 150, 1: 149}, WHY))  # one record, and no further
        code, said = await rolled_back(brokers, tmp_path, seconds=0.5)
        assert code == 1
        told, refused = said.strip().splitlines()
        assert told == f"generation 1 is 1 records behind and waits: {WHY}: waiting up to 0 s for it"
        assert "nothing was changed" in refused
        assert WHY in refused
        async with Control(settings(brokers)) as control:
            assert [at for at, wish in control._tail.wishes if wish == Pointer("articles", 1, 2)] == []
            assert control.registry.pointers["articles"] == Pointer("articles", 2, 1)

    in_log(test)


def test_to_one_that_is_level_is_at_once_and_to_one_behind_when_it_is_level(tmp_path: Path) -> None:
    async def test(brokers: list[str]) -> None:
        await fill(brokers, 300)
        await record(brokers, *PROMOTED, report({0: 150, 1: 150}))
        worker = asyncio.create_task(obey(brokers))
        code, said = await rolled_back(brokers, tmp_path)
        await worker
        assert (code, said.count("\n")) == (0, 1)
        assert said.startswith("articles: generation 1 answers (")

        await record(brokers, *PROMOTED, report({0: 150, 1: 10}, WHY))
        worker = asyncio.create_task(obey(brokers))
        rolling = asyncio.create_task(rolled_back(brokers, tmp_path))
        async with Control(settings(brokers)) as control:
            await control._tail.changed(0.5)
            assert control.registry.pointers["articles"].live == 2
        await record(brokers, report({0: 150, 1: 150}))
        code, said = await rolling
        await worker
        assert (code, said.count("\n")) == (0, 2)

    in_log(test)


def test_a_worker_that_has_no_part_of_it_holds_nobody_up() -> None:
    async def test(brokers: list[str]) -> None:
        await fill(brokers, 300)
        other = replace(report({}, "another processor"), worker="w2")
        await record(brokers, *PROMOTED, report({0: 150, 1: 149}), other)
        async with Control(settings(brokers)) as control:
            assert (await control.drained(FIRST, 0.1)).lag == 1

    in_log(test)


def test_what_was_wished_meanwhile_is_not_rolled_back() -> None:
    async def test(brokers: list[str]) -> None:
        await record(brokers, *PROMOTED)
        async with Control(settings(brokers)) as control:
            pointer = decide.rollback(control.registry, "articles", 1)
            await record(brokers, replace(FIRST, number=3), Pointer("articles", 3, 2))
            await seen(control, lambda: control.registry.pointers["articles"].live == 3)
            with pytest.raises(TransientError, match="somebody else has just changed"):
                decide.still(pointer, control.registry, 2)

    in_log(test)
