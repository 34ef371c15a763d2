"""Threads that come after others."""

import os
import sys
import threading

import pytest

from embed.encoders.yielding import yielding


def priority() -> int:
    """Of this thread on Linux, elsewhere of the process: what 0 stands for."""
    return os.getpriority(os.PRIO_PROCESS, 0)


def in_a_thread_of_its_own() -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(priority()))
    thread.start()
    thread.join()
    return found[0]


def test_threads_started_inside_come_after_the_others_and_the_caller_stays_as_it_was() -> None:
    before = priority()
    behind = min(19, before + 10) if sys.platform == "linux" else before
    assert yielding(in_a_thread_of_its_own) == behind
    assert priority() == before
    assert in_a_thread_of_its_own() == before


def test_what_is_raised_inside_is_raised_outside() -> None:
    with pytest.raises(ZeroDivisionError):
        yielding(lambda: 1 // 0)
