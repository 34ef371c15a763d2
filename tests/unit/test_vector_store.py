import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from core.clock import FixedClock
from core.errors import ConfigurationError
from embed.model import Vector
from embed.store import VectorStore

MB = 1 << 20


def vector(seed: int, dimensions: int = 384) -> Vector:
    return np.random.default_rng(seed).random(dimensions, np.float32)


def vectors(*seeds: int) -> dict[str, Vector]:
    return {f"text {seed}": vector(seed) for seed in seeds}


@pytest.fixture(params=["file", "memory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "sub" / "vectors.db" if request.param == "file" else None


def test_what_was_put_is_found_and_nothing_else(path: Path | None) -> None:
    store = VectorStore(path, MB, FixedClock())
    store.put("f", vectors(1, 2))
    found = store.get("f", ["text 2", "text 3", "text 1", "text 1"])
    assert set(found) == {"text 1", "text 2"}
    assert np.array_equal(found["text 2"], vector(2))
    assert store.get("g", ["text 1"]) == {}
    assert store.get("f", []) == {}
    store.put("f", {})
    store.close()


def test_many_texts_in_one_call() -> None:
    store = VectorStore(None, 64 * MB, FixedClock())
    store.put("f", {f"t{n}": vector(1, 4) for n in range(3000)})
    assert len(store.get("f", [f"t{n}" for n in range(3000)])) == 3000
    store.close()


def test_the_last_put_of_a_text_holds(path: Path | None) -> None:
    store = VectorStore(path, MB, FixedClock())
    store.put("f", {"t": vector(1)})
    store.put("f", {"t": vector(2)})
    assert np.array_equal(store.get("f", ["t"])["t"], vector(2))
    store.close()


def test_it_survives_a_restart(tmp_path: Path) -> None:
    store = VectorStore(tmp_path / "v", MB, FixedClock())
    store.put("f", vectors(1))
    store.close()
    again = VectorStore(tmp_path / "v", MB, FixedClock())
    assert np.array_equal(again.get("f", ["text 1"])["text 1"], vector(1))
    again.close()


def test_it_survives_kill_9(tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np; from pathlib import Path; from core.clock import SystemClock;"
        "from embed.store import VectorStore; s = VectorStore(Path(sys.argv[1]), 1 << 26, SystemClock())\n"
        "n = 0\n"
        "while True:\n"
        "    s.put('f', {f't{n}': np.full(384, n + 1, np.float32)}); n += 1; print(n, flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "v")], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        done = 0
        while done < 200:
            done = int(child.stdout.readline())
        os.kill(child.pid, signal.SIGKILL)
        done = int([str(done), *child.stdout.read().decode().split()][-1])
    store = VectorStore(tmp_path / "v", 64 * MB, FixedClock())
    found = store.get("f", [f"t{n}" for n in range(done)])
    assert len(found) == done
    assert all(found[f"t{n}"][0] == n + 1 for n in range(done))
    store.close()


def test_it_is_bounded_and_the_least_used_go_first(path: Path | None) -> None:
    clock = FixedClock()
    store = VectorStore(path, MB // 2, clock)
    store.put("f", vectors(*range(100)))
    clock.advance(2 * 3600)
    assert len(store.get("f", ["text 3", "text 5"])) == 2  # used again
    for start in range(100, 2000, 100):
        store.put("f", vectors(*range(start, start + 100)))
    found = store.get("f", [f"text {seed}" for seed in range(2000)])
    assert 150 < len(found) < 330  # half a megabyte, less one eviction
    assert "text 1999" in found
    assert "text 7" not in found
    if path is not None:
        assert path.stat().st_size < 2 * MB
    store.close()


def test_use_keeps_a_vector() -> None:
    clock = FixedClock()
    store = VectorStore(None, MB // 2, clock)
    store.put("f", vectors(*range(200)))
    for start in range(200, 1000, 40):
        clock.advance(3600)
        assert set(store.get("f", ["text 3"])) == {"text 3"}
        store.put("f", vectors(*range(start, start + 40)))
    store.close()


@pytest.mark.parametrize("junk", [b"not a database at all" * 500, b"SQLite format 3\0" + b"\xff" * 50_000])
def test_a_file_that_cannot_be_read_is_set_aside(tmp_path: Path, junk: bytes) -> None:
    file = tmp_path / "v"
    file.write_bytes(junk)
    store = VectorStore(file, MB, FixedClock())
    store.put("f", vectors(1))
    assert set(store.get("f", ["text 1"])) == {"text 1"}
    assert (tmp_path / "v.broken").read_bytes() == junk
    store.close()


def test_a_file_that_breaks_meanwhile_is_set_aside(tmp_path: Path) -> None:
    file = tmp_path / "v"
    store = VectorStore(file, MB, FixedClock())
    store.put("f", vectors(*range(50)))
    other = VectorStore(file, MB, FixedClock())  # its write makes the first one read the file again
    other.put("f", vectors(50))
    other._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    with file.open("r+b") as damaged:
        damaged.seek(16384)
        damaged.write(b"\xff" * (file.stat().st_size - 16384))
    assert store.get("f", [f"text {seed}" for seed in range(50)]) == {}
    assert (tmp_path / "v.broken").exists()
    store.put("f", vectors(1))
    assert set(store.get("f", ["text 1"])) == {"text 1"}
    store.close()


def test_a_full_disk_is_no_failure(tmp_path: Path) -> None:
    store = VectorStore(tmp_path / "v", MB, FixedClock())
    store.put("f", vectors(1))
    # The same refusal as a full disk: "database or disk is full".
    store._connection.execute("PRAGMA max_page_count = 1")
    store.put("f", vectors(*range(2, 60)))
    assert set(store.get("f", ["text 1", "text 2"])) == {"text 1"}
    store.close()


def test_a_folder_that_cannot_be_written_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    with pytest.raises(ConfigurationError, match="vector store"):
        VectorStore(tmp_path / "v", MB, FixedClock())


def test_threads_share_it(path: Path | None) -> None:
    store = VectorStore(path, 64 * MB, FixedClock())
    missing: list[str] = []

    def work(thread: int) -> None:
        for n in range(50):
            store.put("f", {f"{thread} {n}": vector(n, 8)})
            missing.extend(
                {f"{thread} {m}" for m in range(n + 1)}
                - set(store.get("f", [f"{thread} {m}" for m in range(n + 1)]))
            )

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing == []
    store.close()
