"""Work that can wait, beside work that cannot: a generation is built while another one answers.

What answers goes first. Whoever builds gives way between two small pieces of work, is slowed down as
it was asked to, and still gets a least share of the time.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from threading import Condition, Lock
from typing import Final

from core.clock import Clock, SystemClock
from core.errors import TransientError
from embed.encoder import Kind, PausingEncoder
from embed.model import Vector

LEAST_SHARE: Final = 0.4
"""Of the time, for the background, however much live work there is: it must end one day, and one that has
answered before must keep pace, or there is no way back to it. Beside 90 edits a second and four clients that
never pause, a build fell behind with a tenth; with 0.3 it was level after minutes, with 0.4 after 20 s."""

PATIENCE_SECONDS: Final = 1.0
"""For so long at once may live work hold up the background, if that had its share before: an edit is over
sooner, and nothing runs beside it."""

EXPECTED_SHARE: Final = 0.1
"""Of the time, for waits behind live work that has not come yet, at most: nothing works meanwhile. Where
edits never pause the next one is always expected, and a build would hardly get on."""

EXPECTED_SECONDS: Final = 0.1
"""Most of that at once."""

WISHED_SHARE: Final = 0.5
"""Of the time, for one that is to answer as soon as it is level: somebody waits for that."""

QUIET_SECONDS: Final = 10.0
"""Since the last live work: then the next edit is not expected soon."""

LOOK_SECONDS: Final = 0.1
"""Between two looks, while waiting, at whether the wait still has a reason."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a generation that does not answer may be built; None: as fast as live ingest leaves room."""

    rate: float | None = None
    """Embedded chunks a second, at most."""
    share: float | None = None
    """Of the time, between 0 and 1."""


@dataclass(slots=True)
class Spent:
    """What the encoder was asked for since the process started."""

    texts: int = 0
    tokens: int = 0
    """Of these texts, as the encoder counts them."""
    seconds: float = 0.0


class Priority:
    """Who is at work on what answers, and who soon will be. One for a process; thread-safe."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._change, self._clock = Condition(), clock or SystemClock()
        self._at_work, self._expected = 0, 0.0
        self._last = -QUIET_SECONDS + self._clock.monotonic()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Live work, as long as the block runs."""
        with self._change:
            self._at_work += 1
            self._change.notify_all()
        try:
            yield
        finally:
            with self._change:
                self._at_work, self._expected = self._at_work - 1, 0.0
                self._last = self._clock.monotonic()
                self._change.notify_all()

    def expect(self, seconds: float) -> None:
        """Live work is on its way: some of it begins within so long, or it is not waited for."""
        with self._change:
            self._last = self._clock.monotonic()
            self._expected = self._last + seconds

    @property
    def quiet(self) -> bool:
        """Whether there has been no live work for a while, nor any on its way."""
        return not self._at_work and self._clock.monotonic() >= self._last + QUIET_SECONDS

    @property
    def taken(self) -> bool:
        """Whether somebody is at work."""
        return self._at_work > 0

    @property
    def expected(self) -> bool:
        """Whether nobody is, and somebody will be in a moment."""
        return not self._at_work and self._clock.monotonic() < self._expected

    def wait(self, most: float) -> bool:
        """Until nobody is at work on what answers, at most so many seconds. Whether that is so."""
        with self._change:
            return self._change.wait_for(lambda: not self.taken, most)

    def wait_expected(self, most: float) -> None:
        """Until what is expected has begun, or is so no longer, at most so many seconds."""
        with self._change:
            left = self._expected - self._clock.monotonic()
            if not self.taken and left > 0:
                self._change.wait(min(left, most))


