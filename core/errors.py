"""Errors by consequence: what the program should do, not what went wrong inside.

Every message says what happened, where, and what to do. A `ValueError` raised in this
code base is none of these: it is a bug of ours, and ends the process.
"""


class TailraceError(Exception):
    """Base of every error we raise on purpose."""


class ConfigurationError(TailraceError):
    """The set-up is wrong, no input is to blame: say so and stop."""


class PermanentError(TailraceError):
    """This input will never work: park it with its reason and go on."""


class DecodeError(PermanentError):
    """The bytes are not what they should be: no meaning could be read from them."""


class ContractError(PermanentError):
    """The bytes were read, and break a rule that later stages stand on."""


class LimitError(PermanentError):
    """The input is past a stated limit: too long, too deep, too many, or nothing at all."""


class TransientError(TailraceError):
    """This may work later: wait and try again; commit nothing.

    `retry_after` is in seconds, where the other side said when.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class FencedError(TailraceError):
    """Somebody else may own this work now: end the process, acknowledge nothing."""
