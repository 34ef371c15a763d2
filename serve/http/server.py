"""Runs the application on a socket of ours, in the caller's event loop; signals stay the caller's."""

import asyncio
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final

import uvicorn
from fastapi import FastAPI

from core.errors import ConfigurationError
from serve.http.hosts import KnownHosts, is_loopback

GRACE_SECONDS: Final = 5
"""Answers under way get so long when the server stops."""


def check_host(host: str) -> None:
    """ConfigurationError unless only this machine can reach it: callers have no identity yet."""
    if not is_loopback(host):
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


async def serve_http(app: FastAPI, bound: socket.socket, hosts: Sequence[str] = ()) -> HttpServer:
    """Serve `app` on what `bind` gave, and close that at the end; returns once requests are taken.

    It answers to the names of loopback, and to `hosts`.

    Raises ConfigurationError if another program has begun to listen there since it was bound.
    """
    try:
        bound.listen(2048)
    except OSError as error:
        host, port = bound.getsockname()[:2]
        bound.close()
        raise _taken(host, port, error) from error
    config = uvicorn.Config(
        KnownHosts(app, hosts),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve([bound]), name="http")
    while not server.started:
        if task.done():
            bound.close()
            await task
            raise ConfigurationError("serve.port: the server ended at once: see the log")
        await asyncio.sleep(0.005)
    taken: int = bound.getsockname()[1]
    return HttpServer(server, task, taken)


def bind(host: str, port: int) -> socket.socket:
    """Hold an address, so that a start which cannot have it fails before it does anything else.

    Nobody can connect before `serve_http`. `port` 0 takes a free one. Raises ConfigurationError for an
    address that is not loopback, or that cannot be bound.
    """
    check_host(host)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"serve.host: {host!r} cannot be used: {error}") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise _taken(host, port, error) from error
    return made


def _taken(host: str, port: int, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"serve.port: {host}:{port} cannot be bound ({error.strerror or error}): another program has it?"
        " Write another serve.port, or 0 for a free one"
    )
