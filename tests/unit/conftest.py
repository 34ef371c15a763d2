"""What the tests of `tailrace connect` share: a cluster, a folder with files, and the command line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.connect_hands import Tailrace, a_folder, caller
from tests.unit.connect_world import Cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster().served(attempts=2) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return a_folder(tmp_path)


@pytest.fixture
def tailrace(capsys: pytest.CaptureFixture[str]) -> Tailrace:
    return caller(capsys)
