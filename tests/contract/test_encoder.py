"""One page of promises (embed/encoder.py), held by every encoder that runs here."""

import base64
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.errors import ConfigurationError, LimitError, PermanentError, TransientError
from core.settings import OpenAIEncoder
from embed.encoder import Encoder, HashingEncoder, Kind
from embed.encoders.model_folder import resolve_model
from embed.encoders.openai import OpenAITextEncoder, parse_vectors
from embed.encoders.openvino import OpenVinoModel, batches
from embed.encoders.sentence_transformers import SentenceTransformersTextEncoder

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = (
    "The refund was sent to the customer's card on Monday.",
    "On Monday the buyer got the money back.",
    "Reset the device by holding the power button for ten seconds.",
    "Grüße aus Köln — 東京 😀",
    "",
    "Every order is kept in the ledger until its invoice is paid. " * 16,
)
# Cosines of TEXTS' first five with each other, upper triangle by rows: all-MiniLM-L6-v2 by
# sentence-transformers 6.2.0 on torch 2.15.0, float32.
EXPECTED = (0.59258, 0.19903, 0.05028, 0.07990, 0.13751, 0.03058, 0.12458, 0.02230, 0.02306, 0.10320)


@dataclass
class Endpoint:
    """What the local server answers, and what it was asked."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    floats: bool = False
    body: bytes | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    seen: list[dict[str, str]] = field(default_factory=list)


def answer(texts: Sequence[str], *, floats: bool) -> bytes:
    vectors = HashingEncoder().encode(texts, kind="document") * 3  # the adapter makes them of length 1
    data: list[dict[str, Any]] = [
        {
            "object": "embedding",
            "index": place,
            "embedding": vector.tolist() if floats else base64.b64encode(vector.tobytes()).decode(),
        }
        for place, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    said = {"object": "list", "model": "hashing", "data": data[::-1], "usage": usage}  # any order is allowed
    return json.dumps(said).encode()


@contextmanager
def serving() -> Iterator[Endpoint]:
    endpoint = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            endpoint.asked.append(asked)
            endpoint.seen.append({name.lower(): value for name, value in self.headers.items()})
            floats = endpoint.floats or asked.get("encoding_format") != "base64"
            body = answer(asked["input"], floats=floats) if endpoint.body is None else endpoint.body
            self.send_response(endpoint.status if self.path == "/v1/embeddings" else 404)
            for name, value in {"content-type": "application/json", **endpoint.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *said: object) -> None:
            """Silence."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield endpoint
        finally:
            server.shutdown()
            thread.join()


def settings(url: str, **changed: Any) -> OpenAIEncoder:
    return OpenAIEncoder.model_validate({"base_url": url, "model": "hashing", "dimensions": 64, **changed})


@contextmanager
def client_of(url: str, **changed: Any) -> Iterator[OpenAITextEncoder]:
    made = OpenAITextEncoder(settings(url, **changed))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def openvino() -> OpenVinoModel:
    return OpenVinoModel.load(MINILM)


@pytest.fixture(scope="module")
def exact() -> Encoder:
    return OpenVinoModel.load(MINILM, "f32").encoder(1)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving() as made:
        yield made


@pytest.fixture(
    scope="module", params=["hashing", "openvino", "openvino-one-thread", "openai", "openai-floats"]
)
def encoder(request: pytest.FixtureRequest, openvino: OpenVinoModel) -> Iterator[Encoder]:
    if request.param == "hashing":
        yield HashingEncoder()
    elif request.param.startswith("openvino"):
        made = openvino.encoder(1 if request.param.endswith("thread") else None)
        yield made
        made.close()
    else:
        with serving() as served, client_of(served.url, max_tokens=254, characters_per_token=4) as client:
            served.floats = request.param.endswith("floats")
            yield client


@pytest.mark.parametrize("kind", ["document", "query"])
def test_one_vector_of_length_one_for_each_text(encoder: Encoder, kind: Kind) -> None:
    vectors = encoder.encode(TEXTS, kind=kind)
    assert vectors.shape == (len(TEXTS), encoder.dimensions)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)


def test_no_texts_no_vectors(encoder: Encoder) -> None:
    assert encoder.encode([], kind="document").shape == (0, encoder.dimensions)
    assert encoder.count([]) == []


def test_rows_are_in_the_order_of_the_texts(encoder: Encoder) -> None:
    together = encoder.encode([*TEXTS, *TEXTS[::-1]] * 4, kind="document")
    alone = np.concatenate([encoder.encode([text], kind="document") for text in TEXTS])
    assert (together * np.concatenate([alone, alone[::-1]] * 4)).sum(1).min() > 0.999


def test_the_longest_text_is_taken_and_one_token_more_is_not(encoder: Encoder) -> None:
    word = "tent "
    fits = next(
        n for n in range(encoder.max_tokens, 0, -1) if encoder.count([word * n])[0] <= encoder.max_tokens
    )
    assert encoder.encode([word * fits], kind="query").shape == (1, encoder.dimensions)
    tokens = encoder.count([word * (fits + 1)])[0]
    with pytest.raises(
        LimitError, match=rf"text 1 has (about )?{tokens} tokens.* takes {encoder.max_tokens}"
    ):
        encoder.encode(["short", word * (fits + 1)], kind="document")


def test_the_end_of_a_long_text_counts(encoder: Encoder) -> None:
    start = "tent " * 150
    one, other = encoder.encode([start, start + "refund " * 20], kind="document")
    assert one @ other < 0.9995


