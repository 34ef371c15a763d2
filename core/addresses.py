"""Addresses of other services: what of them may be said, and what in them is secret. Pure."""

from typing import Annotated
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from pydantic import AfterValidator


def is_http_url(text: str) -> bool:
    """Whether it is an address that HTTP is spoken to: `http://host`, `https://host:port/path`."""
    parts = _split(text)
    return parts is not None and parts.scheme in {"http", "https"} and bool(parts.hostname)


def shown_url(url: str) -> str:
    """The address for messages and screens: without user, password, query and fragment.

    Of what is no address, only what stands after the last `@`: a password that was not quoted makes it none.
    """
    parts = _split(url)
    if parts is None:
        return url.rpartition("@")[2].partition("?")[0]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def login_of(url: str) -> str:
    """What stands before the host, `user:password` or a token; "" where there is none."""
    parts = _split(url)
    return (url if parts is None else parts.netloc).rpartition("@")[0]


def secrets_of(url: str) -> frozenset[str]:
    """The password or token in an address, as spelled and as sent: what a service may quote in an answer."""
    user, _, password = login_of(url).partition(":")
    secret = password or user
    return frozenset({secret, unquote(secret)} - {""})


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        known = parts.port is not None or parts.netloc  # to ask for the port is to check it
    except ValueError:
        return None
    return parts if known else None


def _without_login(value: str) -> str:
    if login_of(value):
        raise ValueError(
            "a user or password is never written in an address: take it out, and give the secret as"
            " ${env:NAME} or ${file:PATH} under its own key of this section"
        )
    return value


def _http(value: str) -> str:
    if not is_http_url(value):
        raise ValueError("is no http:// or https:// address")
    return value


Address = Annotated[str, AfterValidator(_without_login)]
"""A field that takes no user and no password: secrets are references."""

HttpAddress = Annotated[Address, AfterValidator(_http)]
