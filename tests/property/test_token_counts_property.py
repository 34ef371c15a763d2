"""Counting by words says exactly what the tokenizer says of the whole."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.errors import PermanentError
from core.settings import OpenVinoEncoder
from embed.encoders import token_counts
from embed.encoders.openvino import OpenVinoModel, OpenVinoTextEncoder
from embed.encoders.token_counts import WordCounts, adds_up


@pytest.fixture(scope="module")
def model() -> OpenVinoModel:
    return OpenVinoModel.load(OpenVinoEncoder().model)


def whole(model: OpenVinoModel, texts: Sequence[str]) -> list[int]:
    return [len(one.ids) for one in model.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


AWKWARD = st.sampled_from(" \n\t\r\x00\x0b\x1c\x85\u0301\u2028\u3000\ufeff\ufffd") | st.sampled_from(
    ["[MASK]", "[ SEP]", "e\u0301", "\u0130", "##ing", "don't", "x" * 101, "\u4e2d\u6587", "\U0001f600"]
)
TEXTS = st.lists(
    st.lists(
        AWKWARD | st.characters(exclude_categories=["Cs"]) | st.text("abc", min_size=1), max_size=12
    ).map("".join),
    max_size=5,
)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
@example(["a\x0bb a\x1cb a\x85b a\u2028b", "\u0301 \u0301a \u0301"])
def test_words_add_up(model: OpenVinoModel, texts: list[str]) -> None:
    counts = WordCounts(lambda some: whole(model, some))
    assert counts(texts) == whole(model, texts)
    assert counts(texts[::-1]) == whole(model, texts[::-1])


def test_words_are_asked_for_once_and_forgotten_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def count(words: Sequence[str]) -> list[int]:
        asked.extend(words)
        return [1] * len(words)

    monkeypatch.setattr(token_counts, "MOST_BYTES", 400)
    counts = WordCounts(count)
    assert counts(["one two one", "two\nthree "]) == [3, 2]
    assert sorted(asked) == ["one", "three", "two"]
    assert counts(["one four five"]) == [3]
    assert counts(["one"]) == [1]
    assert asked[3:].count("one") == 1, "the bound was passed: everything was forgotten"


def test_the_default_model_counts_so_and_refuses_what_it_refused(model: OpenVinoModel) -> None:
    assert adds_up(model.tokenizer)
    encoder: OpenVinoTextEncoder = model.encoder(threads=1)
    assert encoder.count(["Return a tent.", "", "tent " * 500]) == whole(
        model, ["Return a tent.", "", "tent " * 500]
    )
    with pytest.raises(PermanentError, match="not valid Unicode"):
        encoder.count(["fine", "a lone \ud800 surrogate"])
    encoder.close()
