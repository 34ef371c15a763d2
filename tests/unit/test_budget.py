"""The budget of a prompt."""

import pytest

from core.errors import LimitError
from retrieve.model import Hit, Rows
from serve.budget import Parts, fit, newest
from serve.prompt import Message
from serve.tokens import PER_MESSAGE, estimate
from serve.twins import passage


def words(parts: Parts) -> int:
    """Ten for system prompt and question, then a token a word."""
    texts = [m.content for m in parts.history]
    texts += [" ".join(str(v) for v in row.values()) for rows in parts.state.values() for row in rows]
    texts += [hit.text for hit in parts.passages]
    return 10 + sum(len(text.split()) for text in texts)


def text(count: int, sentence: int = 5) -> str:
    return " ".join(
        f"{'X' if n % sentence == 0 else 'x'}{n}{'.' if n % sentence == sentence - 1 else ''}"
        for n in range(count)
    )


def hits(*lengths: int) -> tuple[Hit, ...]:
    return tuple(passage(str(n), text(length)) for n, length in enumerate(lengths))


def test_what_fits_is_left_alone() -> None:
    parts = Parts((Message("user", text(5)),), {"v": ({"a": text(5)},)}, hits(20, 20))
    assert fit(parts, 60, words) == parts


def test_the_worst_passages_go_first_and_the_last_one_ends_at_a_sentence() -> None:
    made = fit(Parts(passages=hits(20, 20, 20)), 48, words)
    assert [len(hit.text.split()) for hit in made.passages] == [20, 15]
    assert made.passages[1].text.endswith(".")


def test_no_sentence_that_fits_no_passage() -> None:
    made = fit(Parts(passages=(*hits(20), passage("1", text(20, 50)))), 40, words)
    assert [len(hit.text.split()) for hit in made.passages] == [20]


def test_rows_go_from_the_end_and_messages_from_the_beginning() -> None:
    history = tuple(Message("user", f"{n} " + text(9)) for n in range(6))
    rows: Rows = tuple({"n": n, "text": text(9)} for n in range(6))
    made = fit(Parts(history, {"orders": rows}, hits(40, 40, 40)), 110, words)
    assert words(made) <= 110
    assert made.state["orders"] == rows[: len(made.state["orders"])]
    assert made.history == history[-len(made.history) :]
    assert made.history
    assert made.state["orders"]
    assert made.passages


def test_what_passages_leave_over_goes_to_rows_and_history() -> None:
    history = tuple(Message("user", text(10)) for _ in range(10))
    rows: Rows = tuple({"text": text(10)} for _ in range(10))
    made = fit(Parts(history, {"orders": rows}, hits(5)), 130, words)
    assert made.passages == hits(5)
    assert len(made.state["orders"]) + len(made.history) == 11  # a quarter each would be 4


def test_messages_that_cannot_fit_are_left_out_without_being_counted() -> None:
    counted: list[str] = []

    def count(content: str) -> int:
        counted.append(content)
        return len(content.split())

    history = tuple(Message("user", f"{n} " + text(9)) for n in range(1000))
    assert newest(history, 10 * (10 + PER_MESSAGE), count) == history[-10:]
    assert len(counted) <= 11
    endless = Message("user", " " * 1_000_000)
    counted.clear()
    assert newest((*history, endless), 1000, count) == ()
    assert not counted
    assert newest(history[:3], 1000, count) == history[:3]


def test_a_question_that_does_not_fit_is_refused() -> None:
    with pytest.raises(LimitError, match="question takes 10 tokens"):
        fit(Parts(passages=hits(5)), 9, words)


def test_the_estimate_is_cautious() -> None:
    assert estimate("") == 0
    assert estimate("Standard delivery takes 3 to 5 working days.") >= 10
    assert estimate("9" * 30) == 30
    assert estimate("\u5927" * 10) >= 10
    assert estimate("\n" * 5) == 5
