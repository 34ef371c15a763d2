"""Whose wish stands, out of the order of the generations topic alone. Pure.

Kafka has no compare-and-set, but one order. A wish says on which position of the topic it was decided; it
stands if no other one for its document came in between. So every reader finds the same ones, and whoever
came second knows what to put back: never what somebody else takes back too.

Records of workers and of older releases do not say what they were decided on, and stand. What is put back
says PUT_BACK, and does not stand itself: its original does, unless compaction has taken that.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ingest.generations import Generation, Pointer, dropped, encode_record
from ingest.registry import Wish

PUT_BACK: Final = -1
"""What it was decided on: nothing came before that."""


def standing(wishes: Sequence[Wish]) -> list[Wish]:
    """Of one document's wishes in their order those that nobody was faster than."""
    before = [-1, *(at for at, _ in wishes)]
    return [
        (at, wish)
        for previous, (at, wish) in zip(before, wishes, strict=False)
        if wish.decided is None or previous < wish.decided
    ]


def put_back(wishes: Sequence[Wish], offset: int) -> Generation | Pointer | None:
    """What is to be written now that the wish at `offset` does not stand; None if that is there already.

    `wishes`: all of its document. A generation that was dropped stays dropped, and one that nobody wished
    for before is dropped.
    """
    record = next(wish for at, wish in wishes if at == offset)
    key = encode_record(record)[0]
    same = [(at, wish) for at, wish in wishes if encode_record(wish)[0] == key]
    gone = [wish for _, wish in same if isinstance(wish, Generation) and wish.status == "dropped"]
    stand = [wish for _, wish in standing(wishes) if encode_record(wish)[0] == key]
    copies = [wish for at, wish in same if at < offset and wish.decided == PUT_BACK]
    found = gone or stand or copies
    if found:
        wanted = replace(found[-1], decided=PUT_BACK)
    elif isinstance(record, Generation):
        wanted = dropped(record)
    else:
        wanted = Pointer(record.document, record.previous or 0, None, record.at, decided=PUT_BACK)
    return None if wanted == same[-1][1] else wanted
