"""Citations, and what may stand in an answer."""

import pytest

from core.metrics import CITATIONS_REFUSED
from serve.citations import Cited
from serve.sanitiser import LONGEST_WORD, REMOVED, Sanitiser
from serve.twins import passage

HITS = (passage("103", "Dogs may come in."), passage("104", "Cards are valid for 3 years."))
PAGE = "https://shop.example/articles/103"


def clean(text: str) -> str:
    sanitiser = Cited(HITS, "support").sanitiser()
    return sanitiser.feed(text) + sanitiser.finish()


def test_a_citation_says_what_it_stands_for_and_where() -> None:
    cited = Cited(HITS, "support")
    sanitiser = cited.sanitiser()
    text = sanitiser.feed("Dogs may come in [1]. Cards last [2, 1].") + sanitiser.finish()
    assert text == "Dogs may come in [1]. Cards last [2][1]."
    assert [(c.n, text[c.start : c.end], c.key, c.cited_text) for c in cited.citations] == [
        (1, "[1]", "103", "Dogs may come in."),
        (2, "[2]", "104", "Cards are valid for 3 years."),
        (1, "[1]", "103", "Dogs may come in."),
    ]
    assert cited.citations[0].url == PAGE


def test_a_number_without_evidence_is_taken_out_and_counted() -> None:
    before = CITATIONS_REFUSED.labels("support")._value.get()
    cited = Cited(HITS, "support")
    sanitiser = cited.sanitiser()
    assert sanitiser.feed("So it is [3][0][1][2, 77].") + sanitiser.finish() == "So it is [1][2]."
    assert cited.refused == 3
    assert CITATIONS_REFUSED.labels("support")._value.get() == before + 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https:[99]//evil.example/?q=secret", REMOVED),
        ("w[9]ww.evil.example", REMOVED),
        ("java[9]script:alert(1)", REMOVED),
        ("<[99]img src=x", "&lt;img src=x"),
        ("&[9]#60;img", "&amp;#60;img"),
        ("![9][x](//evil.example/a.png)", "[x] (//evil.example/a.png)"),
        ("[[99]7]", ""),
        ("[[99]2]", "[2]"),
        ("So it[9]s dogs[9].", "So its dogs."),
    ],
)
def test_what_a_refused_citation_stood_between_is_checked_as_it_is_shown(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_a_mark_of_another_spelling_makes_no_link() -> None:
    sanitiser = Sanitiser((), lambda n, _: f"({n})")
    assert sanitiser.feed("See [here][1].") + sanitiser.finish() == "See [here] (1)."


EVIL = "http://evil.example/?q=secret"
SPELLINGS = [
    f"![x]({EVIL})",
    f"![x] ({EVIL})",
    f"[click here]({EVIL})",
    f"[click\nhere]({EVIL})",
    f"[click][1]\n\n[1]: {EVIL}",
    f"![click][ref]\n[ref]: {EVIL} 'title'",
    f"[ref]:{EVIL}",
    f"<{EVIL}>",
    f"<img src={EVIL}>",
    f'<a href="{EVIL}">x</a>',
    f"<IMG\nSRC={EVIL}>",
    EVIL,
    EVIL.upper(),
    f"see:{EVIL},",
    f"({EVIL})",
    f"**{EVIL}**",
    "www.evil.example/secret",
    "WWW.evil.example",
    "[x](//evil.example/secret)",
    "![x](//evil.example/secret)",
    "[x](evil.example/secret)",
    "[x](\\\\evil.example/secret)",
    "[x](javascript:alert(1))",
    "javascript:alert(1)",
    "[x](data:text/html;base64,AAAA)",
    "data:text/html;base64,AAAA",
    "https://shop.example@evil.example/secret",
    "https://shop.example.evil.example/",
    "https://[::1]/secret",
    "https://shop.example/articles/103?q=secret",
    "https://shop.example/articles/103#secret",
    "https://shop.example/articles/103%2fsecret",
    f"[x]({PAGE}?q=secret)",
    f"[x]({PAGE} 'secret')",
    f"![x]({PAGE})",
    "[x](&#104;ttp://evil.example)",
    "[x](ht&#116;p&colon;//evil.example)",
    "https&#58;//evil.example",
    "ht\u200btp://evil.example",
    "[x](ht\ntp://evil.example)",
    "ftp://evil.example",
    f"[1]({EVIL})",
    "[1](evil.example)",
    "[1]: evil.example",
    "[1]:evil.example",
    "_www.evil.example/?q=secret_",
    "__www.evil.example__",
    "xwww.evil.example/?q=secret",
    "caf\u00e9www.evil.example",
    "www.%65vil.example",
    "www\\.evil.example/?q=secret",
    "http:\\/\\/evil.example/?q=secret",
    "http\\://evil.example/?q=secret",
    "xmpp:you@evil.example/secret",
]


@pytest.mark.parametrize("text", SPELLINGS)
def test_no_spelling_of_a_link_or_image_stays_active(text: str) -> None:
    for whole in (text, f"Hello {text} there", text * 2):
        shown = clean(whole)
        read = shown.replace("\\", "")  # an escape is gone before some programs look for addresses
        assert "://" not in read.replace(f"]({PAGE})", "")
        assert "www." not in read.lower()
        assert "![" not in shown
        assert "](" not in shown.replace(f"]({PAGE})", "")
        assert "]:" not in shown
        assert "<" not in shown.replace("< ", "")
        assert "&#" not in shown
        assert "&colon;" not in shown
        assert "data:" not in shown.replace("data:  ", "")
        assert "javascript:" not in shown
        assert "xmpp:" not in shown
        assert "\u200b" not in shown


def test_links_to_cited_pages_stay() -> None:
    assert clean(f"See [the page]({PAGE}) [1].") == f"See [the page]({PAGE}) [1]."
    assert clean(f"See {PAGE}.") == f"See {PAGE}."
    assert clean("See https://shop.example/articles/999.") == f"See {REMOVED}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"See {PAGE}[1].", f"See {PAGE} [1]."),
        (f"See ({PAGE})[1]@evil.example/?q=secret", f"See ({PAGE}) [1]@evil.example/?q=secret"),
        (f"\u898b\u308b {PAGE}\u3002", f"\u898b\u308b {PAGE} \u3002"),
        (f"{PAGE}\u3002evil.example/?q=secret", f"{PAGE} \u3002evil.example/?q=secret"),
        (f"{PAGE}\u00a0@evil.example/?q=secret", f"{PAGE} \u00a0@evil.example/?q=secret"),
        (f"x]({PAGE})@evil.example/?q=secret", f"x]({PAGE}) @evil.example/?q=secret"),
        (f"[x]({PAGE}), [y]({PAGE})", f"[x]({PAGE}), [y]({PAGE})"),
        (f"**[x]({PAGE})**\n{PAGE}\n", f"**[x]({PAGE})**\n{PAGE}\n"),
    ],
)
def test_nothing_that_follows_a_page_becomes_a_part_of_its_address(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_ordinary_text_is_left_alone() -> None:
    text = "Awww... 3 < 5 > 3; a & b; a [note] (sic!): 10:30, help@shop.example\n\n- **bold** `code`\n1. item"
    assert clean(text) == text


def test_words_leave_when_they_are_whole() -> None:
    sanitiser = Sanitiser((), lambda n, _: f"[{n}]")
    assert [sanitiser.feed(part) for part in ["Dogs ma", "y co", "me ", "in [", "1", "] yes"]] == [
        "Dogs ",
        "may ",
        "come ",
        "in ",
        "",
        "[1] ",
    ]
    assert sanitiser.finish() == "yes"


def test_a_word_without_end_does_not_fill_the_memory() -> None:
    sanitiser = Sanitiser((), lambda n, _: "")
    assert len(sanitiser.feed("x" * 3 * LONGEST_WORD)) >= 2 * LONGEST_WORD
