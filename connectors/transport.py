"""One call to Kafka Connect: sent, tried again while it may yet work, and refused without secrets."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import requests
import stamina

from connectors.masking import masked_text
from core.addresses import secrets_of, shown_url
from core.errors import ConfigurationError, PermanentError, TransientError

_BUSY: Final = frozenset({409, 429, 502, 503, 504})
"""409: the workers are rebalancing, for a second or so after each change."""

_PROXY: Final = frozenset({502, 504})
"""Of a proxy, whose worker may have taken the call."""

_SLOW_SECONDS: Final = 100.0
"""For calls that make the worker connect to the database; Connect itself gives them up after 90 s."""


_LONGEST: Final = 2000
"""Characters of a refusal that are told: a worker may quote a whole configuration."""


class LaterError(TransientError):
    """Worth another try at once; what is raised in the end is a TransientError like others."""


class LostError(LaterError):
    """The call was sent, and its answer never came: whether it was taken is not known."""


class Transport:
    """Calls to one Connect cluster; `login` is the user and password of one that asks for them.

    Each call is tried for up to `patience` seconds. Raises TransientError when Connect is away or busy
    for longer, ConfigurationError when it refuses a configuration, PermanentError for any other refusal.
    No message holds a secret. Not thread-safe.
    """

    def __init__(self, url: str, *, login: tuple[str, str] | None, timeout: float, patience: float) -> None:
        self._url = url.rstrip("/")
        self.shown = shown_url(self._url)
        self._timeout = timeout
        self._patience = patience
        self._session = requests.Session()
        # Proxies of the environment would get the secrets' references and the loopback calls.
        self._session.trust_env = False
        self._session.auth = login
        self._secrets = secrets_of(self._url) | ({login[1]} if login else set())

    def close(self) -> None:
        self._session.close()

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        missing_is_none: bool = False,
        slow: bool = False,
        accept: frozenset[int] = frozenset(),
        config: Mapping[str, str] | None = None,
        password_keys: frozenset[str] = frozenset(),
        secrets: frozenset[str] = frozenset(),
    ) -> Any:
        """What Connect answers, read from its JSON.

        `missing_is_none`: None where Connect says that it has no such thing. `slow`: the worker dials the
        database for it. `accept`: statuses of answers that are no refusals. What a refusal quotes of
        `config`, the configuration in the body, is masked as `masked_text` says.
        """
        timeout = max(self._timeout, _SLOW_SECONDS) if slow else self._timeout
        # The other methods do the same a second time; a POST does it again.
        again = method != "POST"
        for attempt in self.attempts(
            lambda error: isinstance(error, LaterError) and (again or not isinstance(error, LostError))
        ):
            with attempt:
                answer = self._send(method, path, body, timeout)
                if missing_is_none and _is_missing(answer):
                    return None
                if answer.ok or answer.status_code in accept:
                    return _content(answer)
                known = secrets | self._secrets
                message = masked_text(_message(answer), config, password_keys=password_keys, secrets=known)
                # Masked first: half of a secret is not known again.
                raise self._refusal(method, path, answer, message[:_LONGEST])
        raise AssertionError("stamina either returns or raises")

    def attempts(self, on: Callable[[Exception], bool]) -> Iterable[stamina.Attempt]:
        return stamina.retry_context(
            on=on, attempts=None, timeout=self._patience, wait_initial=0.1, wait_max=1.0
        )

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout: float
    ) -> requests.Response:
        try:
            return self._session.request(method, self._url + path, json=body, timeout=timeout)
        except requests.ReadTimeout:
            raise TransientError(
                f"{self._what(method, path)}: no answer within {timeout:.0f} s: is the worker overloaded,"
                " or the database that it is to look at out of its reach?"
            ) from None
        except requests.RequestException as error:
            # The library's own message may quote the address with whatever stands in it.
            said = f"{self._what(method, path)}: {type(error).__name__}; is Connect running there?"
            if not _was_sent(error):
                raise LaterError(said) from None
            raise LostError(said + ("" if method == "GET" else " It may have been taken.")) from None

    def _refusal(self, method: str, path: str, answer: requests.Response, message: str) -> Exception:
        said = f"{self._what(method, path)}: {answer.status_code}: {message}"
        if answer.status_code in _BUSY:
            return LostError(said) if answer.status_code in _PROXY else LaterError(said)
        if answer.status_code == requests.codes.not_found and not _is_missing(answer):
            return LaterError(f"{said}: the worker is starting, or that is not Connect")
        if answer.status_code in {400, 422}:
            return ConfigurationError(said)
        if "timed out" in message:
            return TransientError(f"{said}; can the worker reach the database, and does it answer?")
        if answer.status_code >= requests.codes.server_error:
            return LostError(said)
        return PermanentError(said)

    def _what(self, method: str, path: str) -> str:
        return f"Kafka Connect, {method} {self.shown}{path}"


def _was_sent(error: requests.RequestException) -> bool:
    """Whether the worker may have the call: not if there was no connection to send it on."""
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    refused = type(reason).__name__ in {"NewConnectionError", "NameResolutionError"}
    return not (refused or isinstance(error, requests.ConnectTimeout))


def _content(answer: requests.Response) -> Any:
    try:
        return answer.json() if answer.content else None
    except requests.JSONDecodeError:
        raise TransientError(
            f"Kafka Connect, {shown_url(answer.url)}: the answer is no JSON: is Connect there?"
        ) from None


def _is_missing(answer: requests.Response) -> bool:
    """Whether Connect itself says so: while it starts, its web server knows none of its addresses."""
    return answer.status_code == requests.codes.not_found and "error_code" in _body(answer)


def _body(answer: requests.Response) -> dict[str, Any]:
    try:
        parsed = answer.json()
    except requests.JSONDecodeError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {}


def _message(answer: requests.Response) -> str:
    text = _body(answer).get("message")
    return str(text or answer.reason or "no message")
