"""What a start that cannot succeed leaves behind."""

import asyncio
import socket
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.settings import Settings
from tailrace.runtime import Runtime


def test_a_taken_port_ends_a_start_before_anything_is_asked_or_written(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = Settings.model_validate(
            {
                "app": "shop",
                "log": {"kind": "kafka", "brokers": ["127.0.0.1:1"]},  # who asked it would fail first
                "index": {"kind": "edge", "path": str(tmp_path / "index")},
                "encoder": {"kind": "hashing"},
                "sources": {"shop": {"prefix": "shop", "tables": ["public.articles"]}},
                "serve": {"port": other.getsockname()[1]},
            }
        )

        async def run() -> None:
            runtime = Runtime(settings, worker=True, service=True)
            try:
                await runtime.start()
            finally:
                await runtime.stop()

        with pytest.raises(ConfigurationError, match=r"serve\.port"):
            asyncio.run(run())
    assert not (tmp_path / "index").exists()
