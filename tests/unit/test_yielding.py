"""Threads that come after others."""

import os
import sys
import threading

import pytest

from embed.encoders.yielding import NICE, yielding


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def in_a_thread_of_its_own() -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(priority()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no priority of their own")
def test_threads_started_inside_come_after_the_others_and_the_caller_stays_as_it_was() -> None:
    before = priority()
    assert yielding(in_a_thread_of_its_own) == min(19, before + NICE)
    assert priority() == before
    assert in_a_thread_of_its_own() == before


def test_what_is_raised_inside_is_raised_outside() -> None:
    with pytest.raises(ZeroDivisionError):
        yielding(lambda: 1 // 0)
