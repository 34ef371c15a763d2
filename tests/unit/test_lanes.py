"""Who may use an infer request, and what becomes of the parts of a call."""

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest

from core.errors import TransientError
from embed.encoders.lanes import Callers, Lanes, Request


def test_each_request_has_one_user_at_a_time_and_every_part_is_done() -> None:
    lanes = Lanes(["one", "two"])
    lock, using, done, most = threading.Lock(), set[str](), list[list[int]](), [0]
    both = threading.Barrier(2, timeout=10)

    def work(request: Any, part: list[int]) -> None:
        with lock:
            assert request not in using
            using.add(request)
            most[0] = max(most[0], len(using))
        if part[0] < 2:
            both.wait()  # two at a time, or never
        with lock:
            using.remove(request)
            done.append(part)

    lanes.run(work, [[number] for number in range(20)])
    lanes.close()
    assert (sorted(done), most[0]) == ([[number] for number in range(20)], 2)


def test_what_a_part_raises_ends_the_others_and_leaves_none_behind() -> None:
    lanes = Lanes(["one", "two"])
    done: list[int] = []

    def work(_: Any, part: list[int]) -> None:
        if part == [1]:
            raise TransientError("away")
        done.append(part[0])

    with pytest.raises(TransientError, match="away"):
        lanes.run(work, [[number] for number in range(1000)])
    so_many = len(done)
    lanes.run(work, [[7000]])
    assert done[so_many:] == [7000], "nothing of the call before"
    lanes.close()


def test_a_small_call_goes_before_what_is_left_of_a_large_one() -> None:
    lanes = Lanes(["one"])
    begun, go_on, done = threading.Event(), threading.Event(), list[int]()

    def work(_: Any, part: list[int]) -> None:
        begun.set()
        assert go_on.wait(10)
        done.extend(part)

    calls = [threading.Thread(target=lanes.run, args=(work, [[n] for n in range(5)]))]
    calls[0].start()
    assert begun.wait(10)
    calls.append(threading.Thread(target=lanes.run, args=(work, [[100]])))
    calls[1].start()
    while lanes.waiting < 5:  # four of the large call, one of the small one
        time.sleep(0.001)
    go_on.set()
    for call in calls:
        call.join(10)
    lanes.close()
    assert done == [0, 100, 1, 2, 3, 4]


class Slowly:
    """Pauses, and the parts at work in each."""

    disturbed = False

    def __init__(self, due: bool) -> None:
        self.due, self.seen, self.told = due, list[int](), list[int]()
        self.at_work = 0

    def take(self, places: Sequence[int]) -> None:
        self.seen.append(self.at_work)
        self.told += places


def test_nothing_is_at_work_in_a_pause_that_is_due_and_every_lane_between_two() -> None:
    lanes, pauses, lock = Lanes(["one", "two"]), Slowly(due=True), threading.Lock()
    both = threading.Barrier(2, timeout=10)

    def work(_: Any, part: list[int]) -> None:
        with lock:
            pauses.at_work += 1
        both.wait()
        with lock:
            pauses.at_work -= 1

    lanes.run_with_pauses(work, [[number] for number in range(6)], pauses)
    assert not lanes.taken
    lanes.close()
    assert (pauses.seen, pauses.told) == ([0, 0, 0], [*range(6)])


def test_lanes_with_work_in_the_background_alone_are_not_taken() -> None:
    lanes, seen = Lanes(["one"]), list[bool]()
    lanes.run_with_pauses(lambda _, __: seen.append(lanes.taken), [[1], [2]], Slowly(due=False))
    lanes.run(lambda _, __: seen.append(lanes.taken), [[3]])
    lanes.close()
    assert seen == [False, False, True]


def test_the_next_part_waits_behind_the_lanes_and_behind_whoever_comes() -> None:
    lanes, pauses = Lanes(["one"]), Slowly(due=False)
    begun, go_on, done = threading.Event(), threading.Event(), list[int]()

    def work(_: Any, part: list[int]) -> None:
        begun.set()
        assert go_on.wait(10)
        done.extend(part)

    parts = [[number] for number in range(5)]
    calls = [threading.Thread(target=lanes.run_with_pauses, args=(work, parts, pauses))]
    calls[0].start()
    assert begun.wait(10)
    calls.append(threading.Thread(target=lanes.run, args=(work, [[100], [101], [102]])))
    calls[1].start()
    while lanes.waiting < 4:  # one with pauses, three of the other
        time.sleep(0.001)
    assert lanes.taken
    go_on.set()
    for call in calls:
        call.join(10)
    lanes.close()
    assert done == [0, 100, 101, 102, 1, 2, 3, 4]
    assert pauses.told == [0, 1, 2, 3, 4]