def test_counts_of_pieces_are_enough_for_the_whole(encoder: Encoder) -> None:
    pieces = ["The tent is small. ", "A refund\n", "(takes three days) ", "Grüße aus Köln! ", "# Head\n\n"]
    whole, sum_of_pieces = encoder.count(["".join(pieces)])[0], sum(encoder.count(pieces))
    assert whole <= sum_of_pieces <= whole + len(pieces) * isinstance(encoder, OpenAITextEncoder)


def test_what_is_no_unicode_is_permanent(encoder: Encoder) -> None:
    if not isinstance(encoder, HashingEncoder):
        with pytest.raises(PermanentError, match="Unicode"):
            encoder.encode(["a \ud800"], kind="query")


def test_calls_from_several_threads_do_not_mix(encoder: Encoder) -> None:
    alone = [encoder.encode([text], kind="document")[0] for text in TEXTS]
    worst: list[float] = []

    def many(place: int) -> None:
        texts = [TEXTS[place]]
        worst.extend(float(encoder.encode(texts, kind="document")[0] @ alone[place]) for _ in range(5))

    threads = [threading.Thread(target=many, args=(place,)) for place in range(len(TEXTS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(worst) == 5 * len(TEXTS)
    assert min(worst) > 0.999


def test_openvino_gives_the_published_cosines(openvino: OpenVinoModel, exact: Encoder) -> None:
    for made, off in ((exact, 1e-4), (openvino.encoder(), 1e-2)):
        vectors = made.encode(TEXTS[:5], kind="document")
        assert np.abs((vectors @ vectors.T)[np.triu_indices(5, 1)] - EXPECTED).max() < off


def test_the_fast_precision_stays_close_to_the_exact_one(openvino: OpenVinoModel, exact: Encoder) -> None:
    one, other = (made.encode(TEXTS, kind="document") for made in (openvino.encoder(), exact))
    assert (one * other).sum(1).min() > 0.999


def test_fingerprints_tell_precisions_apart_and_survive_a_move(
    openvino: OpenVinoModel, exact: Encoder, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    moved.symlink_to(resolve_model(MINILM))
    assert OpenVinoModel.load(moved, "f32").fingerprint == exact.fingerprint
    assert (openvino.fingerprint == exact.fingerprint) is (openvino.precision == "f32")


def test_openvino_counts_as_the_model_does(openvino: OpenVinoModel) -> None:
    made = openvino.encoder(1)
    assert openvino.max_tokens == 254
    assert made.count(["tent", "", "a tent." * 500, "x" * 101]) == [1, 0, 1500, 1]


def altered(at: Path, name: str, value: dict[str, Any]) -> Path:
    """The packaged model with other facts in one file."""
    for file in resolve_model(MINILM).iterdir():
        (at / file.name).symlink_to(file)
    before = json.loads((at / name).read_text()) if (at / name).exists() else {}
    (at / name).unlink(missing_ok=True)
    (at / name).write_text(json.dumps(before | value))
    return at


@pytest.mark.parametrize(
    "value", [{"model_type": "mpnet"}, {"position_embedding_type": "relative_key"}, {"hidden_act": "relu"}]
)
def test_openvino_refuses_another_architecture_by_name(tmp_path: Path, value: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(value.values()))):
        OpenVinoModel.load(altered(tmp_path, "config.json", value))


def test_openvino_refuses_weights_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"encoder\.layer\.6"):
        OpenVinoModel.load(altered(tmp_path, "config.json", {"num_hidden_layers": 7}))


def test_openvino_puts_prompts_before_texts_and_counts_them_off(
    tmp_path: Path, openvino: OpenVinoModel
) -> None:
    said = {"prompts": {"query": "find a tent: ", "document": ""}}
    model = OpenVinoModel.load(altered(tmp_path, "config_sentence_transformers.json", said))
    made, plain = model.encoder(1), openvino.encoder(1)
    assert made.max_tokens == 254 - 4
    assert made.fingerprint != plain.fingerprint
    prefixed = plain.encode(["find a tent: small"], kind="query")
    assert np.array_equal(made.encode(["small"], kind="query"), prefixed)
    assert np.array_equal(made.encode(["small"], kind="document"), plain.encode(["small"], kind="query"))
    made.encode(["tent " * 250], kind="query")
    with pytest.raises(LimitError, match="text 0 has 251 tokens; the encoder takes 250"):
        made.encode(["tent " * 251], kind="query")


def test_openvino_brings_no_reporting_and_no_torch() -> None:
    program = (
        "import sys, threading, embed.encoders.openvino as o;"
        f"o.OpenVinoModel.load({MINILM!r}).encoder(1).encode(['x'], kind='query');"
        "assert threading.active_count() == 1, threading.enumerate();"
        "assert not {'torch', 'transformers', 'openai', 'requests'} & set(sys.modules);"
        "assert sys.modules['openvino_telemetry'] is None"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=50)


@given(st.lists(st.integers(1, 300), max_size=80), st.integers(1, 2000))
def test_batches_hold_each_text_once_within_the_budget(lengths: list[int], budget: int) -> None:
    found = list(batches(lengths, budget))
    assert sorted(place for batch in found for place in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch).bit_count() == 1
        assert len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= budget


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


def test_sentence_transformers_says_which_extra_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)  # as if it were not installed
    with pytest.raises(ConfigurationError, match=r"pip install 'tailrace\[torch\]'"):
        SentenceTransformersTextEncoder(MINILM)
