"""The address of a page is a row's: what may become a link, and what comes of the rest."""

from dataclasses import replace

import pytest

from core.metrics import PAGES_REFUSED
from serve.llm import ScriptedLlm
from serve.pages import page
from tests.unit.http_world import ASK, DOGS, SEARCH, request, twin, view

PAGES = [
    "https://shop.example",
    "http://localhost:8080/a?b=c#d",
    "HTTPS://shop.example/a",
    "https://[::1]:8443/x",
    "https://shop.example/%20(a)",
    "https://shop.example/\u00e4/\u898b",
]
OTHERS = [
    "javascript:alert(1)",
    "JavaScript://shop.example/%0aalert(1)",
    "java\nscript:alert(1)",
    " javascript:alert(1)",
    "data:text/html;base64,AAAA",
    "vbscript:x",
    "file:///etc/passwd",
    "ftp://shop.example/",
    "mailto:a@shop.example",
    "//evil.example/a",
    "\\\\evil.example\\a",
    "/articles/103",
    "articles/103",
    "https:",
    "https://",
    "https:///a",
    "https:evil.example",
    "https://:80/",
    "https://shop.example:port/",
    "https://[::1/",
    "https://shop.example/a b",
    "https://shop.example/a\tb",
    "https://shop.example/a\x00b",
    "https://shop.example/a\u00a0b",
    "https://shop.example/a\u202eb",
    "\x01https://shop.example/",
    "",
]


@pytest.mark.parametrize("url", PAGES)
def test_a_page_is_an_http_address(url: str) -> None:
    assert page(url) == url


@pytest.mark.parametrize("url", [*OTHERS, None])
def test_nothing_else_is_one(url: str | None) -> None:
    assert page(url) is None


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "/articles/103"])
def test_what_is_no_page_is_nowhere_in_an_answer_and_counted(url: str) -> None:
    def counted() -> float:
        return float(PAGES_REFUSED.labels("articles")._value.get())

    over = twin()
    over.hits = (replace(DOGS, url=url),)
    before = counted()
    [hit] = request("POST", "/v1/search", SEARCH, over=over).json()["hits"]
    assert (hit["key"], hit["url"]) == ("103", None)
    assert counted() == before + 1

    llm = ScriptedLlm([f"See [the page]({url}) [1]."])
    found = request("POST", "/v1/chat/completions", {**ASK, "model": "written"}, over=over, llm=llm).json()
    message = found["choices"][0]["message"]
    assert message["annotations"] == []
    assert "](" not in message["content"]
    assert "[1]" in message["content"]
    [cited], [hit] = found["tailrace"]["citations"], found["tailrace"]["hits"]
    assert (cited["url"], hit["url"]) == (None, None)


def test_a_document_shows_no_other_address_either() -> None:
    over = twin()
    shown = view("103")
    for url, told in (("javascript:alert(1)", None), ("https://shop.example/", "https://shop.example/")):
        over.documents["articles", "103"] = replace(shown, manifest=replace(shown.manifest, url=url))
        assert request("GET", "/v1/documents/articles/103", over=over).json()["manifest"]["url"] == told
