"""What a state reader says when the broker leaves while it reads on."""

import asyncio
from typing import Any, NoReturn

import pytest
from aiokafka.errors import KafkaConnectionError

from core.errors import TransientError
from core.state_reader import StateReader


class Away:
    """A consumer whose broker has gone."""

    async def end_offsets(self, partitions: Any) -> NoReturn:
        raise KafkaConnectionError(f"no node for {len(partitions)}")

    async def stop(self) -> None:
        """Nothing to stop."""


def test_a_broker_that_leaves_is_waited_for_like_any_other() -> None:
    async def test() -> None:
        reader = StateReader(["broker:1"], ["app.state"], on_rows=lambda *_: None, on_error=lambda _: None)
        with pytest.raises(TransientError, match="has stopped"):
            await reader.caught_up()
        reader._consumer = Away()
        with pytest.raises(TransientError, match=r"topic app\.state at broker:1: .*try again"):
            await reader.caught_up()

    asyncio.run(test())
