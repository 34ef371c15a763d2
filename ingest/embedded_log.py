"""Kafka inside this process, for demo, development and tests.

librdkafka's mock cluster, reached through the library that confluent-kafka carries.

It speaks the real protocol, so every client runs on it unchanged. What it lacks: compaction,
topic configs, and memory of more than 5 MiB a partition; and it is gone at exit. Each start
therefore opens a new epoch, remembered in a file where the index outlives the process.
"""

import ctypes
import glob
import os
from collections.abc import Sequence
from pathlib import Path

import confluent_kafka

from core.errors import ConfigurationError
from core.topics import TopicSpec

_PRODUCER = 0
_ERROR_BYTES = 512


class EmbeddedLog:
    """`start()` gives the address; `stop()` frees it. One for each process is enough."""

    def __init__(self) -> None:
        self._library: ctypes.CDLL | None = None
        self._handle: int | None = None
        self._cluster: int | None = None

    def start(self, topics: Sequence[TopicSpec]) -> list[str]:
        """Brokers of a fresh cluster that holds these topics, empty."""
        library = _load()
        errors = ctypes.create_string_buffer(_ERROR_BYTES)
        configuration = library.rd_kafka_conf_new()
        library.rd_kafka_conf_set(configuration, b"log_level", b"0", errors, _ERROR_BYTES)
        handle = library.rd_kafka_new(_PRODUCER, configuration, errors, _ERROR_BYTES)
        if not handle:
            raise ConfigurationError(f"the embedded log did not start: {errors.value.decode()}")
        cluster = library.rd_kafka_mock_cluster_new(handle, 1)
        if not cluster:
            raise ConfigurationError("the embedded log did not start: no free port on the loopback address?")
        # A lone member need not wait for others; a session may be short enough for quick restarts.
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0)
        for topic in topics:
            library.rd_kafka_mock_topic_create(cluster, topic.name.encode(), topic.partitions, 1)
        self._library, self._handle, self._cluster = library, handle, cluster
        return str(library.rd_kafka_mock_cluster_bootstraps(cluster).decode()).split(",")

    def stop(self) -> None:
        """Safe to call twice."""
        if self._library is not None and self._cluster is not None:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._library.rd_kafka_destroy(self._handle)
        self._library = self._handle = self._cluster = None


def next_epoch(file: Path) -> int:
    """One more than the last start's, durably: versions of this start outrank those of the last."""
    try:
        last = int(file.read_text(encoding="ascii"))
    except FileNotFoundError:
        last = -1
    except ValueError as error:
        raise ConfigurationError(
            f"{file} does not hold an epoch number: delete the index folder beside it and start again"
        ) from error
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    with fresh.open("w", encoding="ascii") as out:
        out.write(str(last + 1))
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)
    return last + 1


def _load() -> ctypes.CDLL:
    folder = Path(confluent_kafka.__file__).parent
    found = [
        *glob.glob(str(folder.parent / "confluent_kafka.libs" / "librdkafka*")),  # noqa: PTH207 - Linux wheels
        *glob.glob(str(folder / ".dylibs" / "librdkafka*")),  # noqa: PTH207 - macOS wheels
    ]
    if not found:
        raise ConfigurationError(
            "this build of confluent-kafka carries no librdkafka: install the wheel from PyPI, or use a"
            " Kafka broker (`log: {kind: kafka, brokers: [...]}`)"
        )
    library = ctypes.CDLL(found[0])
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    library.rd_kafka_conf_new.restype = pointer
    library.rd_kafka_conf_set.argtypes = [pointer, text, text, text, ctypes.c_size_t]
    library.rd_kafka_new.restype = pointer
    library.rd_kafka_new.argtypes = [ctypes.c_int, pointer, text, ctypes.c_size_t]
    library.rd_kafka_mock_cluster_new.restype = pointer
    library.rd_kafka_mock_cluster_new.argtypes = [pointer, ctypes.c_int]
    library.rd_kafka_mock_cluster_bootstraps.restype = text
    library.rd_kafka_mock_cluster_bootstraps.argtypes = [pointer]
    library.rd_kafka_mock_topic_create.argtypes = [pointer, text, ctypes.c_int, ctypes.c_int]
    library.rd_kafka_mock_group_initial_rebalance_delay_ms.argtypes = [pointer, ctypes.c_int32]
    library.rd_kafka_mock_cluster_destroy.argtypes = [pointer]
    library.rd_kafka_destroy.argtypes = [pointer]
    return library
