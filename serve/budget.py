"""Shares a token budget out over history, state rows and passages, and never exceeds it. Pure.

System prompt and question are not cut: a question that does not fit by itself is refused. What is
left goes to history and state rows, a quarter each at most while others need it, and to the passages.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from core.errors import LimitError
from retrieve.model import Hit, Rows
from serve.prompt import Message
from serve.sentences import sentence_ends
from serve.tokens import MOST_CHARACTERS_PER_TOKEN, PER_MESSAGE, TokenCount

SHARE: Final = 4
"""History and state rows get at most one part in so many, while passages need the rest."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a prompt is made of, besides system prompt and question.

    `history` oldest first, `state` rows in the order of their view (newest first, as a rule),
    `passages` best first.
    """

    history: tuple[Message, ...] = ()
    state: Mapping[str, Rows] = field(default_factory=dict)
    passages: tuple[Hit, ...] = ()


Measure: TypeAlias = Callable[[Parts], int]
"""Tokens of the whole prompt made of these parts."""


def fit(parts: Parts, capacity: int, measure: Measure) -> Parts:
    """The most of `parts` whose prompt has at most `capacity` tokens.

    Dropped first: the oldest messages, the last rows of each view, the worst passages; the last
    passage that is kept may end early, at the end of a sentence. LimitError if the question alone
    is too long.
    """
    if measure(parts) <= capacity:
        return parts
    bare = Parts(state=dict.fromkeys(parts.state, ()))
    least = measure(bare)
    if least > capacity:
        raise LimitError(
            f"the question takes {least} tokens with its instructions, and the model {capacity}: ask for less"
        )
    share = least + (capacity - least) // SHARE
    rows = _most(_longest(parts), lambda n: measure(_state(bare, parts, n)) <= share)
    made = _state(bare, parts, rows)
    share = measure(made) + (capacity - least) // SHARE
    turns = _most(len(parts.history), lambda n: measure(_history(made, parts, n)) <= min(share, capacity))
    made = _history(made, parts, turns)
    kept = _most(len(parts.passages), lambda n: measure(_passages(made, parts, n)) <= capacity)
    made = _passages(made, parts, kept)
    if kept < len(parts.passages):
        made = _shortened(made, parts.passages[kept], capacity, measure)
    # What the passages left over.
    rows = _most(_longest(parts), lambda n: measure(_state(made, parts, n)) <= capacity, rows)
    made = _state(made, parts, rows)
    turns = _most(len(parts.history), lambda n: measure(_history(made, parts, n)) <= capacity, turns)
    made = _history(made, parts, turns)
    return made if measure(made) <= capacity else bare


def newest(history: Sequence[Message], capacity: int, count: TokenCount) -> tuple[Message, ...]:
    """The last messages that take at most `capacity` tokens by themselves, so that no more are rendered.

    Reads no further back, and nothing of a message that is too long however its text may read.
    """
    left = capacity
    for at in range(len(history) - 1, -1, -1):
        content = history[at].content
        if len(content) // MOST_CHARACTERS_PER_TOKEN <= left:
            left -= count(content) + PER_MESSAGE
        else:
            left = -1
        if left < 0:
            return tuple(history[at + 1 :])
    return tuple(history)


def _most(limit: int, fits: Callable[[int], bool], least: int = 0) -> int:
    """The largest n from `least` to `limit` that fits, by halving; `least` is taken to fit."""
    low, high = least, limit
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _longest(parts: Parts) -> int:
    return max((len(rows) for rows in parts.state.values()), default=0)


def _state(made: Parts, parts: Parts, count: int) -> Parts:
    return replace(made, state={view: rows[:count] for view, rows in parts.state.items()})


def _history(made: Parts, parts: Parts, count: int) -> Parts:
    return replace(made, history=parts.history[len(parts.history) - count :])


def _passages(made: Parts, parts: Parts, count: int) -> Parts:
    return replace(made, passages=parts.passages[:count])


def _shortened(made: Parts, hit: Hit, capacity: int, measure: Measure) -> Parts:
    """With as many whole sentences of the next passage as fit; unchanged if none does."""
    texts = [hit.text[:end] for end in sentence_ends(hit.text)]
    cut = [replace(made, passages=(*made.passages, replace(hit, text=text))) for text in texts]
    count = _most(len(cut), lambda n: n == 0 or measure(cut[n - 1]) <= capacity)
    return cut[count - 1] if count else made
