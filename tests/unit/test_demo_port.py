"""The demo serves on the port that was asked for, if it can."""

import socket

from tailrace.demo.run import usable


def test_a_taken_port_becomes_any_free_one() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = int(other.getsockname()[1])
        assert usable("127.0.0.1", port) == 0
    assert usable("127.0.0.1", port) == port
