"""Which addresses a connector may be sent to: never those by which clouds hand out credentials.

Pure: names are compared, none is looked up.
"""

import ipaddress
import re
import socket
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from connectors.keys import ends_with_a_name
from connectors.mongo_address import SCHEMES as MONGO_SCHEMES
from connectors.mongo_address import mongo_hosts, wrong_mongo
from connectors.references import harmless
from connectors.violation import Violation

_HOST_KEY = re.compile(
    r"(.*\.)?(hostname|hosts?|servers|ur[il]s?|connection\.string|endpoint|address(es)?)", re.IGNORECASE
)
# From the beginning of a word only: from each of its letters it would take a square of time.
_URL = re.compile(r"(?<![A-Za-z0-9+._-])[A-Za-z0-9+._-]++://[^\s,\"']+")
_MONGO = re.compile(r"\s*mongodb(\+srv)?://", re.IGNORECASE)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+._-]*)://")
_METADATA_NAMES: Final = frozenset(
    (
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "metadata.azure.internal",
        "metadata.tencentyun.com",
        "instance-data",
        "instance-data.ec2.internal",
    )
)
_METADATA: Final = tuple(
    ipaddress.ip_network(net)
    for net in (
        "169.254.0.0/16",  # link-local: metadata of most clouds
        "fe80::/10",
        "fd00:ec2::/32",  # AWS over IPv6
        "fd20:ce::254/128",  # Google over IPv6
        "100.100.100.200/32",  # Alibaba
        "192.0.0.192/32",  # Oracle
        "168.63.129.16/32",  # Azure's agent
        "0.0.0.0/8",  # this host, by another name
        "::/128",
    )
)
_CARRIERS: Final = tuple(
    ipaddress.IPv6Network(net)
    for net in (
        "::/96",  # IPv4-compatible (RFC 4291)
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated (RFC 2765)
        "64:ff9b::/96",  # NAT64 (RFC 6052)
        "64:ff9b:1::/48",  # a network's own NAT64 (RFC 8215)
    )
)
"""Their last 32 bits are an IPv4 address."""

_SCHEMES: Final = frozenset(
    {"http", "https", "kafka", "plaintext", "ssl", "sasl_plaintext", "sasl_ssl", *MONGO_SCHEMES}
)
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?|[0-9A-Fa-f:.]+(%\w+)?", re.ASCII)
_PLAIN_MONGO: Final = "mongodb://host:port/?replicaSet=… with user and password under keys of their own"
_WHOLE: Final = "a whole address, or one plain reference: ${provider:path:key}"
_WHY_METADATA: Final = "clouds hand out credentials there to whoever asks from the worker"


def host_rules(config: Mapping[str, str], allowed: Collection[str] | None = None) -> Iterator[Violation]:
    """Addresses that no connector may name; with `allowed`, every one that is not on that list."""
    for key, value in config.items():
        whole = harmless(value)
        if _HOST_KEY.fullmatch(key) and not ends_with_a_name(key):
            if "${" in value and not whole:
                why = "a part of an address that is filled in on the worker carries a secret to a name server"
                want = _PLAIN_MONGO if _MONGO.match(value) else _WHOLE
                yield Violation("host", key, "an address with a reference in it", want, why)
            elif whole and allowed is not None:
                why = "an address that only the worker knows cannot be compared with the allowed ones"
                yield Violation("host", key, "a reference", "the address itself", why)
            elif not whole:
                yield from _judged(key, value, allowed)
        elif _MONGO.match(value):
            yield from _judged(key, value, allowed)
        else:
            for url in _URL.findall(value):
                yield from _judged(key, url, allowed)


def _judged(key: str, value: str, allowed: Collection[str] | None) -> Iterator[Violation]:
    if _MONGO.match(value) and (wrong := wrong_mongo(value)) is not None:
        yield Violation("host", key, "no plain connection string", _PLAIN_MONGO, wrong)
        return
    for scheme, address in mongo_hosts(value) if _MONGO.match(value) else _addresses(value):
        host = _without_port(address)
        if scheme and scheme not in _SCHEMES:
            why = "the worker would open what no connector needs"
            yield Violation("host", key, "of another scheme", f"one of {', '.join(sorted(_SCHEMES))}", why)
        elif not _HOST.fullmatch(host):
            yield Violation("host", key, "no plain address", "host, or host:port", "it may hide another one")
        elif is_metadata(host):
            yield Violation("host", key, host, "the database's own address", _WHY_METADATA)
        elif allowed is not None and not any(_matches(host, pattern) for pattern in allowed):
            want = f"one of {', '.join(sorted(allowed)) or 'none'}"
            yield Violation("host", key, host, want, "only these addresses were allowed")


def is_metadata(host: str) -> bool:
    """Whether a name or address, however it is spelt, is a cloud's metadata service or link-local."""
    name = host.rstrip(".").lower()
    if name in _METADATA_NAMES:
        return True
    try:
        address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(name.split("%")[0])
    except ValueError:
        try:
            # Also 2852039166, 0xa9fea9fe, 0251.0376.0251.0376: what the C library reads as an address.
            address = ipaddress.IPv4Address(socket.inet_aton(name))
        except (OSError, ValueError):
            return _embeds_metadata(name)
    return any(one in net for one in (address, *_carried(address)) for net in _METADATA)


def _carried(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address stands for."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.sixtofour is not None:
            yield address.sixtofour
        # `::1` is this machine, and no 0.0.0.1.
        if not address.is_loopback and any(address in net for net in _CARRIERS):
            yield ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)


def _embeds_metadata(name: str) -> bool:
    """Names such as 169.254.169.254.nip.io, which resolve to the address that they spell."""
    return (
        re.search(r"(^|[.-])169[.-]254[.-]\d{1,3}[.-]\d{1,3}([.-]|$)|(^|[.-])a9fe-?[0-9a-f]{4}([.-]|$)", name)
        is not None
    )


def _addresses(value: str) -> Iterator[tuple[str, str]]:
    """(scheme or "", `host` or `host:port`) of each address: hosts, or URLs with several hosts."""
    scheme, in_path = "", False
    for part in filter(None, map(str.strip, value.split(","))):
        rest = part
        if (found := _SCHEME.match(part)) is not None:
            scheme, rest, in_path = found[1].lower(), part[found.end() :], False
        if in_path:
            continue  # a comma in a URL's path or options
        if scheme in {"http", "https"}:
            in_path = re.search(r"[/?#]", rest) is not None
            rest = re.split(r"[/?#]", rest, maxsplit=1)[0]
            # Readers of URLs disagree on a backslash before the host.
            rest = rest if "\\" in rest else rest.rpartition("@")[2]
        yield scheme, rest


def _without_port(address: str) -> str:
    """`host` of `host`, `host:port`, `[::1]:port`, or an IPv6 address without brackets."""
    bracketed = re.fullmatch(r"\[([^\]]+)\](:[0-9]+)?", address)
    if bracketed is not None:
        return bracketed[1]
    return address if address.count(":") > 1 else re.sub(r":[0-9]+$", "", address)


def _matches(host: str, pattern: str) -> bool:
    host, pattern = host.rstrip(".").lower(), pattern.lower()
    return host.endswith(pattern[1:]) and host != pattern[2:] if pattern.startswith("*.") else host == pattern
