"""BM25 vectors, made here and not by the store: equal text gives equal vectors in every index.

Documents carry saturated term frequencies, queries a 1 for each token; the store multiplies by
the inverse document frequency of the scope's own corpus. Token ids are those that a Qdrant
server would give. English stop words and stems, lower case, no download.
"""

from collections.abc import Sequence

import qdrant_edge as edge

from embed.model import Sparse

_MODEL = edge.Bm25()
# k 1.2 and b 0.75 as everywhere; avg_len 256 is the constant that servers take.


def documents(texts: Sequence[str]) -> list[Sparse]:
    """One vector for each text, in order; a text without a word has an empty one."""
    return [_sparse(_MODEL.embed_document(text)) for text in texts]


def query(text: str) -> Sparse:
    return _sparse(_MODEL.embed_query(text))


def _sparse(vector: edge.SparseVector) -> Sparse:
    return Sparse(tuple(vector.indices), tuple(vector.values))
