"""The story that the demo plays: pure data. Each step changes a row, asks, and says what is right.

The answers are never written here: they come from the service over HTTP, and a step is right only
if the answer says what must be said, does not say what must not, and cost what it may cost.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from tailrace.demo.shop import Cell, Row

CUSTOMER: Final = 42
ORDER: Final = 5042
DOGS: Final = 103
AVALANCHE: Final = 124
TENT_GUIDE: Final = 118

DOGS_BEFORE: Final = "Dogs are welcome in all Tarn & Trail shops on a lead"
DOGS_AFTER: Final = "Dogs are welcome in every Tarn & Trail shop except Grenoble, on a lead"
EXTRA_SENTENCE: Final = "Marigold guy lines glow for about nine hours after one minute under a head torch."


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change. `edit` takes the row as it is and gives the columns to set."""

    kind: Literal["update", "delete"]
    table: str
    key: int
    edit: Callable[[Row], Row] = field(default=lambda _: {})


@dataclass(frozen=True, slots=True)
class Step:
    """Change, then ask. `says` must all stand in the answer, `silent` must not; `cites` must be cited.

    `unknown`: the right answer is that it does not know, without a citation. `embeds`: how many
    embeddings the change may cost, both ends included; None where nothing changed.
    """

    name: str
    told: str
    question: str
    change: Change | None = None
    state: Mapping[str, str] = field(default_factory=dict)
    says: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    cites: str | None = None
    unknown: bool = False
    embeds: tuple[int, int] | None = None


def _replace(column: str, old: str, new: str) -> Callable[[Row], Row]:
    def edit(row: Row) -> Row:
        text = _text(row[column])
        if old not in text:
            raise ValueError(f"the story edits {old!r}, which is not in the row")
        return {column: text.replace(old, new)}

    return edit


def _one_sentence_more(row: Row) -> Row:
    """Behind the first paragraph of a section in the middle of the guide."""
    body = _text(row["body"])
    at = body.index("\n\n", body.index("\n\n", body.index("\n## ", len(body) // 2)) + 2)
    return {"body": f"{body[:at]} {EXTRA_SENTENCE}{body[at:]}"}


def _text(value: Cell) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


MAY_I_BRING_A_DOG: Final = "Can I bring my dog into the shop?"
WHERE_IS_MY_ORDER: Final = f"Where is my order {ORDER}?"
LEND_A_TRANSCEIVER: Final = "How long can I borrow an avalanche transceiver?"
MINE: Final = {"orders_by_customer": str(CUSTOMER)}

STORY: Final = (
    Step(
        "ask",
        "A customer asks. The answer quotes an article and cites it.",
        MAY_I_BRING_A_DOG,
        says=(DOGS_BEFORE,),
        cites=f"articles/{DOGS}",
    ),
    Step(
        "edit",
        "Somebody edits that article in the database. The same question again.",
        MAY_I_BRING_A_DOG,
        Change("update", "articles", DOGS, _replace("body", DOGS_BEFORE, DOGS_AFTER)),
        says=(DOGS_AFTER,),
        silent=(DOGS_BEFORE,),
        cites=f"articles/{DOGS}",
        embeds=(1, 2),
    ),
    Step(
        "order",
        "Customer 42 asks for an order. The answer comes from the order's row.",
        WHERE_IS_MY_ORDER,
        state=MINE,
        says=(str(ORDER), "processing"),
    ),
    Step(
        "status",
        "The warehouse ships it: one column changes. No text does, so nothing is embedded.",
        WHERE_IS_MY_ORDER,
        Change(
            "update", "orders", ORDER, lambda _: {"status": "shipped", "updated_at": "2026-11-26T08:15:00Z"}
        ),
        state=MINE,
        says=(str(ORDER), "shipped"),
        silent=("processing",),
        embeds=(0, 0),
    ),
    Step(
        "lend",
        "Another question, another article.",
        LEND_A_TRANSCEIVER,
        says=("seven days",),
        cites=f"articles/{AVALANCHE}",
    ),
    Step(
        "delete",
        "That article is deleted. What was deleted is never cited: the answer is that it does not know.",
        LEND_A_TRANSCEIVER,
        Change("delete", "articles", AVALANCHE),
        silent=("seven days", "deposit"),
        unknown=True,
        embeds=(0, 0),
    ),
    Step(
        "append",
        "A guide of 3,000 words gets one sentence more. One or two chunks are embedded, not all.",
        "How long do Marigold guy lines glow?",
        Change("update", "articles", TENT_GUIDE, _one_sentence_more),
        says=(EXTRA_SENTENCE.removesuffix("."),),
        cites=f"articles/{TENT_GUIDE}",
        embeds=(1, 2),
    ),
)

AGAIN: Final = (
    Step(
        "promoted",
        "The articles were cut finer, into a new index beside the old one. Now the new one answers.",
        MAY_I_BRING_A_DOG,
        says=(DOGS_AFTER,),
        silent=(DOGS_BEFORE,),
        cites=f"articles/{DOGS}",
        embeds=(0, 0),
    ),
    Step(
        "rolled-back",
        "And back again, at once: the old index has followed every change.",
        MAY_I_BRING_A_DOG,
        says=(DOGS_AFTER,),
        silent=(DOGS_BEFORE,),
        cites=f"articles/{DOGS}",
        embeds=(0, 0),
    ),
)
"""What is asked in the last act, after each of its two moves."""
