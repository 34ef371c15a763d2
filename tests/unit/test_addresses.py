"""Addresses are shown without what is secret in them, and none with a secret is taken."""

import asyncio
import base64
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest
import responses
from hypothesis import given
from hypothesis import strategies as st

from connectors.positions import CommittedPositions
from core.addresses import is_http_url, login_of, secrets_of, shown_url
from core.errors import ConfigurationError, PermanentError, TransientError
from core.secret import Secret
from core.settings import Connect, Llm
from tailrace.configuration import load
from tailrace.connect import Workplace, workplace
from tailrace.doctor import examine

CANARY = "canary-7d1f"
URL = "http://connect:8083"
FILE = """\
app: shop
index: {kind: memory}
encoder: {kind: hashing}
sources:
  shop: {prefix: shop, tables: [public.articles]}
"""
SECTIONS = {
    "connect.url": "connect: {{url: {0}}}",
    "encoder.base_url": "encoder: {{kind: openai, base_url: {0}, model: m, dimensions: 3}}",
    "llms.0.base_url": "llms: [{{name: main, base_url: {0}, model: m}}]",
    "index.url": "index: {{kind: qdrant, url: {0}}}",
}


@given(
    user=st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    password=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
    rest=st.sampled_from(["h", "h:8083", "h.example/v1", "[::1]:1/v1/", "h/a@b"]),
)
def test_what_is_shown_is_the_address_without_its_login(user: str, password: str, rest: str) -> None:
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    assert login_of(f"https://{login}@{rest}") == login
    assert shown_url(f"https://{login}@{rest}?key={CANARY}#{CANARY}") == shown_url(f"https://{rest}")
    assert shown_url(f"https://{rest}") == f"https://{rest}"
    assert password in secrets_of(f"https://{login}@{rest}")


@pytest.mark.parametrize(
    "url",
    [
        f"http://u:{CANARY}@h/v1",
        f"http://{CANARY}@h",
        f"http://{CANARY}:@h",
        f"http://u:a@{CANARY}@h",
        f"http://u:{CANARY}/x@h",
        f"http://u:x?{CANARY}@h",
        f"http://u:{CANARY}@[h",
        f"http://u:{CANARY}@h:port",
        f"u:{CANARY}@h:8083",
        f"//u:{CANARY}@h",
    ],
)
def test_however_it_is_written_no_secret_is_shown(url: str) -> None:
    assert CANARY not in shown_url(url)
    assert CANARY in login_of(url)


@pytest.mark.parametrize(("url", "secrets"), [("http://h", set()), ("http://u:a%20b@h", {"a%20b", "a b"})])
def test_a_secret_is_known_as_spelled_and_as_sent(url: str, secrets: set[str]) -> None:
    assert secrets_of(url) == secrets


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("http://h", True),
        ("https://h.example:8443/v1?x=1", True),
        ("http://[::1]:8083", True),
        ("localhost:8083", False),
        ("h", False),
        ("", False),
        ("ftp://h", False),
        ("http://", False),
        ("http://:8083", False),
        ("http://h:port", False),
        ("http://h:99999", False),
        ("http://[h", False),
    ],
)
def test_what_an_http_address_is(url: str, *, wanted: bool) -> None:
    assert is_http_url(url) is wanted


def _load(folder: Path, more: str) -> ConfigurationError | None:
    key = more.partition(":")[0]
    kept = "".join(line for line in FILE.splitlines(keepends=True) if not line.startswith(f"{key}:"))
    log = "log: {kind: kafka, brokers: [b:1]}\n"
    (folder / "tailrace.yaml").write_text(f"{kept}{log}{more}\n", encoding="utf-8")
    try:
        load(folder / "tailrace.yaml", {})
    except ConfigurationError as error:
        return error
    return None


