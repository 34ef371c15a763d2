"""BERT with pooling as an OpenVINO graph, built straight from a model folder's weights.

Neither torch, onnx nor transformers takes part: `model.safetensors` and `config.json` hold all.
"""

import sys
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigurationError
from embed.encoders.model_folder import ModelFolder
from embed.encoders.weights import Weights

# Importing openvino starts a thread that reports its use over the network and writes into the
# home folder, where it finds this package. With None here the import of it fails, quietly.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # the documented way to hide one

import openvino as ov  # noqa: E402 - after the line above
from openvino import opset13 as op  # noqa: E402 - the same

_GELU: Final = {"gelu": "erf", "gelu_new": "tanh"}
_MASKED: Final = -1e4
"""Added to the attention score of padding: exp() of it is 0, and it fits bf16."""


@dataclass(frozen=True, slots=True)
class Bert:
    """What a model computes, and what it looks up.

    The table is half of a small model: inside the graph, each compiled model would have a copy of it.
    """

    graph: ov.Model
    """From the embeddings of the words, f32 of texts x tokens x hidden size, and the attention mask, i64 of
    texts x tokens, to vectors of length 1."""

    words: NDArray[np.float32]
    """The embedding of each token id."""

    weights: Weights
    """What both are views of. To be released when all is compiled: each compiled model has its own copy."""


def build_graph(model: ModelFolder) -> Bert:
    """Raises ConfigurationError for what is no BERT with absolute positions, or has other weights."""
    graph = _Graph(model)
    try:
        return graph.built()
    except (RuntimeError, IndexError) as error:
        raise ConfigurationError(
            f"{model.folder}: config.json and model.safetensors do not fit each other: take both from the"
            f" same model: {error}"
        ) from error


def compile_graph(graph: ov.Model, *, threads: int, precision: str, streams: int = 1) -> list[Any]:
    """As many infer requests as streams, which share the threads; each for one caller at a time."""
    options = {
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        # Bound to cores, two encoders of one process met on the same one: questions took three
        # times as long while documents were encoded.
        "ENABLE_CPU_PINNING": False,
    }
    try:
        compiled = ov.Core().compile_model(graph, "CPU", options)
        return [compiled.create_infer_request() for _ in range(streams)]
    except RuntimeError as error:
        raise ConfigurationError(f"OpenVINO cannot compile the encoder: {error}") from error


