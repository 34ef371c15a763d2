"""BM25 vectors, made by the real encoder."""

from concurrent.futures import ThreadPoolExecutor

from embed.indexes import bm25
from embed.model import Sparse


def test_queries_and_documents_share_their_tokens() -> None:
    (document,) = bm25.documents(["The quick brown fox jumps over the lazy dogs"])
    asked = bm25.query("DOG quickly Fox")
    assert set(asked.values) == {1.0}
    assert len(set(asked.indices) & set(document.indices)) == 3, "case and endings do not matter"
    assert set(bm25.query("zebra").indices).isdisjoint(document.indices)


def test_stop_words_and_nothing_have_no_tokens() -> None:
    empty = Sparse((), ())
    assert bm25.documents(["", "the of and", " \n", "…"]) == [empty] * 4
    assert bm25.query("the") == empty
    assert bm25.documents([]) == []


def test_weights_grow_with_frequency_and_saturate() -> None:
    once, twice, often = (vector.values[0] for vector in bm25.documents(["fox", "fox " * 2, "fox " * 50]))
    assert once < twice < often < 2.2  # k + 1


def test_longer_texts_weigh_each_token_less() -> None:
    short, long = bm25.documents(["fox", "fox " + " ".join(f"word{n}" for n in range(300))])
    place = long.indices.index(short.indices[0])
    assert long.values[place] < short.values[0]


def test_tokens_are_those_of_every_other_process() -> None:
    # A change of these ids would silently unmatch every stored vector.
    assert bm25.query("quick running foxes").indices == (243905464, 771291085, 1621867415)
    (document,) = bm25.documents(["foxes foxes run"])
    assert document.indices == (243905464, 1621867415)
    assert document.values[1] > document.values[0]


def test_threads_share_the_encoder() -> None:
    texts = [f"text number {n} about foxes and dogs" for n in range(50)]
    alone = bm25.documents(texts)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(bm25.documents, [texts] * 20)) == [alone] * 20