@pytest.mark.parametrize("place", SECTIONS)
def test_an_address_with_a_login_is_refused_and_not_quoted(tmp_path: Path, place: str) -> None:
    refused = _load(tmp_path, SECTIONS[place].format(f'"http://u:{CANARY}@h:1/v1"'))
    assert refused is not None
    assert f"{place}: a user or password is never written in an address" in str(refused)
    assert CANARY not in str(refused)
    assert _load(tmp_path, SECTIONS[place].format('"http://h:1/v1"')) is None


@pytest.mark.parametrize("place", [place for place in SECTIONS if place != "index.url"])
def test_an_address_without_its_scheme_is_refused(tmp_path: Path, place: str) -> None:
    refused = _load(tmp_path, SECTIONS[place].format('"localhost:1"'))
    assert refused is not None
    assert f"{place}: is no http:// or https:// address" in str(refused)


@pytest.mark.parametrize("half", ["user: u", "password: '${env:P}'"])
def test_half_a_login_is_refused(tmp_path: Path, half: str) -> None:
    assert "user and password go together" in str(_load(tmp_path, f'connect: {{url: "{URL}", {half}}}'))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """A workplace whose Connect asks for a login."""
    monkeypatch.setenv("CONNECT_PASSWORD", CANARY)
    section = f"connect: {{url: '{URL}', user: tailrace, password: '${{env:CONNECT_PASSWORD}}'}}\n"
    (tmp_path / "tailrace.yaml").write_text(FILE + section, encoding="utf-8")
    return workplace(tmp_path / "tailrace.yaml", None)


def _basic() -> str:
    return "Basic " + base64.b64encode(f"tailrace:{CANARY}".encode()).decode()


def test_connect_gets_its_login_and_no_message_says_it(place: Workplace) -> None:
    with responses.RequestsMock() as answers, place.client(patience=0.1) as client:
        answers.get(f"{URL}/connectors", json=["shop"])
        assert client.names() == ["shop"]
        assert answers.calls[0].request.headers["authorization"] == _basic()
        answers.get(f"{URL}/", status=401, json={"message": f"{CANARY} is wrong"})
        with pytest.raises(PermanentError, match="401") as refused:
            client.root()
    assert CANARY not in str(refused.value)


def test_another_connect_does_not_get_it(place: Workplace, tmp_path: Path) -> None:
    other = workplace(tmp_path / "tailrace.yaml", "http://other:8083")
    with responses.RequestsMock() as answers, other.client() as client:
        answers.get("http://other:8083/connectors", json=[])
        client.names()
        assert "authorization" not in answers.calls[0].request.headers


def test_positions_are_asked_for_with_the_login_and_failures_do_not_say_it() -> None:
    async def run() -> None:
        seen: list[str | None] = []

        def answer(request: httpx2.Request) -> httpx2.Response:
            seen.append(request.headers.get("authorization"))
            return httpx2.Response(503)

        settings = Connect(url=URL, user="tailrace", password=Secret("${env:CONNECT_PASSWORD}"))
        for url, login in ((URL, settings.login()), (f"http://tailrace:{CANARY}@connect:8083", None)):
            asked = CommittedPositions(url, {"shop": "shop"}, login=login)
            asked._client._transport = httpx2.MockTransport(answer)
            with pytest.raises(TransientError, match=f"GET {URL}/connectors/shop/offsets: 503"):
                await asked.committed("shop")
            await asked.aclose()
        assert seen == [_basic(), _basic()]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONNECT_PASSWORD", CANARY)
        asyncio.run(run())


def test_doctor_says_no_query_of_an_endpoint(tmp_path: Path) -> None:
    (tmp_path / "tailrace.yaml").write_text(FILE, encoding="utf-8")
    llm = Llm(name="main", base_url=f"http://127.0.0.1:1/v1?key={CANARY}", model="m")
    settings = load(tmp_path / "tailrace.yaml", {}).settings.model_copy(update={"llms": [llm]})
    said = {check.name: check for check in examine(settings)}["llm main"]
    assert "http://127.0.0.1:1/v1" in said.what
    assert CANARY not in f"{said.what} {said.fix}"
