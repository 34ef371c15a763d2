"""Runs the application on a socket of ours, in the caller's event loop; signals stay the caller's."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Final

import uvicorn
from fastapi import FastAPI

from core.errors import ConfigurationError

GRACE_SECONDS: Final = 5
"""Answers under way get so long when the server stops."""


def check_host(host: str) -> None:
    """ConfigurationError unless only this machine can reach it: callers have no identity yet."""
    if host == "localhost":
        return
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigurationError(
            f"serve.host: {host!r} can be reached from other machines, and callers have no identity yet:"
            " write 127.0.0.1, and put a proxy that knows its users in front"
        )


class HttpServer:
    """A running server. `port` is the one that was taken."""

    def __init__(self, server: uvicorn.Server, task: "asyncio.Task[None]", port: int) -> None:
        self._server, self._task, self.port = server, task, port

    async def stop(self) -> None:
        """Take no more, let answers end (GRACE_SECONDS), return. Safe to call twice."""
        self._server.should_exit = True
        await self.wait()

    async def wait(self) -> None:
        """Until it has stopped."""
        await asyncio.shield(self._task)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve_http(app: FastAPI, host: str, port: int) -> HttpServer:
    """Serve `app`; returns once requests are taken. `port` 0 takes a free one.

    Raises ConfigurationError for an address that is not loopback, or that cannot be bound.
    """
    check_host(host)
    bound = _bind(host, port)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=GRACE_SECONDS
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve([bound]), name="http")
    while not server.started:
        if task.done():
            bound.close()
            await task
            raise ConfigurationError(f"serve.port: the server on {host}:{port} ended at once: see the log")
        await asyncio.sleep(0.005)
    taken: int = bound.getsockname()[1]
    return HttpServer(server, task, taken)


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"serve.host: {host!r} cannot be used: {error}") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(2048)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise ConfigurationError(
            f"serve.port: {host}:{port} cannot be bound ({error.strerror or error}): another program has it?"
            " Write another serve.port, or 0 for a free one"
        ) from error
    return made
