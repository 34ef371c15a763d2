"""`tailrace demo`: sets the stage, plays the story, then keeps serving until Ctrl-C."""

import asyncio
import json
import shutil
import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any, Final

import httpx2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from core.clock import SystemClock
from core.errors import ConfigurationError
from core.settings import Settings
from core.telemetry import configure_logging
from embed.indexes.room import RESERVE
from tailrace.configuration import load
from tailrace.demo.act import Act, Reindexed
from tailrace.demo.play import VISIBLE_SECONDS, Player, Result
from tailrace.demo.shop import load_shop
from tailrace.demo.source import DemoSource
from tailrace.demo.story import AGAIN, STORY, Step
from tailrace.runtime import Runtime, start_patiently, stop_on_signals

SOURCE = "shop"
LOOPBACK = "127.0.0.1"
TITLE = "Tarn & Trail, the sample shop"

ROOM: Final = RESERVE + (128 << 20)
"""Bytes free at the start: the story takes 93 MB, and the index asks for its reserve before each write."""


def run_demo(
    *,
    once: bool,
    as_json: bool,
    port: int,
    story: Sequence[Step] = STORY,
    reindex: bool = True,
    patience_seconds: float = VISIBLE_SECONDS,
) -> bool:
    """Whether every step was right. Messages on stderr, the JSON report on stdout.

    `reindex`: with the last act. A change that cannot be seen after `patience_seconds` is judged as it is.
    """
    configure_logging("ERROR")
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        console.soft_wrap = True  # a file or a pipe has no width to break lines at
    with tempfile.TemporaryDirectory(prefix="tailrace-demo-") as folder:
        require_room(folder, shutil.disk_usage(folder).free)
        free = usable(LOOPBACK, port)
        if free != port:
            console.print(f"port {port} is taken: taking a free one")
        settings = demo_settings(Path(folder), free)
        stage = _Stage(settings, story, console, patience_seconds, reindex=reindex)
        return asyncio.run(stage.play(once=once, as_json=as_json))


def require_room(folder: str, free: int) -> None:
    """Raises ConfigurationError where the disk has less: the story would stand still in its middle."""
    if free < ROOM:
        raise ConfigurationError(
            f"the demo keeps its index in {folder}, whose disk has {free >> 20} MB free and it needs"
            f" {ROOM >> 20}: make room, or set TMPDIR to a folder on another disk"
        )


def usable(host: str, port: int) -> int:
    """`port`, or 0, any free one, where another program has it: the demo has no users to disappoint."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return 0
    return port


def demo_settings(folder: Path, port: int) -> Settings:
    """The demo's configuration, with its index in `folder`."""
    file = folder / "tailrace.yaml"
    packaged = resources.files("tailrace.demo").joinpath("tailrace.yaml").read_text(encoding="utf-8")
    file.write_text(packaged, encoding="utf-8")
    return load(file, {"TAILRACE_SERVE__PORT": str(port)}).settings


