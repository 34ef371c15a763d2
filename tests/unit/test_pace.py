"""Background work gives way to live work, keeps to its pace, and is never starved."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest

from core.errors import TransientError
from embed.encoder import HashingEncoder, Kind
from embed.model import Vector
from embed.pace import BEGUN, Pace, PacedEncoder, Priority, Spent, Turns

PIECE = HashingEncoder.batch_size


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


def paced(
    inner: HashingEncoder,
    *,
    priority: Priority | None = None,
    pace: Pace | None = None,
    background: Callable[[], bool] = lambda: True,
) -> tuple[PacedEncoder, Turns, Spent]:
    turns, spent = Turns(priority, lambda: pace or Pace(), background), Spent()
    return PacedEncoder(inner, turns, spent), turns, spent


@contextmanager
def spinning(seconds: float) -> Iterator[None]:
    yield
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


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


def test_the_encoder_says_how_large_a_piece_is() -> None:
    inner = Recorder()
    inner.batch_size = 32
    encoder, _, _ = paced(inner, pace=Pace(share=1.0))
    assert encoder.batch_size == 32
    encoder.encode([*TEXTS, *TEXTS], kind="document")
    assert [len(call) for call in inner.calls] == [32, 32, 32, 4]


def test_the_encoder_has_the_next_piece_before_it_is_done_with_one() -> None:
    both = threading.Barrier(BEGUN, timeout=10)

    def met() -> None:
        both.wait()  # breaks where one is alone

    encoder, _, _ = paced(Recorder(met))
    encoder.encode(TEXTS[: 6 * PIECE], kind="document")


def test_a_rest_is_one_of_the_whole_encoder() -> None:
    at_work = most = 0

    def work() -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        time.sleep(0.005)
        at_work -= 1

    for pace, held in ((Pace(share=0.9), False), (Pace(), True)):
        priority, most = Priority(), 0
        encoder, _, _ = paced(Recorder(work), pace=pace, priority=priority)
        with priority.held() if held else nullcontext():
            encoder.encode(TEXTS[: 4 * PIECE], kind="document")
        assert most == 1


def test_what_answers_is_encoded_at_once() -> None:
    inner = Recorder()
    encoder, _, spent = paced(inner, pace=Pace(rate=0.001), background=lambda: False)
    encoder.encode(TEXTS, kind="document")
    assert inner.calls == [TEXTS]
    assert (spent.texts, spent.tokens) == (len(TEXTS), 0)


def test_a_promotion_in_the_middle_ends_the_small_pieces() -> None:
    inner = Recorder()
    encoder, _, _ = paced(inner, background=lambda: len(inner.calls) < 2)
    found = encoder.encode(TEXTS, kind="document")
    *small, rest = sorted(len(call) for call in inner.calls)
    assert small in ([PIECE] * 2, [PIECE] * 3), "what had begun ends as it is"
    assert rest == len(TEXTS) - sum(small)
    assert np.array_equal(found, HashingEncoder(8).encode(TEXTS, kind="document"))


def test_live_work_goes_first() -> None:
    priority, order, begun = Priority(), list[str](), threading.Event()
    live = Turns(priority)

    def background() -> None:
        with turns.batch(lambda: True):
            begun.set()
            with spinning(0.1):
                pass
            turns.give_way()
            order.append("background")

    turns = Turns(priority, Pace, lambda: True)
    thread = threading.Thread(target=background)
    with live.batch(lambda: True):
        thread.start()
        assert begun.wait(5)
        with spinning(0.15):
            pass
        order.append("live")
    thread.join(5)
    assert order == ["live", "background"]


def share_taken(turns: Turns, pieces: int) -> float:
    """Of the time, by so many pieces of work."""
    began, worked = time.monotonic(), 0.0
    for _ in range(pieces):
        started = time.monotonic()
        with spinning(0.02):
            pass
        worked += time.monotonic() - started
        turns.give_way(1)
    return worked / (time.monotonic() - began)


def test_constant_live_work_leaves_the_background_a_least_share() -> None:
    priority = Priority()
    turns = Turns(priority, Pace, lambda: True)
    with priority.held(), turns.batch(lambda: True):
        assert 0.2 < share_taken(turns, 6) < 0.36, "three tenths"


def test_an_edit_has_all_to_itself_where_the_background_has_had_its_share() -> None:
    priority = Priority()
    turns = Turns(priority, Pace, lambda: True)
    with turns.batch(lambda: True):
        for _ in range(5):
            with spinning(0.02):
                pass
            turns.give_way()
        began = time.monotonic()
        edit = threading.Timer(0.15, lambda: held.__exit__(None, None, None))
        held = priority.held()
        held.__enter__()
        edit.start()
        with spinning(0.005):
            pass
        turns.give_way()
        assert 0.15 <= time.monotonic() - began < 1.0, "until the edit is done, and no longer"
    edit.join()


def test_what_is_to_answer_has_half_of_the_time_and_no_limit() -> None:
    priority, wished = Priority(), threading.Event()
    turns = Turns(priority, lambda: Pace(rate=0.1, share=0.01), lambda: True, wished.is_set)
    timer = threading.Timer(0.2, wished.set)
    with priority.held(), turns.batch(lambda: True):
        timer.start()
        began = time.monotonic()
        with spinning(0.02):
            pass
        turns.give_way(1)
        assert 0.2 <= time.monotonic() - began < 1.0, "it waited for the wish, and no longer"
        assert 0.38 < share_taken(turns, 6) < 0.6, "half"
    timer.join()


@pytest.mark.parametrize(
    ("pace", "least"), [(Pace(rate=50.0), 0.4), (Pace(share=0.2), 0.2), (Pace(rate=1e6, share=1.0), 0.0)]
)
def test_a_pace_is_kept(pace: Pace, least: float) -> None:
    def work() -> None:
        with spinning(0.01):
            pass

    inner = Recorder(work)
    encoder, turns, _ = paced(inner, pace=pace)
    began = time.monotonic()
    with turns.batch(lambda: True):
        encoder.encode(TEXTS[: 5 * PIECE], kind="document")
    took = time.monotonic() - began
    assert least <= took < least + 0.5


def test_a_batch_that_is_no_longer_wanted_is_broken_off_in_its_rest() -> None:
    encoder, turns, _ = paced(Recorder(), pace=Pace(rate=0.01))
    wanted = threading.Event()
    wanted.set()
    timer = threading.Timer(0.2, wanted.clear)
    timer.start()
    began = time.monotonic()
    with turns.batch(wanted.is_set), pytest.raises(TransientError, match="broken off"):
        encoder.encode(TEXTS, kind="document")
    assert time.monotonic() - began < 2
    assert time.monotonic() - turns.alive_at < 1, "one that rests shows that it lives"
    timer.join()


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
