"""A reindex: how fast a generation is filled, and what that costs those who wait for an edit."""

from typing import Final

import uvloop

from infra.stack import Stack
from tests.bench import reindex_filling, reindex_live

ROWS: Final = 150
NEW_ROWS: Final = 120
"""Of one round with a new model: some 4,500 chunks, 20 s. The last batch waits 0.2 s for more rows, and the
first ones are short."""

ROUNDS: Final = 3
EDITS: Final = 300
"""A side, in turns."""

FILLERS: Final = 500
"""Articles that a reindex has to embed meanwhile, of ten chunks or so."""


def run(
    stack: Stack, edits: int = EDITS, rows: int = ROWS, new_rows: int = NEW_ROWS, rounds: int = ROUNDS
) -> dict[str, object]:
    """Figures by name. The broker's part first, with everything else of the stack stopped."""
    stack.tailrace.stop()
    stack.connect.stop()
    brokers = [stack.brokers]
    figures: dict[str, object] = {}
    figures |= uvloop.run(reindex_filling.replay(brokers, rows, rounds))
    figures |= uvloop.run(reindex_filling.new_model(brokers, new_rows, rounds))
    stack.up()
    return figures | reindex_live.live_edits(stack, edits, FILLERS if edits >= EDITS else 60)
