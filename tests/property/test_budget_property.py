"""The budget is never exceeded; the estimate never below the tokenizer's count; streams divide anyhow."""

import re
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import LimitError
from embed.encoders.openvino import OpenVinoModel
from retrieve.model import AsOf
from serve.budget import Parts, fit
from serve.prompt import Message, Prompt
from serve.sanitiser import Sanitiser
from serve.tokens import MOST_CHARACTERS_PER_TOKEN, estimate, of_messages
from serve.twins import passage
from tailrace.demo.shop import load_shop

PROMPT = Prompt.builtin()
TEXTS = st.text(st.sampled_from("ab .\nÄ大😀1"), max_size=120)


@settings(max_examples=60, deadline=None)
@given(
    question=TEXTS,
    history=st.lists(TEXTS, max_size=5),
    rows=st.lists(TEXTS, max_size=5),
    passages=st.lists(TEXTS, max_size=5),
    capacity=st.integers(0, 900),
)
def test_no_prompt_is_longer_than_its_budget(
    question: str, history: list[str], rows: list[str], passages: list[str], capacity: int
) -> None:
    parts = Parts(
        tuple(Message("user", text) for text in history),
        {"view": tuple({"n": n, "text": text} for n, text in enumerate(rows))},
        tuple(passage(str(n), text) for n, text in enumerate(passages)),
    )

    def measure(made: Parts) -> int:
        messages = PROMPT.render(
            question, made.passages, made.state, {"s": AsOf("0/1", 1)}, made.history, nonce="0123456789abcdef"
        )
        return of_messages((message.content for message in messages), estimate)

    try:
        made = fit(parts, capacity, measure)
    except LimitError:
        assert measure(Parts(state={"view": ()})) > capacity
        return
    assert measure(made) <= capacity
    kept = [hit.text for hit in made.passages]
    assert all(text.startswith(short) for short, text in zip(kept, passages, strict=False))
    assert list(made.history) == list(parts.history)[len(parts.history) - len(made.history) :]


@cache
def _shop_paragraphs() -> list[str]:
    shop = load_shop()
    texts = [str(row["body"]) for row in shop.articles] + [str(row["description"]) for row in shop.products]
    parts = (part for text in texts for part in text.split("\n\n"))
    return [part for part in parts if len(part.split()) >= 6]


def test_the_estimate_is_never_below_a_wordpiece_count_of_real_text() -> None:
    tokenizer = OpenVinoModel.load("sentence-transformers/all-MiniLM-L6-v2").tokenizer
    texts = _shop_paragraphs()
    counts = [len(made.ids) for made in tokenizer.encode_batch(texts, add_special_tokens=False)]
    below = [text for text, count in zip(texts, counts, strict=True) if estimate(text) < count]
    assert not below
    assert sum(map(estimate, texts)) < 2.2 * sum(counts)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_a_text_takes_at_most_what_its_parts_take(one: str, other: str) -> None:
    assert estimate(one + other) <= estimate(one) + estimate(other)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([" ", "a", "é", "1", "\n", " " * 15, "abc"]), max_size=60))
def test_no_text_takes_less_than_its_length_says(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert estimate(text) >= len(text) // MOST_CHARACTERS_PER_TOKEN


PIECES = st.sampled_from(
    [
        "[1]",
        "[2, 3]",
        "[9]",
        "[1",
        "]",
        "(",
        ")",
        "![",
        "](",
        "http://evil.example/x",
        "https:",
        "//",
        "www.",
        " ",
        "\n",
        "word",
        "<img src=x>",
        "<",
        "[a]:",
        "&#58;",
        "\u3002",
        ",",
        " 2",
        "data:text/html",
        "\u200b",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=14), st.data())
def test_a_stream_is_cleaned_the_same_however_it_is_divided(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)

    def cleaned(parts: list[str]) -> tuple[str, list[tuple[int, int]]]:
        seen: list[tuple[int, int]] = []

        def cite(n: int, at: int) -> str:
            seen.append((n, at))
            return f"[{n}]"

        sanitiser = Sanitiser({"https://shop.example/1"}, cite, known=lambda n: n <= 3)
        return "".join([*(sanitiser.feed(part) for part in parts), sanitiser.finish()]), seen

    whole, marks = cleaned([text])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert cleaned(parts) == (whole, marks)
    assert "://" not in whole
    assert "![" not in re.sub(r"!\[\d\]", "", whole)  # "Great![1]": with nothing after it no image
    assert "](" not in whole
    assert "]:" not in whole
    assert all(whole[at : at + len(f"[{n}]")] == f"[{n}]" for n, at in marks)


FORBIDDEN = st.sampled_from(
    [
        "https://evil.example/x",
        "www.evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "<img src=x>",
        "</a>",
        "<!--",
        "![x](//evil.example/a.png)",
        "[x](//evil.example)",
        "[x]: //evil.example",
        "[x][y]",
        "&#60;img",
        "&lt;img",
        "[7]",
        "[1](//evil.example)",
    ]
)
REFUSED = st.sampled_from(["[99]", "[ 7 ]", "[98, 99]", "[[99]9]", "[[97]98][99]", "[0]"])
ACTIVE = re.compile(
    r"(?i)://|www\.|(?:javascript|data):\w|<[a-z/!]|!\[(?!\d\])|\](?=[(:])|(?<!\[\d)\](?=\[(?!\d\]))"
    r"|&(?!lt;|amp;)(?=#|\w+;)|\[[04-9]\]"
)
"""What makes links, images, references, tags and entities; marks of passages, [1] to [3], make none."""


@settings(max_examples=400, deadline=None)
@given(FORBIDDEN, st.lists(st.tuples(st.integers(0, 30), REFUSED), max_size=5), st.data())
def test_no_refused_citation_hides_what_may_not_be_shown(
    spelling: str, marks: list[tuple[int, str]], data: st.DataObject
) -> None:
    text = f"See {spelling} now."
    for at, mark in marks:
        text = text[: 4 + at % (len(text) - 4)] + mark + text[4 + at % (len(text) - 4) :]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    sanitiser = Sanitiser((), lambda n, _: f"[{n}]", known=lambda n: 1 <= n <= 3)
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    shown = "".join([*(sanitiser.feed(part) for part in parts), sanitiser.finish()])
    assert not ACTIVE.search(shown), shown
