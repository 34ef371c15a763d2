"""BM25 vectors, made here and not by the store: equal text gives equal vectors in every index.

Documents carry saturated term frequencies, queries a 1 for each token; the store multiplies by
the inverse document frequency of the scope's own corpus. Token ids are those that a Qdrant
server would give. English stop words and stems, lower case, no download.
"""

from collections.abc import Sequence

import qdrant_edge as edge

from embed.model import Sparse

_MODEL = edge.Bm25(edge.Bm25Config(k=1.2, b=0.75, avg_len=64.0))
# k and b as everywhere. Chunks of the default cut have 61 words after stop words on average
# (889 pieces of Markdown); with the usual 256 the length of a text would hardly matter. A
# constant, since a vector must not depend on what else is stored.


def documents(texts: Sequence[str]) -> list[Sparse]:
    """One vector for each text, in order; a text without a word has an empty one."""
    return [_sparse(_MODEL.embed_document(text)) for text in texts]


def query(text: str) -> Sparse:
    return _sparse(_MODEL.embed_query(text))


def _sparse(vector: edge.SparseVector) -> Sparse:
    return Sparse(tuple(vector.indices), tuple(vector.values))
