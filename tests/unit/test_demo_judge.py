"""A step of the demo is right only if everything about its answer is."""

import pytest

from tailrace.demo.play import judge
from tailrace.demo.story import Change, Step

FRESH = {"reached_min_position": True}
STEP = Step(
    "edit",
    "told",
    "question?",
    Change("update", "articles", 1),
    says=("new",),
    silent=("old",),
    cites="articles/1",
    embeds=(1, 2),
)


def test_a_right_answer_has_nothing_wrong() -> None:
    assert judge(STEP, "the new text [1]", ("articles/1",), 2, FRESH) == []


@pytest.mark.parametrize(
    ("answer", "cited", "embedded", "fresh", "wrong"),
    [
        ("the text", ("articles/1",), 1, True, "does not say 'new'"),
        ("new and old", ("articles/1",), 1, True, "says 'old'"),
        ("new", ("articles/2",), 1, True, "does not cite articles/1"),
        ("new", ("articles/1",), 3, True, "cost 3 embeddings"),
        ("new", ("articles/1",), 0, True, "cost 0 embeddings"),
        ("new", ("articles/1",), 1, False, "before the change was covered"),
        ("new", ("articles/1",), 1, None, "before the change was covered"),
    ],
)
def test_each_wrong_is_named(
    answer: str, cited: tuple[str, ...], embedded: int, fresh: bool | None, wrong: str
) -> None:
    found = judge(STEP, answer, cited, embedded, {"reached_min_position": fresh})
    assert len(found) == 1
    assert wrong in found[0]


def test_an_unknown_answer_may_cite_nothing() -> None:
    step = Step("delete", "told", "question?", unknown=True)
    assert judge(step, "I do not know", (), 0, FRESH) == []
    assert judge(step, "I do not know", ("articles/1",), 0, FRESH)
    assert judge(step, "Seven days.", (), 0, FRESH)
