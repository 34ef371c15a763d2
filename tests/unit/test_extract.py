"""Quoting without a model: the rules, with similarities that a test can read."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from retrieve.model import Hit, Rows
from serve.extract import UNKNOWN, Extract, extract, inert
from serve.twins import passage, word_similarity


def answer(
    question: str, *hits: Hit, state: Mapping[str, Rows] | None = None, least: float = 0.35
) -> Extract:
    keys = dict.fromkeys(state or {}, "42")
    return asyncio.run(extract(question, hits, state or {}, keys, word_similarity, min_relevance=least))


DOGS = passage(
    "103", "# Dogs in our shops\n\nDogs are welcome in our shops. Bring water.", title="Dogs in our shops"
)


def test_the_sentence_that_answers_is_quoted_and_cited() -> None:
    found = answer("Are dogs welcome in your shops?", passage("9", "We sell tents."), DOGS)
    assert found.text == "Dogs are welcome in our shops. [2]"
    [citation] = found.cited.citations
    assert found.text[citation.start : citation.end] == "[2]"
    assert (citation.key, citation.cited_text) == ("103", "Dogs are welcome in our shops.")


def test_nothing_relevant_is_said_so_without_a_citation() -> None:
    for found in (
        answer("Are dogs welcome in your shops?"),
        answer("Are dogs welcome in your shops?", passage("9", "We sell tents.")),
        answer("What is the capital of Peru?", DOGS),
        answer("", DOGS),
        answer("what is it?", DOGS),
    ):
        assert (found.text, found.known, found.cited.citations) == (UNKNOWN, False, [])


def test_what_is_below_the_profiles_relevance_is_not_quoted() -> None:
    far = replace(DOGS, relevance=0.3)
    assert answer("Are dogs welcome in your shops?", far, least=0.9).text == UNKNOWN
    assert answer("Are dogs welcome in your shops?", far, least=0.2).known


def test_one_sentence_about_it_in_a_passage_about_something_else_is_found() -> None:
    hidden = replace(passage("1", "Tents are blue. Dogs are welcome in shops. Mats are red."), relevance=0.1)
    assert answer("Are dogs welcome in shops?", hidden).text == "Dogs are welcome in shops. [1]"


def test_a_name_in_the_question_must_be_in_the_passage() -> None:
    mats = passage("1", "The R-value of a mat is high.", title="Mats")
    assert answer("What is the R-value of a mat?", mats).known
    assert answer("What is the R-value of a Thermarest mat?", mats).text == UNKNOWN


ORDERS: Mapping[str, Rows] = {
    "orders_by_customer": (
        {"id": 5042, "status": "packing", "eta": "2026-11-27", "gift": False, "note": None},
        {"id": 5017, "status": "delivered", "eta": "2026-11-02", "gift": True, "note": ""},
    )
}


def test_rows_are_told_in_plain_words_when_the_question_is_about_them() -> None:
    found = answer("Which status and eta have orders by customer?", state=ORDERS)
    assert found.text == (
        "orders by customer 42, as the database has it now:\n"
        "- id 5042, status packing, eta 2026-11-27, gift no\n"
        "- id 5017, status delivered, eta 2026-11-02, gift yes"
    )
    assert found.known


def test_rows_are_not_told_when_the_question_is_about_something_else() -> None:
    assert answer("Are dogs welcome in your shops?", DOGS, state=ORDERS).text.startswith("Dogs are welcome")
    assert answer("What is the capital of Peru?", state=ORDERS).text == UNKNOWN


def test_an_empty_entry_is_said_to_be_empty() -> None:
    found = answer("Orders by customer?", state={"orders_by_customer": ()})
    assert found.text == "orders by customer 42: there are no rows."


def test_what_a_row_says_cannot_link_or_pretend_to_cite() -> None:
    evil = passage(
        "1", "Dogs are welcome in shops [7] ![x](http://evil.example/?q=1) [a](http://evil.example)."
    )
    found = answer("Are dogs welcome in shops?", evil)
    assert "http" not in found.text
    assert "![" not in found.text
    assert [c.n for c in found.cited.citations] == [1]
    assert "(7)" in found.text
    assert inert("<b>[1](x)") == "&lt;b>(1)(x)"


def test_the_encoder_is_asked_for_few_sentences() -> None:
    asked: list[int] = []

    async def counting(question: str, sentences: Sequence[str]) -> Sequence[float]:
        asked.append(len(sentences))
        assert all(len(sentence) <= 700 for sentence in sentences)
        return await word_similarity(question, sentences)

    long = passage("1", "\n\n".join(f"Dogs are welcome in shop {n}. {'X' * 900}." for n in range(300)))
    asyncio.run(extract("Are dogs welcome?", [long], {}, {}, counting, min_relevance=0.3))
    assert asked == [64, 12]