class Turns:
    """One generation's way to work: first if it answers, else in turns.

    One that is wished for has half of the time at least, and no limits. The threads of its agent share its
    time: while one of them rests, the others come no further than to the end of their piece.
    """

    def __init__(
        self,
        priority: Priority | None = None,
        pace: Callable[[], Pace] = Pace,
        background: Callable[[], bool] = lambda: False,
        wished: Callable[[], bool] = lambda: False,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._priority, self.background = priority or Priority(), background
        self._recorded, self._wished = pace, wished
        self._wanted: Callable[[], bool] = lambda: True
        self._one = Lock()
        self._clock, self._sleep = clock or SystemClock(), sleep
        self._since = self._due = self._clock.monotonic()
        self._patience = self._patience_expected = 0.0

    @property
    def alive_at(self) -> float:
        """When it last worked or looked (monotonic): one that rests is no one that hangs."""
        return self._since

    @contextmanager
    def batch(self, wanted: Callable[[], bool]) -> Iterator[None]:
        """Around a batch. `wanted`, asked from the thread that works, tells when to break off."""
        self._wanted, self._since = wanted, self._clock.monotonic()
        self._due = max(self._due, self._since)
        with nullcontext() if self.background() else self._priority.held():
            yield

    @property
    def undisturbed(self) -> bool:
        """Whether nobody has needed to go first for a while."""
        return self._priority.quiet

    def pressed(self) -> bool:
        """Whether it would have to wait between two pieces: behind live work, or to keep to its pace."""
        if not self.background():
            return False
        soon = self._priority.expected and self._patience_expected > 0
        return self._priority.taken or soon or self._pace() != Pace()

    def give_way(self, texts: int = 0) -> None:
        """Between two pieces of work, of which the last embedded so many texts.

        Raises TransientError in the background if the batch is no longer wanted: it can be done again.
        """
        with self._one:
            began = self._clock.monotonic()
            worked, self._since = began - self._since, began
            self._give_way_to_live(began, worked)
            while self._goes_on():
                now = self._clock.monotonic()
                left = max(began + self._rest(worked), self._next(texts)) - now
                if left <= 0:
                    break
                self._since = now
                self._sleep(min(left, LOOK_SECONDS))
            if texts:
                self._due = max(began, self._next(texts))
            self._since = self._clock.monotonic()

    def _give_way_to_live(self, began: float, worked: float) -> None:
        self._patience = min(self._patience + _beside(LEAST_SHARE, worked), PATIENCE_SECONDS)
        expected = self._patience_expected + _beside(1 - EXPECTED_SHARE, worked)
        self._patience_expected = min(expected, EXPECTED_SECONDS)
        while self._goes_on():
            self._since = now = self._clock.monotonic()
            patience = _beside(WISHED_SHARE, worked) if self._wished() else self._patience
            left = min(began + patience - now, LOOK_SECONDS)
            if left > 0 and self._priority.taken:
                self._priority.wait(left)
            elif (left := min(left, self._patience_expected)) > 0 and self._priority.expected:
                self._priority.wait_expected(left)
                self._patience_expected -= self._clock.monotonic() - now
            else:
                break
        self._patience = max(0.0, self._patience - (self._clock.monotonic() - began))

    def _goes_on(self) -> bool:
        """Whether there is a reason to wait; the work itself may have lost its own.

        What answers is never broken off: a batch that is done is not done again by the next worker.
        """
        if not self.background():
            return False
        if not self._wanted():
            raise TransientError("broken off: the partition is another worker's, or this one stops")
        return True

    def _pace(self) -> Pace:
        return Pace() if self._wished() else self._recorded()

    def _rest(self, worked: float) -> float:
        share = self._pace().share
        return _beside(share, worked) if share else 0.0

    def _next(self, texts: int) -> float:
        """When, at the rate asked for, so many texts are due after those before them."""
        rate = self._pace().rate
        return self._due + texts / rate if rate else self._due


def _beside(share: float, worked: float) -> float:
    """The time for others, where so much work is this share of all."""
    return worked * (1 / share - 1)


class _TurnsAsPauses:
    """The turns of one call, whose texts have so many tokens, and what it has spent."""

    def __init__(self, turns: Turns, spent: Spent, tokens: Sequence[int]) -> None:
        self._turns, self._spent, self._tokens = turns, spent, tokens
        self._began = time.monotonic()

    @property
    def due(self) -> bool:
        return self._turns.pressed()

    @property
    def disturbed(self) -> bool:
        return not self._turns.undisturbed

    def take(self, places: Sequence[int]) -> None:
        self._spent.texts += len(places)
        self._spent.tokens += sum(self._tokens[place] for place in places)
        self._spent.seconds += time.monotonic() - self._began
        self._turns.give_way(len(places))
        self._began = time.monotonic()


class PacedEncoder:
    """An encoder for one generation, which counts, and in the background works with pauses."""

    def __init__(self, inner: PausingEncoder, turns: Turns, spent: Spent) -> None:
        self._inner, self._turns, self._spent = inner, turns, spent
        self.fingerprint, self.dimensions = inner.fingerprint, inner.dimensions
        self.max_tokens = inner.max_tokens

    def count(self, texts: Sequence[str]) -> list[int]:
        return self._inner.count(texts)

    def encode(self, texts: Sequence[str], *, kind: Kind) -> Vector:
        """Raises TransientError too if the work is no longer wanted."""
        tokens = self._inner.count(texts)
        if self._turns.background():
            pauses = _TurnsAsPauses(self._turns, self._spent, tokens)
            return self._inner.encode_with_pauses(texts, kind=kind, pauses=pauses)
        began = time.monotonic()
        rows = self._inner.encode(texts, kind=kind)
        self._spent.texts += len(texts)
        self._spent.tokens += sum(tokens)
        self._spent.seconds += time.monotonic() - began
        return rows

    def close(self) -> None:
        """Nothing of its own to close."""
