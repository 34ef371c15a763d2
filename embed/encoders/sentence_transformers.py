"""Any model of the sentence-transformers library, on whatever device torch finds. Needs the extra `torch`."""

import threading
from collections.abc import Sequence
from copy import deepcopy
from hashlib import blake2b, file_digest
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

from core.errors import ConfigurationError, LimitError, PermanentError, TransientError
from embed.encoder import Kind, Pauses, encode_in_pieces
from embed.encoders.model_folder import resolve_model
from embed.model import Vector

_DECIDES: Final = {".json", ".safetensors", ".bin", ".txt", ".model"}
"""Suffixes of the files that decide a vector: configuration, weights, vocabularies."""

_BATCH: Final = 32
_BATCH_ON_CPU: Final = 4
"""In the background, where an edit would wait half a second for 32 texts."""


class SentenceTransformersTextEncoder:
    """Texts to vectors of one model folder; implements embed.encoder.Encoder. Batches take turns.

    `device` is as torch names it, by default torch's own choice. Raises ConfigurationError if
    the extra is not installed or the model is not here: nothing is downloaded.
    """

    def __init__(self, model: str, device: str | None = None) -> None:
        folder = resolve_model(model)
        try:
            from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - an extra, and slow
        except ImportError as error:
            raise ConfigurationError(
                "encoder.kind sentence-transformers needs packages that are not installed:"
                f" pip install 'tailrace[torch]' ({error})"
            ) from error
        import_module("transformers.utils.logging").disable_progress_bar()
        try:
            self._model: Any = SentenceTransformer(str(folder), device=device, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise ConfigurationError(f"encoder.model: {folder} cannot be loaded: {error}") from error
        # A tokenizer of this library keeps how the last call wanted its texts padded: another thread's counts
        # would come between that and the texts. With a copy, nobody who counts waits for a batch.
        self._counter, self._counting = deepcopy(self._model.tokenizer), threading.Lock()
        dimensions, longest = self._model.get_embedding_dimension(), self._model.max_seq_length
        if dimensions is None or longest is None:
            raise ConfigurationError(f"encoder.model: {folder} does not say its dimensions or longest text")
        self.dimensions = int(dimensions)
        self._piece = _BATCH_ON_CPU if str(self._model.device) == "cpu" else _BATCH
        self._prefixes: dict[Kind, str] = {
            "query": self._prefix("query"),
            "document": self._prefix("document", "passage", "corpus"),
        }
        marks = int(self._model.tokenizer.num_special_tokens_to_add(pair=False))
        self.max_tokens = int(longest) - marks - max(self.count(list(self._prefixes.values())))
        self.fingerprint = _fingerprint(folder, str(self._model.dtype))
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._model.device}, {self.dimensions} dimensions)"

    def count(self, texts: Sequence[str]) -> list[int]:
        if not texts:
            return []
        try:
            with self._counting:
                found = self._counter(
                    list(texts), add_special_tokens=False, truncation=False, padding=False, verbose=False
                )
        except (TypeError, UnicodeEncodeError) as error:  # said to a lone surrogate
            raise PermanentError("a text is not valid Unicode: it cannot be encoded") from error
        return [len(ids) for ids in found["input_ids"]]

    def encode(self, texts: Sequence[str], *, kind: Kind) -> Vector:
        for place, tokens in enumerate(self.count(texts)):
            if tokens > self.max_tokens:  # the library would cut it without a word
                raise LimitError(
                    f"text {place} has {tokens} tokens; the encoder takes {self.max_tokens}: cut it shorter"
                )
        if not texts:
            return np.empty((0, self.dimensions), np.float32)
        try:
            with self._lock:
                found = self._model.encode(
                    list(texts),
                    prompt=self._prefixes[kind],
                    batch_size=_BATCH,
                    normalize_embeddings=True,
                    show_progress_bar=False,
                )
        except RuntimeError as error:  # the device: out of memory, or gone
            raise TransientError(f"the device failed on {len(texts)} texts: {error}") from error
        return np.asarray(found, np.float32)

    def encode_with_pauses(self, texts: Sequence[str], *, kind: Kind, pauses: Pauses) -> Vector:
        return encode_in_pieces(self, texts, self._piece, kind=kind, pauses=pauses)

    def close(self) -> None:
        """Give the memory back. The encoder takes no calls afterwards."""
        with self._lock:
            self._model = None

    def _prefix(self, *names: str) -> str:
        prompts = self._model.prompts
        usual = prompts.get(self._model.default_prompt_name or "", "")
        return next((str(prompts[name]) for name in names if name in prompts), usual)


def _fingerprint(folder: Path, precision: str) -> str:
    """Hash of the files that decide a vector, by their names in the folder, and the kind of number."""
    digest = blake2b(f"normalised {precision}".encode(), digest_size=16)
    for file in sorted(file for file in folder.rglob("*") if file.suffix in _DECIDES and file.is_file()):
        with file.open("rb") as opened:
            digest.update(f"{file.relative_to(folder).as_posix()}\0".encode())
            digest.update(file_digest(opened, "sha256").digest())
    return f"sentence-transformers-{digest.hexdigest()}"
