"""One encoder in a process of its own: texts come in, vectors and seconds go out, a JSON object a line.

`python -m tests.bench.encoder_child KIND FOLDER [MORE_PACKAGES]`, KIND being `openvino`, `stock`
(sentence-transformers as its documentation shows it) or `adapter` (ours around it, which needs
packages of ours that the environment of torch lacks: they come last on the path).
"""

import base64
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

Encode: TypeAlias = Callable[[Sequence[str]], Any]


def openvino(folder: str) -> tuple[Encode, Encode, dict[str, object]]:
    from embed.encoders.openvino import OpenVinoModel  # noqa: PLC0415 - the import is measured, and is not everywhere

    model = OpenVinoModel.load(folder)
    documents, queries = model.encoder(), model.encoder(threads=1)
    return (
        lambda texts: documents.encode(texts, kind="document"),
        lambda texts: queries.encode(texts, kind="query"),
        {"precision": model.precision},
    )


def stock(folder: str) -> tuple[Encode, Encode, dict[str, object]]:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - the same

    model = SentenceTransformer(folder, device="cpu")
    return model.encode, model.encode, {"threads": import_module("torch").get_num_threads()}


def adapter(folder: str) -> tuple[Encode, Encode, dict[str, object]]:
    from core.errors import LimitError  # noqa: PLC0415 - the same
    from embed.encoders.sentence_transformers import SentenceTransformersTextEncoder  # noqa: PLC0415 - the same

    made = SentenceTransformersTextEncoder(folder, "cpu")
    again = SentenceTransformersTextEncoder(folder, "cpu")
    refused = ""
    try:
        made.encode(["short", "tent " * (made.max_tokens + 1)], kind="document")
    except LimitError as error:
        refused = str(error)
    facts: dict[str, object] = {
        "max_tokens": made.max_tokens,
        "dimensions": made.dimensions,
        "counts": made.count(["tent", "", "a tent." * 500]),
        "none": list(made.encode([], kind="query").shape),
        "longest": list(made.encode(["tent " * made.max_tokens], kind="query").shape),
        "refused": refused,
        "same fingerprint": made.fingerprint == again.fingerprint,
    }
    return (
        lambda texts: made.encode(texts, kind="document"),
        lambda texts: made.encode(texts, kind="query"),
        facts,
    )


def main() -> None:
    kind, folder, *more = sys.argv[1:]
    sys.path.extend(more)
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no reply
    documents, queries, facts = {"openvino": openvino, "stock": stock, "adapter": adapter}[kind](folder)

    def reply(said: dict[str, object]) -> None:
        replies.write(json.dumps(said) + "\n")
        replies.flush()

    documents(["the first vector"])
    reply(facts)
    for line in sys.stdin:
        asked = json.loads(line)
        encode = queries if asked["kind"] == "query" else documents
        start = time.perf_counter()
        vectors = encode(asked["texts"])
        seconds = time.perf_counter() - start
        status = dict(
            entry.split(":", 1)
            for entry in Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        )
        reply(
            {
                "seconds": seconds,
                "rss_mb": int(status["VmRSS"].split()[0]) / 1024,
                "shape": list(vectors.shape),
                "vectors": base64.b64encode(vectors.astype("<f4").tobytes()).decode(),
            }
        )


if __name__ == "__main__":
    main()
