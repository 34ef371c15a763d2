"""Saved questions: what may be written, and what a mistake is answered with."""

from pathlib import Path

import pytest

from core.errors import ConfigurationError
from tailrace.reindex.questions import MOST_QUESTIONS, asked_of, read_questions

DOCUMENTS = ["articles", "products"]


def test_a_folder_is_read_in_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("- query: Any tents?\n")
    (tmp_path / "a.yml").write_text(
        "- query: How long to Norway?\n  document: articles\n  expected: [7, '104', sku-9]\n"
        "- query: Red boots?\n  documents: [products]\n"
    )
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    found = read_questions(tmp_path, DOCUMENTS)
    assert [one.query for one in found] == ["How long to Norway?", "Red boots?", "Any tents?"]
    assert found[0].expected == ("7", "104", "sku-9")
    assert found[1].where == f"{tmp_path / 'a.yml'}:4"
    assert [one.query for one in asked_of(found, "products")] == ["Red boots?", "Any tents?"]


def test_no_folder_is_no_questions(tmp_path: Path) -> None:
    assert read_questions(tmp_path / "queries", DOCUMENTS) == []


def test_more_than_the_service_takes_are_refused_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "q.yaml").write_text("- {query: a, document: articles}\n" * MOST_QUESTIONS + "- query: b\n")
    found = read_questions(tmp_path, DOCUMENTS)
    assert [one.query for one in asked_of(found, "products")] == ["b"]
    with pytest.raises(ConfigurationError, match=r"q\.yaml:501: 501 questions concern articles"):
        asked_of(found, "articles")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("query: a\n", "q.yaml:1: holds no list"),
        ("- query: a\n- expected: [1]\n", "q.yaml:2: question 2: query is missing"),
        ("- query: ''\n", "q.yaml:1: question 1: query: "),
        ("- just words\n", "q.yaml:1: question 1: write a mapping"),
        ("- query: a\n  expects: [1]\n", "expects is unknown: write query, document, expected"),
        ("- query: a\n  document: pages\n", "no document 'pages': write one of articles, products"),
        ("- query: a\n  expected: [{}]\n", "question 1: expected.0"),
        ("- query: [\n", "is no YAML"),
        ("- query: ' '\n", "q.yaml:1: question 1: query: "),
        ("- query: 2026-13-45\n", "is no YAML: month must be"),
        ("- query: " + "[" * 5000, "is no YAML"),
    ],
)
def test_mistakes_name_file_line_and_entry(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "q.yaml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read_questions(tmp_path, DOCUMENTS)
    assert said in str(caught.value)
