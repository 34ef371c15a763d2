"""The server runner: binding, refusing, stopping."""

import asyncio
import signal
import socket

import httpx2
import pytest
from fastapi import FastAPI

from core.errors import ConfigurationError
from serve.http.server import bind, check_host, serve_http


def app() -> FastAPI:
    made = FastAPI()

    @made.get("/")
    async def root() -> str:
        return "here"

    return made


def test_a_free_port_is_taken_served_and_given_back() -> None:
    async def run() -> int:
        handler = signal.getsignal(signal.SIGTERM)
        server = await serve_http(app(), bind("127.0.0.1", 0))
        assert signal.getsignal(signal.SIGTERM) is handler
        async with httpx2.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{server.port}/")).json() == "here"
        await server.stop()
        await server.stop()
        return server.port

    port = asyncio.run(run())
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_taken_port_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"serve.port: 127.0.0.1:{port} cannot be bound"):
            bind("127.0.0.1", port)


def test_a_port_that_another_took_after_it_was_bound_is_named() -> None:
    held = bind("127.0.0.1", 0)
    port = held.getsockname()[1]
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(ConfigurationError, match=f"serve.port: 127.0.0.1:{port} cannot be bound"):
            asyncio.run(serve_http(app(), held))


def test_a_bound_port_takes_nobody_before_it_is_served() -> None:
    held = bind("127.0.0.1", 0)
    with held, socket.socket() as probe:
        assert probe.connect_ex(held.getsockname()) != 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])  # noqa: S104 - refused
def test_addresses_that_others_reach_are_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"serve\.host"):
        check_host(host)
    with pytest.raises(ConfigurationError, match=r"serve\.host"):
        bind(host, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_is_served(host: str) -> None:
    check_host(host)
