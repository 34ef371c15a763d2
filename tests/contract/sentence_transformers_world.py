"""Stands in for the sentence-transformers library where torch is not installed: its use of one tokenizer."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from tokenizers import Tokenizer

from embed.encoder import HashingEncoder
from embed.encoders.sentence_transformers import SentenceTransformersTextEncoder
from embed.model import Vector
from tests.contract.encoder_world import MINILM


class OneState:
    """A tokenizer as transformers has it: how to pad is asked for by each call, and kept by the object."""

    def __init__(self, file: Path) -> None:
        self._inner = Tokenizer.from_file(str(file))
        self._inner.no_truncation()

    def num_special_tokens_to_add(self, *, pair: bool) -> int:
        return int(self._inner.num_special_tokens_to_add(pair))

    def __call__(
        self, texts: list[str], *, add_special_tokens: bool, padding: bool, **_: object
    ) -> Mapping[str, list[list[int]]]:
        if padding:
            self._inner.enable_padding()
        else:
            self._inner.no_padding()
        time.sleep(0)  # another thread's turn
        found = self._inner.encode_batch(texts, add_special_tokens=add_special_tokens)
        return {"input_ids": [one.ids for one in found]}


class StandIn:
    """The part of SentenceTransformer that the adapter uses; vectors are of hashed words."""

    device, dtype = "cpu", "float32"
    max_seq_length = 256
    prompts: Mapping[str, str] = {}
    default_prompt_name = None

    def __init__(self, folder: str, *, device: str | None, local_files_only: bool) -> None:
        assert local_files_only
        self.tokenizer = OneState(Path(folder) / "tokenizer.json")
        self._vectors = HashingEncoder()
        self._vectors.max_tokens = self.max_seq_length

    def get_embedding_dimension(self) -> int:
        return self._vectors.dimensions

    def encode(self, texts: Sequence[str], *, prompt: str, **_: object) -> Vector:
        ids = self.tokenizer([prompt + text for text in texts], add_special_tokens=True, padding=True)
        np.array(ids["input_ids"])  # ValueError for rows of different length, as of the library
        return self._vectors.encode(texts, kind="document")


@contextmanager
def stand_in() -> Iterator[SentenceTransformersTextEncoder]:
    """The adapter around it."""
    library, logging = ModuleType("sentence_transformers"), ModuleType("transformers.utils.logging")
    vars(library)["SentenceTransformer"] = StandIn
    vars(logging)["disable_progress_bar"] = SimpleNamespace
    modules: dict[str, Any] = {
        "sentence_transformers": library,
        "transformers": ModuleType("transformers"),
        "transformers.utils": ModuleType("transformers.utils"),
        "transformers.utils.logging": logging,
    }
    with patch.dict(sys.modules, modules):
        made = SentenceTransformersTextEncoder(MINILM)
    yield made
    made.close()
