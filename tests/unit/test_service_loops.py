"""What goes on behind the query service: nothing of it may die unheard."""

import asyncio
from collections.abc import Mapping

from core.clock import SystemClock
from core.errors import TailraceError
from core.settings import Settings
from core.tasks import background
from embed.memory_index import MemoryIndex
from ingest.generations import Registry
from ingest.registry import RegistryTail
from tailrace.encoders import EncoderBook
from tailrace.service import Service

SETTINGS = Settings.model_validate(
    {
        "app": "shop",
        "index": {"kind": "memory"},
        "encoder": {"kind": "hashing", "dimensions": 8},
        "sources": {"shop": {"prefix": "shop", "tables": ["public.articles"]}},
        "documents": {"articles": {"table": "shop.public.articles", "text": "{{ body }}"}},
    }
)


class Broken(EncoderBook):
    def learn(self, registry: Registry) -> Mapping[str, TailraceError]:  # type: ignore[override]  # it fails
        raise RuntimeError(f"not foreseen, {len(registry.generations)} generations")


def test_an_unforeseen_failure_while_following_generations_ends_the_process() -> None:
    fatal: list[BaseException] = []

    async def play() -> None:
        service = Service(
            SETTINGS,
            ["127.0.0.1:9"],
            MemoryIndex(),
            Broken("shop", SETTINGS.encoder),
            RegistryTail("shop", ["127.0.0.1:9"]),
            {},
            positions=None,
            on_fatal=fatal.append,
            clock=SystemClock(),
        )
        async with asyncio.timeout(10):
            await background(service._follow_generations, service._on_fatal, name="a test")
        await service.stop()

    asyncio.run(play())
    assert [str(error) for error in fatal] == ["not foreseen, 0 generations"]
