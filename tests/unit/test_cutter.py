import time
from collections.abc import Sequence

import pytest

from core.errors import ConfigurationError, LimitError
from core.settings import Cut
from embed.cutter import MAX_CHARACTERS, Cutter


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def cutter(most: int = 20, least: int = 5, **settings: object) -> Cutter:
    return Cutter(Cut.model_validate({"min_tokens": least, "max_tokens": most, **settings}), words, 254)


def test_a_short_text_is_one_piece() -> None:
    assert cutter().cut("  One sentence. And another.\n") == ["One sentence. And another."]


@pytest.mark.parametrize(
    "text", ["", " \n\t ", "\u200b\u200d", "\U000e0041\U000e0042", "\u0301" * 100_000, "\u202e \x07"]
)
def test_a_text_that_says_nothing_has_no_pieces(text: str) -> None:
    assert cutter().cut(text) == []


def test_no_piece_is_above_the_limit_and_no_word_is_lost() -> None:
    text = "\n\n".join(f"Paragraph {n} has these words. " * (n % 5 + 1) for n in range(60))
    pieces = cutter().cut(text)
    assert max(words(pieces)) <= 20
    assert " ".join(pieces).split() == text.split()


def test_the_encoders_limit_holds_below_the_configured_one() -> None:
    made = Cutter(Cut(min_tokens=5, max_tokens=200), words, 10)
    assert max(words(made.cut("A sentence of six words here. " * 20))) <= 10
    with pytest.raises(ConfigurationError, match="min_tokens is 40"):
        Cutter(Cut(), words, 30)


def test_headings_divide_first_then_paragraphs_then_sentences() -> None:
    section = "## Part {}\n\nSome words stand here first. More words stand here then.\n\n"
    pieces = cutter(most=26).cut("".join(section.format(n) for n in range(6)))
    assert all(piece.startswith("## Part") for piece in pieces)
    paragraphs = "One two three four five. Six seven eight nine ten.\n\n" * 5
    assert set(cutter(most=12).cut(paragraphs)) == {"One two three four five. Six seven eight nine ten."}


def test_a_fence_is_no_heading_and_stays_whole() -> None:
    fence = "```python\n# not a heading\n\nvalue = 1\n```"
    text = f"Some words before the code stand here.\n\n{fence}\n\n# Heading\n\nAnd some more words after it."
    assert any(fence in piece for piece in cutter(most=12).cut(text))
    assert cutter(most=12).cut(text)[-1].startswith("# Heading")


def test_an_unclosed_fence_loses_no_text() -> None:
    text = "Words before.\n\n```\nline one is here\nline two is here\n" + "more lines follow here\n" * 20
    assert " ".join(cutter().cut(text)).split() == text.split()


def test_plain_text_has_no_headings() -> None:
    assert cutter(kind="plain").cut("# 1\n# 2\n") == ["# 1\n# 2"]


def test_html_is_cut_as_its_readers_see_it() -> None:
    page = (
        "<title>Hidden</title><h1>Re&shy;turns &amp; refunds</h1><script>steal()</script>"
        "<p>You have <b>thirty</b> days.</p><ul><li>Keep the box<li>Print the label</ul>"
    )
    text = "# Re\u00adturns & refunds\n\nYou have thirty days.\n\n- Keep the box\n- Print the label"
    assert cutter(kind="html", most=40).cut(page) == [text]


def test_code_is_cut_before_declarations_and_keeps_indentation() -> None:
    body = "\n".join(f"    value{n} = compute(value{n}, {n})" for n in range(4))
    source = "".join(f"def function{n}(value):\n{body}\n\n\n" for n in range(8))
    pieces = cutter(kind="code", language="python", most=24).cut(source)
    assert len(pieces) == 8
    assert all(piece.startswith("def function") and piece.endswith("3)") for piece in pieces)
    indented = cutter(kind="code", language="python", most=12).cut(source)
    assert any(piece.startswith("    value") for piece in indented)


def test_an_unknown_language_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match=r"klingon.*python"):
        cutter(kind="code", language="klingon")


def test_the_stated_limit() -> None:
    with pytest.raises(LimitError, match=str(MAX_CHARACTERS)):
        cutter().cut("a" * 10_000_000)


@pytest.mark.parametrize(
    "text",
    [
        "a" * MAX_CHARACTERS,
        "\n" * MAX_CHARACTERS,
        ". " + " " * (MAX_CHARACTERS - 10) + "a",
        "```\n" * 100_000,
        "The same. " * 50_000,
        '{"a":1,"b":[2,3]},' * 20_000,
        "这是一个句子。" * 30_000,
    ],
    ids=["one word", "line ends", "spaces", "fences", "equal sentences", "minified", "chinese"],
)
def test_degenerate_texts_take_no_quadratic_time(text: str) -> None:
    started = time.monotonic()
    pieces = cutter(most=200, least=40).cut(text)
    assert time.monotonic() - started < 10  # measured under 1 s: quadratic would be minutes
    assert max(words(pieces), default=0) <= 200
    assert max(map(len, pieces), default=0) <= 200 * 16


def test_counts_that_do_not_add_up_are_counted_again() -> None:
    def dearer_together(texts: Sequence[str]) -> list[int]:
        return [len(text) + (5 if len(text) > 12 else 0) for text in texts]

    made = Cutter(Cut(min_tokens=2, max_tokens=20), dearer_together, 254)
    pieces = made.cut("一二三四五。" * 30)
    assert max(dearer_together(pieces)) <= 20
    assert "".join(pieces) == "一二三四五。" * 30


def test_each_unit_is_counted_once() -> None:
    counted: list[str] = []

    def count(texts: Sequence[str]) -> list[int]:
        counted.extend(texts)
        return words(texts)

    text = " ".join(f"Sentence number {n} is here." for n in range(200))
    Cutter(Cut(min_tokens=5, max_tokens=20), count, 254).cut(text)
    assert "".join(counted) == text