class _Stage:
    """One performance."""

    def __init__(
        self, settings: Settings, story: Sequence[Step], console: Console, patience: float, *, reindex: bool
    ) -> None:
        self._settings, self._story, self._console = settings, story, console
        self._patience, self._reindex = patience, reindex
        self._source = DemoSource(SOURCE, settings.sources[SOURCE], SystemClock())
        self._results: list[Result] = []
        self._act: Act | None = None

    async def play(self, *, once: bool, as_json: bool) -> bool:
        """Whether all was right. KeyboardInterrupt where a signal ended it before the end."""
        stopping = stop_on_signals()
        runtime = Runtime(self._settings, worker=True, service=True, positions=self._source)
        try:
            await start_patiently(runtime, stopping)
            if not stopping.is_set():
                await self._tell_until(runtime, stopping)
            if as_json:
                sys.stdout.write(json.dumps(self._report(), ensure_ascii=False, indent=2) + "\n")
                sys.stdout.flush()
            if not once and not stopping.is_set():
                _say_how_to_go_on(runtime.url, self._console)
                await stopping.wait()
                self._console.print("stopping")
        finally:
            await self._source.stop()
            await runtime.stop()
        if len(self._results) < len(self._steps()):
            raise KeyboardInterrupt
        return bool(self._report()["ok"])

    def _steps(self) -> list[Step]:
        return [*self._story, *(AGAIN if self._reindex else ())]

    def _report(self) -> dict[str, Any]:
        return report(self._results, None if self._act is None else self._act.found)

    async def _tell_until(self, runtime: Runtime, stopping: asyncio.Event) -> None:
        await self._source.start(runtime.brokers)
        async with httpx2.AsyncClient(base_url=runtime.url, timeout=60.0, trust_env=False) as client:
            telling = asyncio.ensure_future(self._tell(runtime, client))
            signalled = asyncio.ensure_future(stopping.wait())
            await asyncio.wait({telling, signalled}, return_when=asyncio.FIRST_COMPLETED)
            signalled.cancel()
            if not telling.done():
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)
            else:
                await telling

    async def _tell(self, runtime: Runtime, client: httpx2.AsyncClient) -> None:
        shop, console = load_shop(), self._console
        player = Player(self._source, client, self._patience)
        counted = f"{len(shop.articles)} articles, {len(shop.products)} products"
        console.print(f"{TITLE}: {counted}, {len(shop.customers)} customers, {len(shop.orders)} orders.")
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        ) as bar:
            loading = bar.add_task("snapshot", total=None)
            await self._source.snapshot(
                {table: shop.rows(table) for table in ("articles", "products", "customers", "orders")}
            )
            await player.ready(lambda read, total: bar.update(loading, completed=read, total=total or None))
            playing = bar.add_task("story", total=len(self._steps()))
            for step in self._story:
                self._shown(step, await player.play(step))
                bar.advance(playing)
            if self._reindex:
                await self._last_act(runtime, client, player)
                bar.advance(playing, len(AGAIN))

    async def _last_act(self, runtime: Runtime, client: httpx2.AsyncClient, player: Player) -> None:
        console = self._console
        console.print(
            "\nThe cutter is changed: a new index is built while the old one answers.", style="bold"
        )
        self._act = act = Act(
            self._settings,
            list(runtime.brokers),
            client,
            say=lambda line: console.print(f"   {line}", markup=False),
            shown=self._shown,
        )
        await act.play(player)
        for wrong in act.found.wrong:
            console.print(f"   WRONG: {wrong}", style="bold red", markup=False)

    def _shown(self, step: Step, result: Result) -> None:
        self._results.append(result)
        _show(self._console, len(self._results), step, result)


def _show(console: Console, number: int, step: Step, result: Result) -> None:
    mark = "right" if result.ok else "WRONG"
    console.print(f"\n{number}. {step.told}", style="bold", markup=False)
    console.print(f"   ? {result.question}", markup=False)
    for line in result.answer.strip().splitlines():
        console.print(f"   > {line}", markup=False)
    if result.citations:
        console.print(f"   cites {', '.join(dict.fromkeys(result.citations))}", markup=False)
    facts = [mark]
    if result.freshness_ms is not None:
        facts += [
            f"searchable {result.freshness_ms:.0f} ms after the commit",
            f"{result.embedded} embedded, {result.reused} reused",
        ]
    facts += [f"it {wrong}" for wrong in result.wrong]
    console.print(f"   {'; '.join(facts)}", style="green" if result.ok else "bold red", markup=False)


def report(results: Sequence[Result], reindexed: Reindexed | None) -> dict[str, Any]:
    """What `--json` prints."""
    wrong = reindexed.wrong if reindexed is not None else []
    return {
        "ok": bool(results) and all(result.ok for result in results) and not wrong,
        "steps": [asdict(result) for result in results],
        "reindex": None if reindexed is None else asdict(reindexed),
    }


def _say_how_to_go_on(url: str, console: Console) -> None:
    ask = '{"model": "support", "messages": [{"role": "user", "content": "How long is a gift card valid?"}]}'
    search = '{"query": "warm sleeping bag for winter", "profile": "support", "top_k": 3}'
    console.print(f"\nServing at {url} until Ctrl-C. Try:", style="bold")
    console.print(
        f"  curl -s {url}/v1/chat/completions -H 'content-type: application/json' -d '{ask}'",
        markup=False,
        soft_wrap=True,
    )
    console.print(
        f"  curl -s {url}/v1/search -H 'content-type: application/json' -d '{search}'",
        markup=False,
        soft_wrap=True,
    )