def has_bf16() -> bool:
    """Whether this CPU computes in bf16 itself."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def require_bert(model: ModelFolder) -> None:
    """Raises ConfigurationError if this is no BERT as `build_graph` knows it."""
    kind = model.config.get("model_type")
    positions = model.config.get("position_embedding_type", "absolute")
    activation = model.config.get("hidden_act", "gelu")
    if kind != "bert" or positions != "absolute" or activation not in _GELU:
        raise ConfigurationError(
            f"{model.folder}: model_type {kind} (positions {positions}, activation {activation}) is not"
            " supported: the openvino encoder takes bert with absolute positions and gelu;"
            " use the encoder kind sentence-transformers"
        )


def _constant(value: Any, kind: Any = np.float32) -> Any:
    return op.constant(np.ascontiguousarray(value, dtype=kind))


def _shared(value: NDArray[np.float32]) -> Any:
    """Without a copy: the graph is no longer usable than the weights are kept."""
    return op.constant(value, shared_memory=True)


def _integers(*values: int) -> Any:
    return _constant(list(values), np.int64)


class _Graph:
    def __init__(self, model: ModelFolder) -> None:
        require_bert(model)
        self._model = model
        self._file = model.folder / "model.safetensors"
        self._weights = Weights(self._file)
        try:
            self._hidden = int(model.config["hidden_size"])
            self._heads = int(model.config["num_attention_heads"])
            self._layers = int(model.config["num_hidden_layers"])
            self._epsilon = float(model.config.get("layer_norm_eps", 1e-12))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{model.folder}: config.json cannot be used: {error!r}") from error
        if self._heads < 1 or self._hidden < 1 or self._hidden % self._heads:
            raise ConfigurationError(
                f"{model.folder}: config.json cannot be used: {self._heads} attention heads do not divide"
                f" hidden_size {self._hidden}"
            )
        self._activation = _GELU[model.config.get("hidden_act", "gelu")]

    def built(self) -> Bert:
        words = op.parameter(ov.PartialShape([-1, -1, self._hidden]), ov.Type.f32, name="words")
        present = op.parameter(ov.PartialShape([-1, -1]), ov.Type.i64, name="attention_mask")
        mask = op.convert(present, "f32")
        # Batch x 1 x 1 x length: the same for each head and each asking token.
        bias = op.multiply(op.subtract(_constant(1.0), mask), _constant(_MASKED))
        bias = op.unsqueeze(bias, _integers(1, 2))
        x = self._embeddings(words)
        for number in range(self._layers):
            x = self._layer(x, bias, f"encoder.layer.{number}")
        vectors = op.normalize_l2(self._pool(x, mask), _integers(1), 1e-12, "max")
        graph = ov.Model([vectors], [words, present], self._model.folder.name)
        table = self._weight("embeddings.word_embeddings.weight")
        if table.shape != (len(table), self._hidden):
            raise ConfigurationError(
                f"{self._file}: word embeddings of shape {list(table.shape)}, and config.json has hidden_size"
                f" {self._hidden}: take both from the same model"
            )
        return Bert(graph, table, self._weights)

    def _weight(self, name: str) -> NDArray[np.float32]:
        for known in (name, f"bert.{name}"):
            if known in self._weights:
                return self._weights[known]
        raise ConfigurationError(f"{self._file}: no tensor {name}: these are not the weights of a BERT")

    def _linear(self, x: Any, name: str) -> Any:
        product = op.matmul(x, _shared(self._weight(f"{name}.weight")), False, True)
        return op.add(product, _shared(self._weight(f"{name}.bias")))

    def _norm(self, x: Any, name: str) -> Any:
        normal = op.mvn(x, _integers(-1), True, self._epsilon, "INSIDE_SQRT")
        scaled = op.multiply(normal, _shared(self._weight(f"{name}.weight")))
        return op.add(scaled, _shared(self._weight(f"{name}.bias")))

    def _embeddings(self, words: Any) -> Any:
        """Word + position + the one token type of single texts."""
        axis = _constant(0, np.int64)
        length = op.gather(op.shape_of(words), _integers(1), axis)
        table = self._weight("embeddings.position_embeddings.weight")
        if len(table) < self._model.longest:
            raise ConfigurationError(
                f"{self._model.folder}: texts may have {self._model.longest} tokens, and model.safetensors"
                f" has {len(table)} positions: write a lower max_seq_length into sentence_bert_config.json"
            )
        positions = op.slice(_shared(table), _integers(0), length, _integers(1), _integers(0))
        kind = _shared(self._weight("embeddings.token_type_embeddings.weight")[0])
        return self._norm(op.add(op.add(words, op.unsqueeze(positions, axis)), kind), "embeddings.LayerNorm")

    def _layer(self, x: Any, bias: Any, name: str) -> Any:
        """Attention and feed-forward, each with its residual and its norm after it."""
        split = _integers(0, 0, self._heads, self._hidden // self._heads)
        swap = _integers(0, 2, 1, 3)
        query, key, value = (
            op.transpose(op.reshape(self._linear(x, f"{name}.attention.self.{part}"), split, True), swap)
            for part in ("query", "key", "value")
        )
        attended = op.scaled_dot_product_attention(query, key, value, bias, causal=False)
        attended = op.reshape(op.transpose(attended, swap), _integers(0, 0, self._hidden), True)
        attended = self._linear(attended, f"{name}.attention.output.dense")
        x = self._norm(op.add(attended, x), f"{name}.attention.output.LayerNorm")
        inner = op.gelu(self._linear(x, f"{name}.intermediate.dense"), self._activation)
        return self._norm(op.add(self._linear(inner, f"{name}.output.dense"), x), f"{name}.output.LayerNorm")

    def _pool(self, x: Any, mask: Any) -> Any:
        if self._model.pooling == "cls":
            return op.gather(x, _constant(0, np.int64), _constant(1, np.int64))
        column = op.unsqueeze(mask, _integers(-1))
        total = op.reduce_sum(op.multiply(x, column), _integers(1))
        return op.divide(total, op.maximum(op.reduce_sum(column, _integers(1)), _constant(1e-9)))
