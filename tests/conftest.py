"""What holds for every suite."""

import signal
from collections import Counter

import pytest


def pytest_configure() -> None:
    """What a shell starts with `&` is deaf to Ctrl-C, and so are its children: here some are to hear it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of tests with one name, parallel workers would run one and say that all passed."""
    twice = [name for name, times in Counter(item.nodeid for item in items).items() if times > 1]
    if twice:
        raise pytest.UsageError(f"tests with one name: {', '.join(twice[:5])}; give each case an id")
