"""BERT sentence encoders on the CPU, through OpenVINO: no torch, no download, no model server.

A model is loaded once and gives several encoders: one with all cores for documents and one with a
single thread for questions, so that a question never waits behind a batch. They share the tokenizer
and the word embeddings; of the other weights each compiled model has a copy of its own.

A word of more than 100 characters is one unknown token (the tokenizer's rule): its letters are not
in the vector, though they are in the index's text.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeAlias

import numpy as np
from tokenizers import Tokenizer

from core.errors import ConfigurationError, LimitError, PermanentError, TransientError
from embed.encoder import Kind, Pauses
from embed.encoders.bert_graph import build_graph, compile_graph, has_bf16, require_bert
from embed.encoders.lanes import Callers, Lanes, Request, Work
from embed.encoders.model_folder import ModelFolder, read_json, resolve_model
from embed.encoders.token_counts import WordCounts, adds_up
from embed.encoders.yielding import yielding
from embed.model import Vector

Precision: TypeAlias = Literal["bf16", "f32"]

_LEAST: Final = 16
_STEP: Final = 32
"""Texts are padded to 16 tokens (a short question) or a multiple of 32, and batches hold 1, 2, 4, 8 ...
texts: OpenVINO keeps code and memory for each shape that it has met, and over free shapes the process
grew to twice its size. These shapes, all met by both encoders, make it about 300 MB."""

_LANES: Final = 2
_TOKENS_PER_THREAD: Final = 512
_DISTURBED_TOKENS_PER_THREAD: Final = 256
"""In the background while edits come: some 15 ms. It costs a build 2 to 7 % of its speed, 192 11 to 15 %."""
_MOST_TOKENS: Final = 8192
"""Padded tokens of one batch: more gained nothing, and each costs some 20 KB while it runs."""

# One thread tokenizes: it costs some percent of encoding, and the tokenizers' own threads would
# take cores from questions, and warn at each fork. The operator's own choice wins.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


class OpenVinoModel:
    """One model in memory: graph and tokenizer. Its encoders share them."""

    def __init__(self, model: ModelFolder, precision: Precision) -> None:
        require_bert(model)
        self.precision = precision
        self.longest = model.longest
        self.prefixes = model.prefixes
        self.tokenizer = _tokenizer(model.folder / "tokenizer.json")
        self.bert = build_graph(model)
        known, highest = len(self.bert.words), _highest_id(self.tokenizer)
        if highest >= known:
            raise ConfigurationError(
                f"{model.folder}: tokenizer.json has tokens up to number {highest}, and model.safetensors has"
                f" embeddings of {known}, from 0 on: take both from the same model"
            )
        self.dimensions = int(model.config["hidden_size"])
        marks = int(self.tokenizer.num_special_tokens_to_add(False))
        prefixes = self.tokenizer.encode_batch_fast(list(model.prefixes.values()), add_special_tokens=False)
        self.max_tokens = model.longest - marks - max(len(prefix.ids) for prefix in prefixes)
        self.fingerprint = _fingerprint(model, precision)

    @classmethod
    def load(cls, model: str | Path, precision: Literal["auto", "bf16", "f32"] = "auto") -> Self:
        """Read a model: a folder, or a name that `resolve_model` knows.

        `auto` is bf16 where the CPU has it, else f32. Raises ConfigurationError if the model is not
        here or is no BERT, or if bf16 is asked for and the CPU has none (emulated, it would be slow).
        """
        native = has_bf16()
        if precision == "bf16" and not native:
            raise ConfigurationError("encoder.precision: this CPU has no bf16: write auto or f32")
        chosen: Precision = "bf16" if native and precision != "f32" else "f32"
        return cls(ModelFolder.read(resolve_model(str(model))), chosen)

    def encoder(self, threads: int | None = None) -> "OpenVinoTextEncoder":
        """An encoder with so many threads, by default one for each core that this process may use."""
        return OpenVinoTextEncoder(self, threads or _cores())


class OpenVinoTextEncoder:
    """Texts to vectors of one model; implements embed.encoder.Encoder.

    A text that comes alone is computed with all threads. Where there are more, in one call or in several
    at a time, two lanes with half of the threads each take one batch after the other: the threads of a batch
    wait for the slowest of them, so that other work on one core would hold all of them up. Other threads
    of the process go before those of the lanes.

    May be called from several threads; the GIL is free while the model computes. In bf16 a text's vector
    depends slightly on the batch (cosine at least 0.9999): compare texts, never vectors.
    """

    def __init__(self, model: OpenVinoModel, threads: int) -> None:
        self._model = model
        self.fingerprint = model.fingerprint
        self.dimensions = model.dimensions
        self.max_tokens = model.max_tokens
        lanes = _LANES if threads >= _LANES else 1
        self._budget = min(threads // lanes * _TOKENS_PER_THREAD, _MOST_TOKENS)
        self._disturbed_budget = min(threads // lanes * _DISTURBED_TOKENS_PER_THREAD, _MOST_TOKENS)
        self._counts = WordCounts(self._tokens) if adds_up(model.tokenizer) else self._tokens
        self._callers = Callers()
        self._whole = Request(self._compiled(threads, 1)[0])
        # The one above comes first: threads that help with a batch serve all requests, whoever started them.
        self._lanes = Lanes(yielding(lambda: self._compiled(threads, lanes))) if lanes > 1 else None
        model.bert.weights.release()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._model.precision}, {self.dimensions} dimensions)"

    def count(self, texts: Sequence[str]) -> list[int]:
        return self._counts(texts)

    def encode(self, texts: Sequence[str], *, kind: Kind) -> Vector:
        return self._encoded(texts, kind, None)

    def encode_with_pauses(self, texts: Sequence[str], *, kind: Kind, pauses: Pauses) -> Vector:
        """The pieces are the batches of the lanes: the first one waits for the tokens of all texts."""
        return self._encoded(texts, kind, pauses)

    def _encoded(self, texts: Sequence[str], kind: Kind, pauses: Pauses | None) -> Vector:
        prefix = self._model.prefixes[kind]
        rows = self._ids([prefix + text for text in texts] if prefix else texts, add_special_tokens=True)
        lengths = [len(row) for row in rows]
        for place, length in enumerate(lengths):
            if length > self._model.longest:
                tokens = length - self._model.longest + self.max_tokens
                raise LimitError(
                    f"text {place} has {tokens} tokens; the encoder takes {self.max_tokens}: cut it shorter"
                )
        vectors = np.empty((len(rows), self.dimensions), np.float32)
        self._model.bert.weights.require_unchanged()

        def fill(request: Any, batch: list[int]) -> None:
            vectors[batch] = self._infer(request, [rows[place] for place in batch])

        padded = [self._padded(length) for length in lengths]
        if pauses is not None:
            budget = self._disturbed_budget if pauses.disturbed else self._budget
            self._fill_with_pauses(fill, [*batches(padded, budget)][::-1], pauses)
        else:
            self._fill(fill, padded)
        self._model.bert.weights.require_unchanged()  # while they were looked up, too
        return vectors

    def _fill(self, fill: Work, padded: Sequence[int]) -> None:
        with self._callers.entered() as first:
            alone = first and not (self._lanes and self._lanes.taken)
            if self._lanes is None or (alone and len(padded) == 1):
                for batch in batches(padded, self._budget):
                    with self._whole.held() as request:
                        fill(request, batch)
            else:
                half = -(-sum(padded) // _LANES) if alone else self._budget  # both lanes have something to do
                # The longest first: then the lanes end at nearly the same time.
                self._lanes.run(fill, [*batches(padded, min(self._budget, half))][::-1])

    def _fill_with_pauses(self, fill: Work, parts: Sequence[list[int]], pauses: Pauses) -> None:
        if self._lanes is not None:
            self._lanes.run_with_pauses(fill, parts, pauses)
            return
        for part in parts:
            with self._whole.held() as request:
                fill(request, part)
            pauses.take(part)

    def close(self) -> None:
        """Give the memory back. Later calls are refused."""
        self._whole.close()
        if self._lanes is not None:
            self._lanes.close()

    def _compiled(self, threads: int, streams: int) -> list[Any]:
        model = self._model
        made = compile_graph(model.bert.graph, threads=threads, precision=model.precision, streams=streams)
        for request in made:  # the first time, they make their own copy of the weights
            self._infer(request, [[0]])
        return made

    def _tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._ids(texts, add_special_tokens=False)]

    def _ids(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[list[int]]:
        try:
            found = self._model.tokenizer.encode_batch_fast(
                list(texts), add_special_tokens=add_special_tokens
            )
        except TypeError as error:  # what the tokenizer says to a lone surrogate
            raise PermanentError("a text is not valid Unicode: it cannot be encoded") from error
        return [encoding.ids for encoding in found]

    def _padded(self, length: int) -> int:
        """Never beyond the longest text: the model knows no later positions."""
        step = _LEAST if length <= _LEAST else _STEP
        return min(-(-length // step) * step, self._model.longest)

    def _infer(self, request: Any, rows: Sequence[Sequence[int]]) -> Vector:
        shape = len(rows), self._padded(max(map(len, rows)))
        padded, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, ids, present in zip(rows, padded, mask, strict=True):
            ids[: len(row)] = row
            present[: len(row)] = 1
        words = self._model.bert.words.take(padded, axis=0)
        try:
            # The caller copies the rows out before the next call may use their memory again.
            found: Vector = request.infer([words, mask], share_inputs=True, share_outputs=True)[0]
        except RuntimeError as error:
            raise TransientError(f"OpenVINO failed on a batch of {shape[0]} texts: {error}") from error
        return found


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Places of texts of similar length, each place once, shortest first; in numbers that are powers of two.

    Padded to its longest text, a batch holds at most `budget` tokens; a text beyond it is alone.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    start = 0
    while start < len(order):
        size = 1
        while (end := start + 2 * size) <= len(order) and 2 * size * lengths[order[end - 1]] <= budget:
            size *= 2
        yield order[start : start + size]
        start += size


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tokenizer(file: Path) -> Tokenizer:
    """The folder's tokenizer, without the padding and the cut that its file carries."""
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises no narrower one
        raise ConfigurationError(f"{file}: cannot be read: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _highest_id(tokenizer: Tokenizer) -> int:
    """Of the vocabulary with what was added to it, and of the marks around each text."""
    return max([*tokenizer.get_vocab(with_added_tokens=True).values(), *tokenizer.encode("").ids], default=-1)


def _fingerprint(model: ModelFolder, precision: Precision) -> str:
    """Hash of everything that decides a vector. Names of folders do not: moving a model changes nothing."""
    said: Mapping[str, object] = {
        "weights": _file_hash(model.folder / "model.safetensors"),
        "tokenizer": _file_hash(model.folder / "tokenizer.json"),
        "config": sorted(read_json(model.folder / "config.json").items()),
        "pooling": model.pooling,
        "normalised": True,
        "longest": model.longest,
        "prefixes": sorted(model.prefixes.items()),
        "precision": precision,
    }
    return f"openvino-{precision}-{blake2b(repr(said).encode(), digest_size=16).hexdigest()}"


def _file_hash(file: Path) -> str:
    facts = file.stat()
    return _sha256(file, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=32)
def _sha256(file: Path, _size: int, _mtime_ns: int) -> str:
    """Of a file that has not changed since: 60 ms for 90 MB, so once a process."""
    with file.open("rb") as opened:
        return file_digest(opened, "sha256").hexdigest()
