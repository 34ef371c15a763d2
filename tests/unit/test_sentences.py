"""Sentences and their words."""

from serve.sentences import content_words, names, sentence_ends, sentences, shared


def texts(text: str) -> list[str]:
    return [sentence.text for sentence in sentences(text)]


def test_sentences_items_and_headings() -> None:
    text = "# Dogs\n\nDogs may come in. All of them!\nReally?\n\n## Rules\n\n"
    text += "- Keep the *lead* short.\n- Ask **first**\n\n1. One"
    found = sentences(text)
    assert [s.text for s in found] == [
        "Dogs may come in.",
        "All of them!",
        "Really?",
        "Keep the lead short.",
        "Ask first",
        "One",
    ]
    assert [s.heading for s in found] == ["Dogs"] * 3 + ["Rules"] * 3


def test_wrapped_lines_are_one_sentence_and_abbreviations_with_small_letters_do_not_end_one() -> None:
    assert texts("It weighs ca. 480 g, e.g. in\nregular size.") == [
        "It weighs ca. 480 g, e.g. in regular size."
    ]
    assert texts("The mat is\nlight.") == ["The mat is light."]
    assert texts("Prices, e.g. for mats, vary.") == ["Prices, e.g. for mats, vary."]


def test_rows_of_a_table_say_their_columns() -> None:
    table = "| Option | Price |\n|---|---|\n| Express | 9.90 |\n| Standard | 4.90 |"
    assert texts(table) == ["Option: Express; Price: 9.90", "Option: Standard; Price: 4.90"]


def test_code_is_not_quoted_and_links_are_plain() -> None:
    assert texts("Run it:\n\n```\nrm -rf x\n```\n\nSee [the page](http://x.example).") == [
        "Run it:",
        "See the page.",
    ]


def test_languages_without_spaces() -> None:
    assert texts("\u72ac\u304c\u6765\u308b\u3002\u732b\u3082\u3002") == [
        "\u72ac\u304c\u6765\u308b\u3002",
        "\u732b\u3082\u3002",
    ]


def test_words_meet_over_their_endings() -> None:
    assert (
        shared(content_words("How long can I return an item?"), content_words("Returned items are free")) == 2
    )
    assert shared(content_words("delivery"), content_words("delivered")) == 1
    assert shared(content_words("cat"), content_words("catalogue")) == 0


def test_names_are_words_with_capitals_or_digits_inside_a_question() -> None:
    assert names("What is the R-value of the Airfloat 8?") == {"r-valu", "airfloat", "8"}
    assert names("Dogs in the shop?") == set()
    assert names("CAN I BRING MY DOG?") == set()


def test_cuts_leave_whole_sentences() -> None:
    text = "One. Two three. \n\n- Four"
    assert [text[:end] for end in sentence_ends(text)][:2] == ["One.", "One. Two three."]
