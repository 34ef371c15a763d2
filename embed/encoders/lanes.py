"""Infer requests of one compiled model, and who may use which."""

import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import contextmanager
from itertools import count
from queue import PriorityQueue, SimpleQueue
from typing import Any, Final, TypeAlias

from core.errors import TransientError
from embed.encoder import Pauses

Work: TypeAlias = Callable[[Any, list[int]], None]
"""With a request and the places of a part's texts."""

Begin: TypeAlias = Callable[[], bool]
"""Whether a part is still to be begun, asked by the lane that has come to it."""

_Part: TypeAlias = tuple["Future[bool]", Work, list[int], Begin]
_Waiting: TypeAlias = "PriorityQueue[tuple[int, int, _Part]]"
_Calls: TypeAlias = "SimpleQueue[bool]"


LAST: Final = sys.maxsize
"""The rank of parts of calls with pauses."""


def _at_once() -> bool:
    return True


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
    Those of calls with pauses come last.
    """

    def __init__(self, requests: Sequence[Any]) -> None:
        self._waiting: _Waiting = PriorityQueue()
        self._arrivals = count()
        # Beside the parts: nothing else may be put from where the collector of garbage has broken in.
        self._calls: _Calls = SimpleQueue()
        self._lock = threading.Lock()
        self._number = len(requests)
        self._counting, self._unfinished = threading.Lock(), 0
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

    def run(self, work: Work, parts: Sequence[list[int]]) -> None:
        """`work` with a request and each part. Raises what one raises, when none is left.

        TransientError once they are closed. Interrupted, it leaves no part behind either.
        """
        running: list[Future[bool]] = []
        try:
            with self._lock:
                self._require_open()
                running.extend(self._put(len(parts), work, part) for part in parts)
            wait(running, return_when=FIRST_EXCEPTION)
        finally:
            wait([one for one in running if not one.cancel()])
        for one in running:
            if not one.cancelled():
                one.result()

    def run_with_pauses(self, work: Work, parts: Sequence[list[int]], pauses: Pauses) -> None:
        """As `run`, behind what others ask for: each lane has one part, and one more waits.

        A pause that is due finds none of them at work, and the one that waits is not begun. After it, each
        lane has one, and then comes the next pause.
        """
        left = deque(parts)
        running: deque[tuple[Future[bool], list[int]]] = deque()

        def end(most: int) -> list[int]:
            """Places of what is done, once no more than so many parts are under way."""
            places: list[int] = []
            while len(running) > most:
                done, part = running[0][0].result(), running[0][1]
                running.popleft()
                if done:
                    places += part
                else:
                    left.appendleft(part)
            return places

        try:
            while left or running:
                if not left or len(running) >= self._number:
                    due = pauses.due
                    ended = end(0 if due or not left else self._number)
                    if ended or due:
                        pauses.take(ended)
                if left:
                    begin = _at_once if len(running) < self._number else lambda: not pauses.due
                    with self._lock:
                        self._require_open()
                        running.append((self._put(LAST, work, left[0], begin), left.popleft()))
        finally:
            wait([one for one, _ in running if not one.cancel()])

    @property
    def taken(self) -> bool:
        """Whether a lane is at work for a call without pauses, or has to be."""
        return self._unfinished > 0

    @property
    def waiting(self) -> int:
        """Parts that no lane has taken yet."""
        return self._waiting.qsize()

    def close(self) -> None:
        """Wait for what was asked for, and let go. Later calls are refused."""
        with self._lock:
            self._end()

    def _require_open(self) -> None:
        if not self._end.alive:
            raise _closed()

    def _put(self, rank: int, work: Work, part: list[int], begin: Begin = _at_once) -> "Future[bool]":
        """The lowest rank first; gives whether it was begun. Holding the lock, or a close comes between."""
        made: Future[bool] = Future()
        if rank < LAST:
            with self._counting:
                self._unfinished += 1
            made.add_done_callback(self._ended)
        self._waiting.put((rank, next(self._arrivals), (made, work, part, begin)))
        self._calls.put(True)
        return made

    def _ended(self, _: "Future[bool]") -> None:
        with self._counting:
            self._unfinished -= 1


def _serve(calls: "_Calls", waiting: "_Waiting", request: Any) -> None:
    while calls.get():
        done, work, part, begin = waiting.get()[2]
        if done.set_running_or_notify_cancel():
            try:
                if begun := begin():
                    work(request, part)
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                done.set_exception(error)
            else:
                done.set_result(begun)
        del done, work, part, begin  # what was worked on must not wait for the next part


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
