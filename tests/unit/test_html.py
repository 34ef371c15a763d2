"""HTML as its readers see it: what is kept, what is left out, and no text that takes for ever."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embed.html import readable

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("plain  text\n here", "plain text here"),
        ("<h1>One</h1><p>Two <b>three</b></p>", "# One\n\nTwo three"),
        ("<H3 class='x'>One</H3>", "### One"),
        ("<ul><li>a</li><li>b</li></ul>", "- a\n- b"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<table><tr><td>a</td><td>b</td></tr></table>", "a\nb"),
        # What no reader sees.
        ("<title>t</title>a<style>p > b {}</style>b<script>if (a<b) '</p>'</script>c", "abc"),
        ("<SCRIPT>x</script >a", "a"),
        ("a<script>never closed <p>b", "a"),
        ("a<script src='x'/>b", "ab"),
        ("</script>a</title>", "a"),
        ("a<!-- <p>no</p> -->b<!---->c<!-->d<!--x--!>e", "abcde"),
        ("<!DOCTYPE html><?xml version='1.0'?>a<![CDATA[b > c]]>d", "ad"),
        ("<![if !x]>a<![endif]>", "a"),
        # Attributes.
        ('<p title="a > b">c</p>', "c"),
        ("<p title='a > b' hidden data-x=y>c</p>", "c"),
        ("<a href=it's>b</a> c", "b c"),
        ('<p title="never closed>a</p>b', "a\n\nb"),
        ("<p\nclass = 'x>y'\n>a", "a"),
        # What is no tag is text.
        ("1 < 2 <3 <- <", "1 < 2 <3 <- <"),
        ("a <b", "a <b"),
        ("a </", "a </"),
        ("a<>b", "a<>b"),
        ("a</>b</ x>c", "abc"),
        ("a<!-- never closed <p>b</p>", "ab"),
        # Characters.
        ("&lt;p&gt; &amp; &eacute;&#233;&#xe9; a&nbsp;b &zzz; &", "<p> & ééé a b &zzz; &"),
        ("&lt;script&gt;a", "<script>a"),
        (f"a&#{'9' * 5000};b&#{'0' * 5000}65;", "a\ufffdbA"),
        ("<p> a </p> <p> b </p>", "a\n\nb"),
        ("<b> a </b> b", "a  b"),
    ],
)
def test_what_a_reader_sees(html: str, text: str) -> None:
    assert readable(html) == text


PIECES = [
    "<",
    ">",
    "</",
    "<!--",
    "-->",
    "<p",
    "<li>",
    "</p>",
    "<script>",
    "</script>",
    '"',
    "'",
    "=",
    "a",
    "&",
    "&lt;",
    "&#",
    "9",
    ";",
    "<![CDATA[",
    "]]>",
    "<?",
    "<h2>",
    "/>",
]


@given(st.lists(st.sampled_from([*PIECES, " ", "\n", "\0"]), max_size=40).map("".join))
def test_any_text_gives_some_text(html: str) -> None:
    text = readable(html)
    assert text == text.strip()
    assert "\n\n\n" not in text


UNITS = [
    "<",
    "<a",
    "</",
    "</a",
    "<!",
    "<!--",
    "<!-->",
    "<?",
    "<![CDATA[",
    "<a_",
    "<a_b=",
    '<a_="',
    "<a_='",
    '<a_=">"',
    "<a_=\">'_",
    "<a_=\">'_='",
    "<a_x='\">",
    "<script>",
    "<script></",
    "</script",
    "</script_",
    "<title><p>",
    "<b>_</b>",
    "<td>_",
    "<p>",
    "<p>%",
    "%",
    "_",
    "_%",
    "&",
    "&#",
    "&#9",
    "&#0",
    "&a",
    "a",
    "=",
    "<=",
    "<a_==",
    "<a_=_",
    '<a_="_',
]


def test_no_text_takes_longer_than_its_length_allows() -> None:
    """Work that grows with the square of the length would take hours here."""
    code = """
import sys
from embed.html import readable
for unit in sys.argv[1:]:
    unit = unit.replace("_", " ").replace("%", chr(10))
    ends = ("", ""), ("", ">"), ("", ' x=">">'), ("<script>", ""), ("<p>", "-->"), ("<a b='", '">')
    for first, last in ends:
        readable((first + unit * (100_000 // len(unit)) + last) * 2)
"""
    subprocess.run([sys.executable, "-c", code, *UNITS], cwd=ROOT, timeout=120, check=True)
