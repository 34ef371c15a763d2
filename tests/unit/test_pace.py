"""Background work gives way to live work, keeps to its pace, and is never starved."""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import pytest

from core.clock import FixedClock
from core.errors import TransientError
from embed.encoder import HASHED_PIECE as PIECE
from embed.encoder import HashingEncoder, Kind, Pauses
from embed.model import Vector
from embed.pace import EXPECTED_SHARE, LEAST_SHARE, QUIET_SECONDS, Pace, PacedEncoder, Priority, Spent, Turns

LOOK_SECONDS = 0.1
STEP = 0.001
"""Of a wait for live work, in seconds."""


class Recorder(HashingEncoder):
    """Remembers its calls; `during` is called in each."""

    def __init__(self, during: Callable[[], None] = lambda: None) -> None:
        super().__init__(8)
        self.calls: list[list[str]] = []
        self._during = during

    def encode(self, texts: Sequence[str], *, kind: Kind) -> Vector:
        self.calls.append(list(texts))
        self._during()
        return super().encode(texts, kind=kind)


TEXTS = [" ".join(["word"] * (1 + n * 7 % 23)) + f" {n}" for n in range(50)]


class Time:
    """Passes where somebody works or waits, and nowhere else. What is planned happens meanwhile."""

    def __init__(self) -> None:
        self.clock = FixedClock(0)
        self._planned: list[tuple[float, Callable[[], object]]] = []

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    def plan(self, at: float, act: Callable[[], object]) -> None:
        self._planned.append((at, act))

    def go_on(self, seconds: float) -> None:
        self.clock.advance(max(seconds, 1e-9))  # less would vanish in rounding, and a wait never end
        due = [act for at, act in self._planned if at <= self.now]
        self._planned = [one for one in self._planned if one[0] > self.now]
        for act in due:
            act()


class Live(Priority):
    """Whoever waits for it makes the time go on."""

    def __init__(self, time: Time) -> None:
        super().__init__(time.clock)
        self._time = time

    def wait(self, most: float) -> bool:
        self._go_on(lambda: self.taken, most)
        return not self.taken

    def wait_expected(self, most: float) -> None:
        self._go_on(lambda: self.expected, most)

    def _go_on(self, reason: Callable[[], bool], most: float) -> None:
        end = self._time.now + most
        while reason():
            self._time.go_on(min(STEP, end - self._time.now))
            if self._time.now >= end:
                break

    def begin(self, until: float) -> None:
        """An edit from now on."""
        edit = ExitStack()
        edit.enter_context(self.held())
        self._time.plan(until, edit.close)


def paced(
    inner: HashingEncoder,
    *,
    priority: Priority | None = None,
    pace: Pace | None = None,
    background: Callable[[], bool] = lambda: True,
    time: Time | None = None,
) -> tuple[PacedEncoder, Turns, Spent]:
    spent = Spent()
    if time is None:
        turns = Turns(priority, lambda: pace or Pace(), background)
    else:
        turns = Turns(priority, lambda: pace or Pace(), background, clock=time.clock, sleep=time.go_on)
    return PacedEncoder(inner, turns, spent), turns, spent


def test_the_background_works_in_small_pieces_of_like_length_and_loses_no_order() -> None:
    inner = Recorder()
    encoder, _, spent = paced(inner)
    found = encoder.encode(TEXTS, kind="document")
    assert np.array_equal(found, HashingEncoder(8).encode(TEXTS, kind="document"))
    assert max(map(len, inner.calls)) == PIECE
    calls = sorted(sorted(len(text.split()) for text in call) for call in inner.calls)
    lengths = [length for call in calls for length in call]
    assert lengths == sorted(lengths)
    assert (spent.texts, spent.tokens) == (len(TEXTS), sum(lengths))
    assert encoder.encode([], kind="document").shape == (0, 8)


