"""One page of promises (embed/encoder.py), held by every encoder that runs here."""

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest

from core.errors import ConfigurationError, LimitError, PermanentError, TransientError
from embed.encoder import HashingEncoder, Kind, PausingEncoder
from embed.encoders.openai import OpenAITextEncoder
from embed.encoders.openvino import OpenVinoModel
from embed.encoders.sentence_transformers import SentenceTransformersTextEncoder
from tests.contract.encoder_world import MINILM, TEXTS, Told, client_of, serving
from tests.contract.sentence_transformers_world import stand_in

KINDS = [
    "hashing",
    "openvino",
    "openvino-one-thread",
    "openai",
    "openai-floats",
    "sentence-transformers-stand-in",
    *(["sentence-transformers"] if find_spec("sentence_transformers") else []),
]


@pytest.fixture(scope="module", params=KINDS)
def encoder(request: pytest.FixtureRequest, openvino: OpenVinoModel) -> Iterator[PausingEncoder]:
    if request.param == "hashing":
        yield HashingEncoder()
    elif request.param.startswith("openvino"):
        made = openvino.encoder(1 if request.param.endswith("thread") else None)
        yield made
        made.close()
    elif request.param == "sentence-transformers-stand-in":
        with stand_in() as adapter:
            yield adapter
    elif request.param == "sentence-transformers":
        yield SentenceTransformersTextEncoder(MINILM)
    else:
        with serving() as served, client_of(served.url, max_tokens=254, characters_per_token=4) as client:
            served.floats = request.param.endswith("floats")
            yield client


@pytest.mark.parametrize("kind", ["document", "query"])
def test_one_vector_of_length_one_for_each_text(encoder: PausingEncoder, kind: Kind) -> None:
    vectors = encoder.encode(TEXTS, kind=kind)
    assert vectors.shape == (len(TEXTS), encoder.dimensions)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)


def test_no_texts_no_vectors(encoder: PausingEncoder) -> None:
    assert encoder.encode([], kind="document").shape == (0, encoder.dimensions)
    assert encoder.count([]) == []


def test_rows_are_in_the_order_of_the_texts(encoder: PausingEncoder) -> None:
    together = encoder.encode([*TEXTS, *TEXTS[::-1]] * 4, kind="document")
    alone = np.concatenate([encoder.encode([text], kind="document") for text in TEXTS])
    assert (together * np.concatenate([alone, alone[::-1]] * 4)).sum(1).min() > 0.999


MANY = [f"{text} {number}" for number in range(12) for text in TEXTS]


@pytest.mark.parametrize(("due", "disturbed"), [(False, False), (True, False), (False, True), (True, True)])
def test_work_in_the_background_gives_the_same_vectors_and_tells_of_every_text_once(
    encoder: PausingEncoder, due: bool, disturbed: bool
) -> None:
    pauses = Told(due, disturbed=disturbed)
    found = encoder.encode_with_pauses(MANY, kind="document", pauses=pauses)
    assert (found * encoder.encode(MANY, kind="document")).sum(1).min() > 0.999
    assert len(pauses.told) > 1
    assert sorted(place for places in pauses.told for place in places) == [*range(len(MANY))]
    none = encoder.encode_with_pauses([], kind="document", pauses=pauses)
    assert none.shape == (0, encoder.dimensions)


def test_what_a_pause_raises_ends_the_work_and_nothing_else(encoder: PausingEncoder) -> None:
    for most in (1, 2):
        with pytest.raises(TransientError, match="no longer wanted"):
            encoder.encode_with_pauses(MANY, kind="document", pauses=Told(most=most))
    assert encoder.encode(TEXTS, kind="document").shape == (len(TEXTS), encoder.dimensions)


def test_the_longest_text_is_taken_and_one_token_more_is_not(encoder: PausingEncoder) -> None:
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


def test_the_end_of_a_long_text_counts(encoder: PausingEncoder) -> None:
    start = "tent " * 150
    one, other = encoder.encode([start, start + "refund " * 20], kind="document")
    assert one @ other < 0.9995


def test_counts_of_pieces_are_enough_for_the_whole(encoder: PausingEncoder) -> None:
    pieces = ["The tent is small. ", "A refund\n", "(takes three days) ", "Grüße aus Köln! ", "# Head\n\n"]
    whole, sum_of_pieces = encoder.count(["".join(pieces)])[0], sum(encoder.count(pieces))
    assert whole <= sum_of_pieces <= whole + len(pieces) * isinstance(encoder, OpenAITextEncoder)


def test_what_is_no_unicode_is_permanent(encoder: PausingEncoder) -> None:
    if isinstance(encoder, HashingEncoder):  # reads words alone, and this is in none
        taken, word = encoder.encode(["a \ud800", "a"], kind="query")
        assert np.array_equal(taken, word)
        return
    with pytest.raises(PermanentError, match="Unicode"):
        encoder.encode(["a \ud800"], kind="query")


def test_calls_from_several_threads_do_not_mix(encoder: PausingEncoder) -> None:
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


def test_texts_are_counted_while_others_are_encoded(encoder: PausingEncoder) -> None:
    short = [text[:120] for text in TEXTS]
    counts, alone = encoder.count(short), encoder.encode(short, kind="document")
    begin = threading.Barrier(4, timeout=10)

    def counted() -> bool:
        return encoder.count(short[::-1]) == counts[::-1]

    def encoded() -> bool:
        return float((encoder.encode(short, kind="document") * alone).sum(1).min()) > 0.999

    def often(right: Callable[[], bool]) -> bool:
        begin.wait()
        return all(right() for _ in range(20))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(often, [counted, encoded, counted, encoded])) == [True] * 4


def test_sentence_transformers_says_which_extra_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)  # as if it were not installed
    with pytest.raises(ConfigurationError, match=r"pip install 'tailrace\[torch\]'"):
        SentenceTransformersTextEncoder(MINILM)
