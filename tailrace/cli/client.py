"""The query service, as commands reach it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2

from core.errors import ConfigurationError, PermanentError, TailraceError, TransientError

_NO_ADDRESS = (httpx2.InvalidURL, httpx2.UnsupportedProtocol, UnicodeError)


def service_url(url: str | None, config: Path) -> str:
    """The address given, or the one that the configuration says."""
    if url is not None:
        return url.rstrip("/")
    from tailrace.configuration import load

    serve = load(config).settings.serve
    if serve.port == 0:
        raise ConfigurationError("serve.port is 0 (any free port): name the service with --url")
    return f"http://{serve.host}:{serve.port}"


def call(
    url: str, method: str, path: str, body: Mapping[str, Any] | None = None, *, timeout: float = 30.0
) -> Any:
    """The answer's JSON. Raises our errors, with what the service said."""
    try:
        response = httpx2.request(method, f"{url}{path}", json=body, timeout=timeout)
    except _NO_ADDRESS as error:
        raise _wrong(url, error) from error
    except httpx2.ConnectError as error:
        raise _away(url) from error
    except httpx2.HTTPError as error:
        raise TransientError(f"{url}{path}: {error!r}") from error
    if not response.is_success:
        raise _refused(url, path, response)
    try:
        return response.json()
    except ValueError as error:
        raise stranger(url, path) from error


def call_lines(url: str, path: str, body: Mapping[str, Any], *, timeout: float = 60.0) -> Iterator[Any]:
    """Each line of an answer that comes in JSON lines; `timeout` for each. Raises as `call`."""
    try:
        with httpx2.stream("POST", f"{url}{path}", json=body, timeout=timeout) as response:
            if not response.is_success:
                response.read()
                raise _refused(url, path, response)
            for line in response.iter_lines():
                made = json.loads(line)
                if not isinstance(made, dict):
                    raise stranger(url, path)
                if "error" in made:
                    raise TransientError(f"{url}{path}: {_detail(made['error']) or made['error']}")
                yield made
    except _NO_ADDRESS as error:
        raise _wrong(url, error) from error
    except httpx2.ConnectError as error:
        raise _away(url) from error
    except (httpx2.HTTPError, ValueError) as error:
        raise TransientError(f"{url}{path}: {error!r}") from error


def stranger(url: str, path: str) -> PermanentError:
    """What to raise for an answer that no query service gives."""
    return PermanentError(
        f"{url}{path}: that is no answer of a query service of this release: see what runs there, or name the"
        " service with --url"
    )


def _detail(problem: object) -> object:
    """What a problem says in words, if it is one of ours."""
    return problem.get("detail") if isinstance(problem, dict) else None


def _wrong(url: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(f"{url} is no address of a query service: write http://host:port ({error})")


def _away(url: str) -> TransientError:
    return TransientError(
        f"no query service at {url}: start `tailrace dev` or `tailrace serve`, or name it with --url"
    )


def _refused(url: str, path: str, response: httpx2.Response) -> TailraceError:
    try:
        said = _detail(response.json()) or response.text[:500]
    except ValueError:
        said = response.text[:500]
    message = f"{url}{path}: HTTP {response.status_code}: {said}"
    if response.status_code < 500:  # noqa: PLR2004 - HTTP's own
        return PermanentError(message)
    after = response.headers.get("retry-after", "")
    return TransientError(message, retry_after=float(after) if after.isdecimal() else None)