def test_what_waits_when_a_pause_becomes_due_is_not_begun_before_it() -> None:
    lanes, pauses = Lanes(["one"]), Slowly(due=False)
    begun, go_on, done = threading.Event(), threading.Event(), list[int]()
    waited: list[list[int]] = []

    def work(_: Any, part: list[int]) -> None:
        begun.set()
        assert go_on.wait(10)
        done.extend(part)

    def take(places: Sequence[int]) -> None:
        pauses.told += places
        if pauses.due:
            waited.append([*done])
            pauses.due = False

    pauses.take = take  # type: ignore[method-assign]
    call = threading.Thread(target=lanes.run_with_pauses, args=(work, [[n] for n in range(5)], pauses))
    call.start()
    assert begun.wait(10)
    while not lanes.waiting:
        time.sleep(0.001)
    pauses.due = True
    go_on.set()
    call.join(10)
    lanes.close()
    assert waited == [[0]]
    assert sorted(done) == sorted(pauses.told) == [*range(5)]


def test_a_part_that_fails_ends_a_call_with_pauses_and_leaves_none_behind() -> None:
    lanes, pauses, done = Lanes(["one", "two"]), Slowly(due=False), list[int]()

    def work(_: Any, part: list[int]) -> None:
        if part == [3]:
            raise TransientError("away")
        done.extend(part)

    with pytest.raises(TransientError, match="away"):
        lanes.run_with_pauses(work, [[number] for number in range(1000)], pauses)
    assert not lanes.taken
    assert len(done) < 10
    lanes.close()
    with pytest.raises(TransientError, match="closed"):
        lanes.run_with_pauses(work, [[1]], pauses)


def test_a_closed_request_refuses_whoever_comes() -> None:
    request = Request("one")
    with request.held() as held:
        assert held == "one"
    request.close()
    for _ in range(2):
        with pytest.raises(TransientError, match="closed"), request.held():
            pass
    request.close()


def test_closed_lanes_refuse_whoever_comes() -> None:
    lanes = Lanes(["one", "two"])
    lanes.close()
    for parts in ([[1], [2]], []):
        with pytest.raises(TransientError, match="closed"):
            lanes.run(lambda *_: None, parts)
    lanes.close()


@pytest.mark.parametrize("number", [0, 1, 25, 49])
def test_a_call_that_meets_the_end_is_done_or_refused(number: int) -> None:
    lanes, done, refused = Lanes(["one", "two"]), list[int](), list[TransientError]()
    begun = threading.Event()

    class Parts(list[list[int]]):
        def __iter__(self) -> Iterator[list[int]]:
            for place in range(50):
                if place == number:
                    begun.set()
                    time.sleep(0.02)  # the end comes meanwhile
                yield [place]

    def run() -> None:
        try:
            lanes.run(lambda _, part: done.extend(part), Parts([[]] * 50))
        except TransientError as error:
            refused.append(error)

    call = threading.Thread(target=run, daemon=True)
    call.start()
    assert begun.wait(10)
    lanes.close()
    call.join(10)
    assert not call.is_alive()
    assert refused or sorted(done) == list(range(50))


def test_an_interrupted_call_leaves_no_part_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes, begun, done = Lanes(["one"]), threading.Event(), list[int]()
    waits = 0

    def interrupted(*said: Any, **named: Any) -> Any:
        nonlocal waits
        waits += 1
        if waits == 1:
            assert begun.wait(10)
            raise KeyboardInterrupt
        return wait(*said, **named)

    def work(_: Any, part: list[int]) -> None:
        begun.set()
        time.sleep(0.02)
        done.extend(part)

    monkeypatch.setattr("embed.encoders.lanes.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lanes.run(work, [[number] for number in range(50)])
    assert done == [0], "what had begun is over, and nothing else begins"
    lanes.run(work, [[7000]])
    assert done == [0, 7000]
    lanes.close()


@pytest.mark.parametrize("interrupt", [True, False])
def test_no_lane_is_at_work_when_the_interpreter_ends(tmp_path: Path, interrupt: bool) -> None:
    program = """
import signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from embed.encoders.lanes import Lanes
begun = threading.Event()
def work(request, part):
    begun.set()
    time.sleep(0.3)
    Path(sys.argv[1]).write_text("over")
lanes = Lanes(["one", "two"])
if sys.argv[2] == "True":
    main = threading.main_thread().ident
    threading.Thread(target=lambda: begun.wait(10) and signal.pthread_kill(main, signal.SIGINT)).start()
    try:
        lanes.run(work, [[n] for n in range(4)])
    except KeyboardInterrupt:
        pass
else:
    threading.Thread(target=lanes.run, args=(work, [[1]]), daemon=True).start()
    begun.wait(10)
"""
    file = tmp_path / "done"
    subprocess.run([sys.executable, "-c", program, str(file), str(interrupt)], check=True, timeout=20)
    assert file.read_text() == "over"


def test_callers_know_whether_they_are_alone() -> None:
    callers = Callers()
    with callers.entered() as first, callers.entered() as second:
        assert (first, second) == (True, False)
    with pytest.raises(ZeroDivisionError), callers.entered():
        _ = 1 // 0
    with callers.entered() as last:
        assert last


def test_the_threads_of_lanes_that_nobody_keeps_end() -> None:
    before = set(threading.enumerate())
    lanes: Lanes | None = Lanes(["one", "two"])
    assert lanes is not None
    lanes.run(lambda *_: None, [[1], [2]])
    mine = set(threading.enumerate()) - before
    assert len(mine) == 2
    lanes = None
    gc.collect()
    for thread in mine:
        thread.join(10)
        assert not thread.is_alive()
