"""What commands print of a running service, and the exit codes that scripts rely on."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from retrieve.model import Evidence, Freshness, Question
from serve.http.app import create_app
from serve.http.server import bind, serve_http
from serve.llm import ScriptedLlm
from serve.services import Services
from serve.twins import FRESH, MemoryRetrieval, passage, word_similarity
from tests.unit import cli_hands, http_world
from tests.unit.cli_hands import Done

LOST = replace(FRESH, source_status={"shop": "unreachable"})
UNSEEN = replace(FRESH, index_lag_ms=None, state_lag_ms=None)
LATE = replace(FRESH, reached_min_position=False)


class Fixed(MemoryRetrieval):
    """Evidence of one freshness."""

    def __init__(self, said: Freshness) -> None:
        view = http_world.view("103")
        super().__init__(
            (passage("103", "Dogs and treats are welcome in our shops."),), {}, {("articles", "103"): view}
        )
        self._said = said

    async def retrieve(self, question: Question) -> Evidence:
        return replace(await super().retrieve(question), freshness=self._said)

    async def now(self) -> Freshness:
        return self._said


@contextmanager
def served(said: Freshness) -> Iterator[str]:
    """The address of a service that answers with it."""
    over, llm = Fixed(said), ScriptedLlm(["Dogs are welcome [1]. Treats are welcome [1]."])
    services = Services(http_world.settings(), over, word_similarity, over, over, over, {"main": llm})
    ready, addresses = threading.Event(), list[str]()
    loop, stopping = asyncio.new_event_loop(), asyncio.Event()

    async def run() -> None:
        server = await serve_http(create_app(services), bind("127.0.0.1", 0))
        addresses.append(f"http://127.0.0.1:{server.port}")
        ready.set()
        await stopping.wait()
        await server.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield addresses[0]
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(10)
        loop.close()


def tailrace(url: str, *arguments: str) -> Done:
    return cli_hands.tailrace(*arguments, "--url", url)


@pytest.mark.parametrize(
    ("said", "bound", "code"),
    [(FRESH, "100", 0), (FRESH, "5", 3), (LOST, "100", 3), (LOST, None, 0), (UNSEEN, "100", 3)],
)
def test_fresh_within_a_bound_is_only_what_somebody_can_say(
    said: Freshness, bound: str | None, code: int
) -> None:
    with served(said) as url:
        done = tailrace(url, "freshness", *(["--within-ms", bound] if bound else []))
    assert done.returncode == code, done.stderr
    assert said.source_status["shop"] in done.stdout
    assert "2023-11-14T22:13:20.000Z" in done.stdout


def test_an_answer_names_each_document_once_and_a_lost_source() -> None:
    with served(LOST) as url:
        done = tailrace(url, "query", "Are dogs welcome?", "-p", "written")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("[1]") == 2
    assert done.stderr.count("[1] articles/103") == 1
    assert "shop cannot be asked" in done.stderr


@pytest.mark.parametrize("how", [(), ("--no-llm",), ("--explain",), ("--json",)])
def test_an_answer_of_before_the_position_is_exit_3(how: tuple[str, ...]) -> None:
    arguments = ("query", "Are dogs welcome?", "-p", "support", "--min-position", "0/FF", *how)
    with served(LATE) as url:
        done = tailrace(url, *arguments)
    assert done.returncode == 3, done.stderr
    if how == ("--json",):
        assert json.loads(done.stdout)["tailrace"]["freshness"]["reached_min_position"] is False


def test_a_document_is_shown_for_people() -> None:
    with served(FRESH) as url:
        done = tailrace(url, "doc", "show", "articles", "103")
    assert done.returncode == 0, done.stderr
    assert "committed_at  1970-01-01T00:00:00.001Z" in done.stdout
    assert "None" not in done.stdout
    assert "[]" not in done.stdout
