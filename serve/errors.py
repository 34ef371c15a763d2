"""Errors of requests, on top of core.errors: which part of the request is meant."""

from collections.abc import Iterable

from core.errors import ContractError


class RequestError(ContractError):
    """A part of the request, `param`, breaks a rule."""

    def __init__(self, message: str, param: str | None) -> None:
        super().__init__(message)
        self.param = param


class UnknownNameError(RequestError):
    """The request names something that is not there, or that this caller may not see."""

    def __init__(
        self, kind: str, name: str, known: Iterable[str] | None = None, *, code: str | None = None
    ) -> None:
        shown = "" if known is None else f": write one of {', '.join(sorted(known)) or '(none configured)'}"
        super().__init__(f"there is no {kind} {name[:100]!r}{shown}", kind)
        self.code = code or f"{kind.replace(' ', '_')}_not_found"
