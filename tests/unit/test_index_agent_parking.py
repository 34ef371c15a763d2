"""A batch that is done but for its dead letters, which cannot be set aside now."""

from collections.abc import Sequence

from core.errors import TransientError
from core.keys import RowKey
from core.state import StateRow
from ingest.dead_letters import DeadLetter
from tests.unit.index_agent_world import World, row


class Refusing(World):
    """The dead letters' topic is away for so many tries."""

    refusals = 2

    async def park(self, letters: Sequence[DeadLetter]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise TransientError("the broker is away")


def test_a_batch_whose_letters_wait_is_counted_once() -> None:
    """Counted at each try, a few bad rows among good ones would stop the worker for a bad set-up."""
    world = Refusing()
    bad = [StateRow(RowKey.of({"id": number}), number, {"content": "of no column"}) for number in range(3)]
    world.take(*bad, *(row(number, number) for number in range(3, 10)), offset=0)
    assert world.refusals == 0
    assert list(world.agent._brake._refused) == [True] * 3 + [False] * 7
    assert world.agent.done.rows == 10
