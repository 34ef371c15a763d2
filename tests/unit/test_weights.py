"""Tensors of a safetensors file, as the format's page describes it."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from core.errors import ConfigurationError
from embed.encoders.weights import Weights

VALUES = np.asarray([[1.0, -2.5, 0.0], [3.25, 1024.0, -0.125]], np.float32)  # exact in every format


def stored(kind: str) -> bytes:
    if kind == "BF16":
        return (VALUES.view(np.uint32) >> 16).astype("<u2").tobytes()
    return VALUES.astype("<f2" if kind == "F16" else "<f4").tobytes()


def write(file: Path, *kinds: str) -> Path:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = b""
    for kind in kinds:
        raw = stored(kind)
        header[kind] = {"dtype": kind, "shape": [2, 3], "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    said = json.dumps(header).encode()
    file.write_bytes(len(said).to_bytes(8, "little") + said + body)
    return file


def test_every_kind_is_read_as_float32(tmp_path: Path) -> None:
    found = Weights(write(tmp_path / "w", "F32", "F16", "BF16"))
    for kind in ("F32", "F16", "BF16"):
        assert kind in found
        assert found[kind].dtype == np.float32
        assert np.array_equal(found[kind], VALUES)
    assert "other" not in found


def test_what_was_released_is_read_again(tmp_path: Path) -> None:
    found = Weights(write(tmp_path / "w", "F32", "F16"))
    views = [found["F32"], found["F16"]]
    if sys.platform == "linux":  # elsewhere memory that was written to may stay
        views[0][:] = 0
    found.release()
    assert all(np.array_equal(view, VALUES) for view in views)


def test_a_file_that_is_written_into_is_told_from_one_that_is_replaced(tmp_path: Path) -> None:
    found = Weights(write(tmp_path / "w", "F32"))
    found.require_unchanged()
    write(tmp_path / "new", "F16").replace(tmp_path / "w")
    found.require_unchanged()
    found = Weights(tmp_path / "w")
    os.utime(tmp_path / "w", (1, 1))
    with pytest.raises(ConfigurationError, match="written over"):
        found.require_unchanged()


@pytest.mark.parametrize(
    "content",
    [b"", b"short", b"\xff" * 64, (2).to_bytes(8, "little") + b"[]", (4).to_bytes(8, "little") + b"null"],
    ids=["empty", "short", "absurd", "list", "null"],
)
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"model\.safetensors"):
        _ = Weights(file)["F32"]


@pytest.mark.parametrize("kept", [slice(9), slice(-10)], ids=["header", "tensor"])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, kept: slice) -> None:
    file = write(tmp_path / "w", "F32")
    file.write_bytes(file.read_bytes()[kept])
    with pytest.raises(ConfigurationError, match="must be a safetensors file"):
        _ = Weights(file)["F32"]


def test_a_missing_file_and_a_foreign_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="none"):
        Weights(tmp_path / "none")
    file = write(tmp_path / "w", "F32")
    file.write_bytes(file.read_bytes().replace(b'"dtype": "F32"', b'"dtype": "F64"'))
    with pytest.raises(ConfigurationError, match="F64"):
        _ = Weights(file)["F32"]
