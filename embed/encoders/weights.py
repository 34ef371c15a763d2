"""The tensors of a safetensors file, without a copy of them in memory.

The format (https://github.com/huggingface/safetensors#format): eight bytes with the length of a JSON
header, the header with each tensor's dtype, shape and place, and the tensors' bytes, little-endian.
"""

import json
import mmap
import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigurationError

_PREFIX: Final = 8
_STORED: Final = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class Weights:
    """Tensors by name, as float32. What the file holds as float32 is a view of it: read where it is touched.

    Their memory is this object's: keep it as long as they are used. ConfigurationError for a file that is no
    such one. The file may be removed or replaced by renaming; what is written into it is seen in the tensors.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        with self._border(), file.open("rb") as opened:
            self._descriptor = os.dup(opened.fileno())
            weakref.finalize(self, os.close, self._descriptor)
            self._facts = self._now()
            # Private and writable, as OpenVINO wants memory that it shares; nobody writes.
            self._map = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
            self._start = _PREFIX + int.from_bytes(self._map[:_PREFIX], "little")
            self._header: Mapping[str, Any] = dict(json.loads(self._map[_PREFIX : self._start]))
        self._converted: dict[str, NDArray[np.float32]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._header

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        with self._border():
            said = self._header[name]
            stored = np.dtype(_STORED[said["dtype"]])
            begin, end = said["data_offsets"]
            count = (end - begin) // stored.itemsize
            found = np.frombuffer(self._map, stored, count, self._start + begin).reshape(said["shape"])
        if stored == np.float32:
            return found
        if name not in self._converted:
            wide = (found.astype(np.uint32) << 16).view(np.float32)  # of BF16: the upper half of a float32
            self._converted[name] = wide if said["dtype"] == "BF16" else found.astype(np.float32)
        return self._converted[name]

    def require_unchanged(self) -> None:
        """Raises ConfigurationError if the file was written into since it was opened. Takes a microsecond."""
        if self._now() != self._facts:
            raise ConfigurationError(
                f"{self._file}: was written over while it was in use: start again, and put a new model into a"
                " folder of its own"
            )

    def release(self) -> None:
        """Let go of the memory of what was read so far; touched again, it is read again.

        What was converted stays.
        """
        if hasattr(mmap, "MADV_DONTNEED"):  # POSIX
            self._map.madvise(mmap.MADV_DONTNEED)

    def _now(self) -> tuple[int, int]:
        facts = os.fstat(self._descriptor)
        return facts.st_size, facts.st_mtime_ns

    @contextmanager
    def _border(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"{self._file}: cannot be used: {error!r}: it must be a safetensors file with tensors of"
                f" {', '.join(_STORED)}"
            ) from error
