"""By which names the service may be asked."""

import asyncio

import httpx2
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from serve.http.hosts import KnownHosts, is_loopback, name_of
from serve.http.server import bind, serve_http


def app() -> FastAPI:
    made = FastAPI()

    @made.get("/")
    async def root() -> str:
        return "here"

    return made


def status(host: str, names: list[str]) -> int:
    async def run() -> int:
        transport = httpx2.ASGITransport(app=KnownHosts(app(), names))
        async with httpx2.AsyncClient(transport=transport, base_url="http://any") as client:
            return (await client.get("/", headers={"host": host})).status_code

    return asyncio.run(run())


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:8000", "localhost.", "[::1]", "[::1]:8000"],
)
def test_loopback_is_answered(host: str) -> None:
    assert status(host, []) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "[::2]",
        "[::1",
        "127.0.0.1@evil.example",
        "evil.example:127.0.0.1",
        "",
    ],
)
def test_other_names_are_not(host: str) -> None:
    assert status(host, ["ask.example"]) == 421


def test_the_name_of_a_proxy_is() -> None:
    assert [status(host, ["Ask.Example"]) for host in ("ask.example", "ASK.example.:443")] == [200, 200]
    assert status("other.example", ["ask.example"]) == 421


@given(st.text(st.characters(exclude_categories=["Cs"], max_codepoint=255), max_size=30))
def test_only_what_this_machine_means_by_itself_is_loopback(host: str) -> None:
    if is_loopback(name_of(host)):
        assert host.lower().lstrip("[ ").startswith(("localhost", "127.", "::1", "::ffff:127.", "0:"))


def test_a_server_says_which_names_it_has() -> None:
    why = (
        "Host 'evil.example' is no name of this service: ask 127.0.0.1, or write the name that your proxy"
        " passes on in serve.allowed_hosts"
    )

    async def run() -> tuple[int, str, int]:
        server = await serve_http(app(), bind("127.0.0.1", 0), hosts=["ask.example"])
        url = f"http://127.0.0.1:{server.port}/"
        async with httpx2.AsyncClient(trust_env=False) as client:
            refused = await client.get(url, headers={"host": "evil.example"})
            passed = await client.get(url, headers={"host": "ask.example"})
        await server.stop()
        return refused.status_code, refused.json()["detail"], passed.status_code

    assert asyncio.run(run()) == (421, why, 200)
