"""Infer requests of one compiled model, and who may use which."""

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
_Waiting: TypeAlias = "PriorityQueue[tuple[int, int, _Part]]"
_Calls: TypeAlias = "SimpleQueue[bool]"


class Request:
    """An infer request, for one caller at a time. Thread-safe."""

    def __init__(self, request: Any) -> None:
        self._request, self._turn = request, threading.Lock()

    @contextmanager
    def held(self) -> Iterator[Any]:
        """Waits for who has it. TransientError once it is closed."""
        with self._turn:
            if self._request is None:
                raise _closed()
            yield self._request

    def close(self) -> None:
        """Wait for who has it, and let it go."""
        with self._turn:
            self._request = None


class Lanes:
    """A thread for each request, which takes one part after the other: of the smallest call first.

    A call of few parts is an edit that somebody waits for; one of many waits for itself most of the time.
    """

    def __init__(self, requests: Sequence[Any]) -> None:
        self._waiting: _Waiting = PriorityQueue()
        self._arrivals = count()
        # Beside the parts: nothing else may be put from where the collector of garbage has broken in.
        self._calls: _Calls = SimpleQueue()
        self._lock = threading.Lock()
        # The threads know nothing of this object: nobody closes an encoder that was only looked at, and its
        # requests, some hundred megabytes with their model, must go with it.
        threads = [
            threading.Thread(
                target=_serve, args=(self._calls, self._waiting, one), name="openvino-lane", daemon=True
            )
            for one in requests
        ]
        for thread in threads:
            thread.start()
        # At the interpreter's end as well: a lane that comes back from OpenVINO after it would abort.
        self._end = weakref.finalize(self, _end, self._calls, threads)

    def run(self, work: Callable[[Any, list[int]], None], parts: Sequence[list[int]]) -> None:
        """`work` with a request and each part. Raises what one raises, when none is left.

        TransientError once they are closed. Interrupted, it leaves no part behind either.
        """
        running: list[Future[None]] = []
        try:
            with self._lock:
                if not self._end.alive:
                    raise _closed()
                for part in parts:
                    running.append(Future())
                    self._waiting.put((len(parts), next(self._arrivals), (running[-1], work, part)))
                    self._calls.put(True)
            wait(running, return_when=FIRST_EXCEPTION)
        finally:
            wait([one for one in running if not one.cancel()])
        for one in running:
            if not one.cancelled():
                one.result()

    @property
    def waiting(self) -> int:
        """Parts that no lane has taken yet."""
        return self._waiting.qsize()

    def close(self) -> None:
        """Wait for what was asked for, and let go. Later calls are refused."""
        with self._lock:
            self._end()


def _serve(calls: "_Calls", waiting: "_Waiting", request: Any) -> None:
    while calls.get():
        done, work, part = waiting.get()[2]
        if done.set_running_or_notify_cancel():
            try:
                work(request, part)
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                done.set_exception(error)
            else:
                done.set_result(None)
        del done, work, part  # what was worked on must not wait for the next part


def _end(calls: "_Calls", threads: Sequence[threading.Thread]) -> None:
    for _ in threads:
        calls.put(False)
    if threading.current_thread() not in threads:  # a lane may be who drops the encoder
        for thread in threads:
            thread.join()


def _closed() -> TransientError:
    return TransientError("the encoder is closed: its process ends")


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