def test_the_longest_are_encoded_first() -> None:
    inner = Recorder()
    encoder, _, _ = paced(inner)
    encoder.encode(TEXTS, kind="document")
    lengths = [len(text.split()) for call in inner.calls for text in call]
    assert lengths == sorted(lengths, reverse=True)
    assert [len(call) for call in inner.calls] == [*[PIECE] * (len(TEXTS) // PIECE), len(TEXTS) % PIECE]


def test_a_pause_is_due_behind_live_work_and_to_keep_to_a_pace_and_only_in_the_background() -> None:
    live = Priority()
    with live.held():
        assert Turns(live, background=lambda: True).pressed()
        assert not Turns(live, background=lambda: False).pressed()
    assert not Turns(live, background=lambda: True).pressed()
    slow = Pace(share=0.9)
    assert Turns(live, lambda: slow, lambda: True).pressed()
    assert not Turns(live, lambda: slow, lambda: True, wished=lambda: True).pressed()


def test_the_background_is_disturbed_for_a_while_after_each_live_work() -> None:
    seen = list[bool]()

    class Asking(Recorder):
        def encode_with_pauses(self, texts: Sequence[str], *, kind: Kind, pauses: Pauses) -> Vector:
            seen.append(pauses.disturbed)
            return super().encode_with_pauses(texts, kind=kind, pauses=pauses)

    time = Time()
    priority = Priority(time.clock)
    encoder, _, _ = paced(Asking(), priority=priority, time=time)
    encoder.encode(["a"], kind="document")
    with priority.held():
        pass
    encoder.encode(["b"], kind="document")
    time.go_on(QUIET_SECONDS)
    encoder.encode(["c"], kind="document")
    assert seen == [False, True, False]


def test_what_answers_is_encoded_at_once() -> None:
    inner = Recorder()
    encoder, _, spent = paced(inner, pace=Pace(rate=0.001), background=lambda: False)
    encoder.encode(TEXTS, kind="document")
    assert inner.calls == [TEXTS]
    assert (spent.texts, spent.tokens) == (len(TEXTS), sum(inner.count(TEXTS)))


def test_a_promotion_in_the_middle_ends_the_waits() -> None:
    time, inner = Time(), Recorder()
    encoder, turns, _ = paced(
        inner, pace=Pace(rate=0.001), background=lambda: len(inner.calls) < 2, time=time
    )
    with turns.batch(lambda: True):
        found = encoder.encode(TEXTS, kind="document")
    assert time.now == pytest.approx(PIECE / 0.001)
    assert np.array_equal(found, HashingEncoder(8).encode(TEXTS, kind="document"))


def test_live_work_goes_first() -> None:
    time = Time()
    live = Live(time)
    turns = turns_beside(live, time)
    with turns.batch(lambda: True):
        live.begin(until=0.15)
        time.go_on(0.1)
        turns.give_way()
    assert 0.15 <= time.now <= 0.15 + STEP


def share_taken(turns: Turns, time: Time, pieces: int) -> float:
    """Of the time, by so many pieces of work."""
    began = time.now
    for _ in range(pieces):
        time.go_on(0.02)
        turns.give_way(1)
    return pieces * 0.02 / (time.now - began)


def test_constant_live_work_leaves_the_background_a_least_share() -> None:
    time = Time()
    live = Live(time)
    turns = turns_beside(live, time)
    with live.held(), turns.batch(lambda: True):
        assert share_taken(turns, time, 6) == pytest.approx(LEAST_SHARE)


@pytest.mark.parametrize(
    ("pieces", "edit", "waited"),
    [
        (5, 0.15, 0.15),
        (5, 10.0, (5 * 0.02 + 0.005) * (1 / LEAST_SHARE - 1)),
        (500, 10.0, 1.0),
    ],
    ids=["its end", "the share of before", "its patience"],
)
def test_an_edit_has_all_to_itself_where_the_background_has_had_its_share(
    pieces: int, edit: float, waited: float
) -> None:
    time = Time()
    live = Live(time)
    turns = turns_beside(live, time)
    with turns.batch(lambda: True):
        for _ in range(pieces):
            time.go_on(0.02)
            turns.give_way()
        live.begin(until=time.now + 0.005 + edit)
        time.go_on(0.005)
        began = time.now
        turns.give_way()
    assert time.now - began == pytest.approx(waited, abs=STEP)


def test_what_is_to_answer_has_half_of_the_time_and_no_limit() -> None:
    time, wished = Time(), threading.Event()
    live, pace = Live(time), Pace(rate=0.1, share=0.01)
    turns = Turns(live, lambda: pace, lambda: True, wished.is_set, time.clock, time.go_on)
    time.plan(0.2, wished.set)
    with live.held(), turns.batch(lambda: True):
        time.go_on(0.02)
        turns.give_way(1)
        assert 0.2 <= time.now <= 0.2 + LOOK_SECONDS, "it waited for the wish, and no longer"
        assert share_taken(turns, time, 6) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("pace", "seconds"),
    [(Pace(rate=50.0), 5 * PIECE / 50), (Pace(share=0.2), 5 * 0.01 / 0.2), (Pace(rate=1e6, share=1.0), 0.05)],
)
def test_a_pace_is_kept(pace: Pace, seconds: float) -> None:
    time = Time()
    encoder, turns, _ = paced(Recorder(lambda: time.go_on(0.01)), pace=pace, time=time)
    with turns.batch(lambda: True):
        encoder.encode(TEXTS[: 5 * PIECE], kind="document")
    assert time.now == pytest.approx(seconds)


def test_a_batch_that_is_no_longer_wanted_is_broken_off_in_its_rest() -> None:
    time, wanted = Time(), threading.Event()
    wanted.set()
    time.plan(0.25, wanted.clear)
    encoder, turns, _ = paced(Recorder(), pace=Pace(rate=0.01), time=time)
    with turns.batch(wanted.is_set), pytest.raises(TransientError, match="broken off"):
        encoder.encode(TEXTS, kind="document")
    assert 0.25 <= time.now <= 0.25 + LOOK_SECONDS
    assert time.now - turns.alive_at <= LOOK_SECONDS * 1.001, "one that rests shows that it lives"


def test_what_answers_is_never_broken_off() -> None:
    turns = Turns(Priority(), Pace, lambda: False)
    with turns.batch(lambda: False):
        turns.give_way(100)


def test_the_wait_for_live_work_ends_with_it() -> None:
    priority = Priority()
    released = threading.Event()

    def live() -> None:
        with priority.held():
            released.wait(5)

    thread = threading.Thread(target=live)
    thread.start()
    assert not priority.wait(0.01)
    released.set()
    assert priority.wait(5)
    thread.join()


def test_live_work_is_expected_until_it_was_there_or_time_is_over() -> None:
    clock = FixedClock(0)
    priority = Priority(clock)
    priority.expect(0.05)
    assert priority.expected
    assert not priority.taken
    clock.advance(0.06)
    assert not priority.expected
    priority.expect(60.0)
    with priority.held():
        assert priority.taken
        assert not priority.expected
    assert not priority.expected, "it was there"


def test_the_wait_for_expected_work_ends_with_its_time_and_with_its_beginning() -> None:
    priority, began = Priority(), threading.Event()
    priority.expect(0.01)
    priority.wait_expected(60)
    assert not priority.expected
    priority.expect(60.0)
    priority.wait_expected(0.01)
    assert priority.expected

    def live() -> None:
        with priority.held():
            began.wait(5)

    thread = threading.Thread(target=live)
    thread.start()
    priority.wait_expected(60)
    assert priority.taken
    began.set()
    thread.join()


def test_it_is_quiet_a_while_after_the_last_live_work() -> None:
    clock = FixedClock(0)
    priority = Priority(clock)
    turns = Turns(priority, background=lambda: True, clock=clock)
    assert turns.undisturbed, "nobody has come yet"
    priority.expect(0.05)
    clock.advance(QUIET_SECONDS - 0.1)
    assert not turns.undisturbed
    clock.advance(0.2)
    assert turns.undisturbed
    with priority.held():
        clock.advance(2 * QUIET_SECONDS)
        assert not turns.undisturbed, "it is at work"
    assert not turns.undisturbed
    clock.advance(QUIET_SECONDS + 0.1)
    assert turns.undisturbed


def turns_beside(live: Live, time: Time) -> Turns:
    return Turns(live, background=lambda: True, clock=time.clock, sleep=time.go_on)


def test_an_edit_that_is_expected_meets_an_idle_machine() -> None:
    time = Time()
    live = Live(time)
    turns = turns_beside(live, time)
    with turns.batch(lambda: True):
        time.go_on(0.5)
        turns.give_way()
        live.expect(0.05)
        assert turns.pressed()
        time.plan(time.now + 0.02, lambda: live.begin(until=time.now + 0.1))
        began = time.now
        turns.give_way()
    assert time.now - began == pytest.approx(0.12, abs=3 * STEP)


def test_edits_that_never_pause_do_not_starve_a_build_by_being_expected() -> None:
    """Each is expected before the one before it is over; at work they are only for moments."""
    time = Time()
    live = Live(time)
    turns = turns_beside(live, time)
    with turns.batch(lambda: True):
        live.expect(1e6)
        assert share_taken(turns, time, 60) == pytest.approx(1 - EXPECTED_SHARE, abs=0.02)
        assert not turns.pressed(), "no pause is due where none is taken"
