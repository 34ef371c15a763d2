"""Who a request believes to be talking to: a web page must not reach this service by a name of its own."""

import uuid
from collections.abc import Collection
from ipaddress import ip_address

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.http.problems import problem_of

MISDIRECTED = 421
"""RFC 9110, 15.5.20: the server will not answer for this name."""


class KnownHosts:
    """Answers 421 to a `Host` that is neither loopback's nor one of `names`, whatever its port.

    A page may have its own name resolve to 127.0.0.1, and its scripts then read what this service says
    (DNS rebinding): a service on loopback, without users of its own, is only as private as the names
    that it answers to. A request without `Host` is of no browser.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app, self._names = app, {_plain(name) for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = [value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"host"]
        if all(is_loopback(name_of(one)) or name_of(one) in self._names for one in given):
            await self._app(scope, receive, send)
            return
        said = HTTPException(
            MISDIRECTED,
            f"Host {given[0][:80]!r} is no name of this service: ask 127.0.0.1, or write the name that your"
            " proxy passes on in serve.allowed_hosts",
        )
        await problem_of(said).response(uuid.uuid4().hex)(scope, receive, send)


def is_loopback(name: str) -> bool:
    """Whether only this machine can mean itself by it."""
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def name_of(host: str) -> str:
    """The name in a `Host` header: without its port, in small letters."""
    bracketed = host.startswith("[")
    return _plain(host[1 : host.find("]")] if bracketed else host.partition(":")[0])


def _plain(name: str) -> str:
    return name.strip().lower().removesuffix(".")
