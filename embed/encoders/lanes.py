"""Infer requests of one compiled model, and who may use which."""

import math
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import contextmanager
from itertools import count
from queue import PriorityQueue, SimpleQueue
from typing import Any, TypeAlias

from core.errors import TransientError

_Part: TypeAlias = tuple["Future[None]", Callable[[Any, list[int]], None], list[int]]
_Waiting: TypeAlias = "PriorityQueue[tuple[float, int, _Part | None]]"


class Requests:
    """Infer requests, each for one caller at a time. Thread-safe."""

    def __init__(self, requests: Sequence[Any]) -> None:
        self._count = len(requests)
        self._free: SimpleQueue[Any] = SimpleQueue()
        for request in requests:
            self._free.put(request)

    @contextmanager
    def one(self) -> Iterator[Any]:
        """One that is free, waiting for it. TransientError once they are closed."""
        request = self._free.get()
        try:
            if request is None:
                raise TransientError("the encoder is closed: its process ends")
            yield request
        finally:
            self._free.put(request)

    def close(self) -> None:
        """Wait for who uses them, and let them go."""
        for _ in range(self._count):
            self._free.get()
        self._count = 0
        self._free.put(None)


class Lanes:
    """A thread for each request, which takes one part after the other: of the smallest call first.

    A call of few parts is an edit that somebody waits for; one of many waits for itself most of the time.
    """

    def __init__(self, requests: Sequence[Any]) -> None:
        self._waiting: _Waiting = PriorityQueue()
        self._arrivals = count()
        # The threads know nothing of this object: nobody closes an encoder that was only looked at, and its
        # requests, some hundred megabytes with their model, must go with it.
        self._threads = [
            threading.Thread(target=_serve, args=(self._waiting, one), name="openvino-lane", daemon=True)
            for one in requests
        ]
        for thread in self._threads:
            thread.start()
        self._end = weakref.finalize(self, _end, self._waiting, len(requests))

    def run(self, work: Callable[[Any, list[int]], None], parts: Sequence[list[int]]) -> None:
        """`work` with a request and each part. Raises what one raises, when none is left."""
        running: list[Future[None]] = []
        for part in parts:
            running.append(Future())
            self._waiting.put((len(parts), next(self._arrivals), (running[-1], work, part)))
        wait(running, return_when=FIRST_EXCEPTION)
        for one in running:
            one.cancel()
        wait(running)
        for one in running:
            if not one.cancelled():
                one.result()

    @property
    def waiting(self) -> int:
        """Parts that no lane has taken yet."""
        return self._waiting.qsize()

    def close(self) -> None:
        """Wait for what is under way, and let go. Nothing may be run afterwards."""
        self._end()
        for thread in self._threads:
            thread.join()


def _serve(waiting: "_Waiting", request: Any) -> None:
    while (taken := waiting.get()[2]) is not None:
        done, work, part = taken
        if done.set_running_or_notify_cancel():
            try:
                work(request, part)
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                done.set_exception(error)
            else:
                done.set_result(None)
        del taken, done, work, part  # what was worked on must not wait for the next part


def _end(waiting: "_Waiting", threads: int) -> None:
    for number in range(threads):
        waiting.put((math.inf, number, None))


class Callers:
    """How many are inside."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    @contextmanager
    def entered(self) -> Iterator[bool]:
        """Around a call: whether nobody else was inside when it came."""
        with self._lock:
            self._inside += 1
            alone = self._inside == 1
        try:
            yield alone
        finally:
            with self._lock:
                self._inside -= 1
