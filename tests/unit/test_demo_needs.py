"""What the demo asks of the machine: a port, if it can have it, and room."""

import socket

import pytest

from core.errors import ConfigurationError
from tailrace.demo.run import ROOM, require_room, usable


def test_a_taken_port_becomes_any_free_one() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = int(other.getsockname()[1])
        assert usable("127.0.0.1", port) == 0
    assert usable("127.0.0.1", port) == port


def test_a_disk_without_room_for_the_story_is_said_before_it_begins() -> None:
    require_room("/small/demo", ROOM)
    with pytest.raises(
        ConfigurationError, match=r"/small/demo, whose disk has 319 MB .*320: make room.*TMPDIR"
    ):
        require_room("/small/demo", ROOM - 1)
