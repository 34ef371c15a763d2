"""Embeddings by OpenAI's API: errors by consequence, batches, and which secrets are sent where."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from core.errors import ConfigurationError, PermanentError, TransientError
from embed.encoders.openai import parse_vectors
from embed.pace import PacedEncoder, Spent, Turns
from tests.contract.encoder_world import Endpoint, client_of, serving, settings


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving() as made:
        yield made


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, PermanentError) for status in (400, 413, 422)),
        *((status, ConfigurationError) for status in (401, 403, 404)),
        *((status, TransientError) for status in (408, 409, 429, 500, 503)),
    ],
)
def test_openai_errors_say_what_to_do(endpoint: Endpoint, status: int, kind: type[Exception]) -> None:
    endpoint.status, endpoint.body, endpoint.headers = status, b"{}", {"retry-after": "7"}
    with client_of(endpoint.url) as made, pytest.raises(kind, match=f"HTTP {status}") as raised:
        made.encode(["a"], kind="query")
    assert len(endpoint.asked) == 1  # no hidden retries
    if isinstance(raised.value, TransientError):
        assert raised.value.retry_after == 7


def test_openai_a_wrong_address_is_configuration(endpoint: Endpoint) -> None:
    with client_of(endpoint.url + "/wrong") as made, pytest.raises(ConfigurationError, match="404"):
        made.encode(["a"], kind="query")
    with pytest.raises(ValidationError, match="base_url"):
        settings("localhost:1")


def test_openai_nobody_listens_is_transient() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, but not listening: refused
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with client_of(url) as made, pytest.raises(TransientError, match="connection failed"):
            made.encode(["a"], kind="query")


def test_openai_silence_is_transient() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/v1"
        with client_of(url, timeout_seconds=0.2) as made, pytest.raises(TransientError, match="in time"):
            made.encode(["a"], kind="query")


@pytest.mark.parametrize("body", [b"<html>", b"", b"\xff"])
def test_openai_an_answer_that_is_no_json_is_transient(endpoint: Endpoint, body: bytes) -> None:
    endpoint.body = body
    with client_of(endpoint.url) as made, pytest.raises(TransientError, match="no usable answer"):
        made.encode(["a"], kind="query")


def test_openai_other_dimensions_are_configuration(endpoint: Endpoint) -> None:
    with (
        client_of(endpoint.url, dimensions=63) as made,
        pytest.raises(ConfigurationError, match="64, not 63"),
    ):
        made.encode(["a"], kind="query")


def test_openai_asks_in_small_batches(endpoint: Endpoint) -> None:
    with client_of(endpoint.url) as made:
        assert made.encode([f"text {number}" for number in range(70)], kind="document").shape == (70, 64)
    assert [len(asked["input"]) for asked in endpoint.asked] == [32, 32, 6]


def test_openai_work_in_the_background_comes_in_whole_requests(endpoint: Endpoint) -> None:
    with client_of(endpoint.url) as made:
        paced = PacedEncoder(made, Turns(background=lambda: True), Spent())
        assert paced.encode([f"text {number}" for number in range(70)], kind="document").shape == (70, 64)
    assert sorted(len(asked["input"]) for asked in endpoint.asked) == [6, 32, 32]


def test_openai_a_key_meant_for_another_server_is_not_sent(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OURS"):
        monkeypatch.setenv(name, f"value-of-{name}")
    with client_of(endpoint.url) as made:
        made.encode(["a"], kind="query")
    with client_of(endpoint.url, api_key="${env:OURS}") as made:
        made.encode(["a"], kind="query")
    assert "value-of" not in str(endpoint.seen[0])
    assert "authorization" not in endpoint.seen[0]
    assert endpoint.seen[1]["authorization"] == "Bearer value-of-OURS"
    assert "value-of-OPENAI" not in str(endpoint.seen[1])


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ([], ConfigurationError),
        ({"error": "no"}, ConfigurationError),
        ({"data": [{"index": 0, "embedding": "***"}]}, ConfigurationError),
        ({"data": [{"index": 0, "embedding": ["a"]}]}, ConfigurationError),
        ({"data": []}, ConfigurationError),
        ({"data": [{"index": 1, "embedding": [1, 0]}]}, ConfigurationError),
        ({"data": [{"index": 0, "embedding": [1, 0]}] * 2}, ConfigurationError),
        ({"data": [{"index": 0, "embedding": [1, 0, 0]}]}, ConfigurationError),
        ({"data": [{"index": 0, "embedding": [1, float("nan")]}]}, PermanentError),
        ({"data": [{"index": 0, "embedding": [0, 0]}]}, PermanentError),
    ],
)
def test_openai_answers_that_give_no_vectors(said: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        parse_vectors(said, 1, 2)
