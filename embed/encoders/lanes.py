"""Infer requests of one compiled model, and who may use which."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from core.errors import TransientError


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


class Lanes(Requests):
    """Requests with a thread each, which take one part of the work after the other."""

    def __init__(self, requests: Sequence[Any]) -> None:
        super().__init__(requests)
        self._threads = ThreadPoolExecutor(len(requests), "encode-lane")

    def run(self, work: Callable[[Any, list[int]], None], parts: Iterable[list[int]]) -> None:
        """Each part, in this order, by whichever lane is free. Raises what one raises, when none is left."""

        def play(part: list[int]) -> None:
            with self.one() as request:
                work(request, part)

        running = [self._threads.submit(play, part) for part in parts]
        wait(running, return_when=FIRST_EXCEPTION)
        for one in running:
            one.cancel()
        wait(running)
        for one in running:
            if not one.cancelled():
                one.result()

    def close(self) -> None:
        self._threads.shutdown()
        super().close()


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
