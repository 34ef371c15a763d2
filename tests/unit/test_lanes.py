"""Who may use an infer request, and what becomes of the parts of a call."""

import gc
import threading
import time
from typing import Any

import pytest

from core.errors import TransientError
from embed.encoders.lanes import Callers, Lanes, Requests


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


def test_closed_requests_refuse_whoever_comes() -> None:
    requests = Requests(["one"])
    with requests.one() as request:
        assert request == "one"
    requests.close()
    for _ in range(2):
        with pytest.raises(TransientError, match="closed"), requests.one():
            pass
    requests.close()


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
