import random

from hypothesis import given, settings
from hypothesis import strategies as st

from core.settings import Cut
from embed.cutter import Cutter

TEXTS = st.text(alphabet="ab. \n#-`~!?。é\u0301\u200b", max_size=400) | st.lists(
    st.sampled_from(["# Head\n", "word ", "End. ", "\n\n", "- item\n", "```\n", "x" * 90, "| a | b |\n"]),
    max_size=80,
).map("".join)
KINDS = st.sampled_from(["markdown", "plain"])


def made(kind: str, most: int = 12) -> Cutter:
    limits = {"kind": kind, "min_tokens": 3, "max_tokens": most}
    return Cutter(Cut.model_validate(limits), lambda texts: [len(text.split()) for text in texts], 254)


@settings(max_examples=200, deadline=None)
@given(TEXTS, KINDS)
def test_pieces_fit_say_something_and_keep_every_word(text: str, kind: str) -> None:
    pieces = made(kind).cut(text)
    assert all(len(piece.split()) <= 12 and piece == piece.strip() != "" for piece in pieces)
    assert pieces == made(kind).cut(text)
    kept = "".join("".join(pieces).split())
    assert [c for c in kept if c.isalnum()] == [c for c in text if c.isalnum()]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 99))
def test_an_edit_changes_few_pieces(seed: int, place: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - reproducible texts
    sentences = [f"Sentence {chance.random()} has some words." for _ in range(100)]
    before = set(made("markdown", 30).cut(" ".join(sentences)))
    sentences[place] = "Replaced by this one."
    after = set(made("markdown", 30).cut(" ".join(sentences)))
    assert 1 <= len(after - before) <= 5
