"""The model on OpenVINO: the published cosines, its precisions, its folder, and what it refuses."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError, LimitError
from embed.encoder import Encoder
from embed.encoders.model_folder import resolve_model
from embed.encoders.openvino import OpenVinoModel, OpenVinoTextEncoder, batches
from tests.contract.encoder_world import MINILM, TEXTS, Told

# Cosines of TEXTS' first five with each other, upper triangle by rows: all-MiniLM-L6-v2 by
# sentence-transformers 6.2.0 on torch 2.15.0, float32.
EXPECTED = (0.59258, 0.19903, 0.05028, 0.07990, 0.13751, 0.03058, 0.12458, 0.02230, 0.02306, 0.10320)


@pytest.fixture(scope="module")
def exact() -> Encoder:
    return OpenVinoModel.load(MINILM, "f32").encoder(1)


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


@pytest.mark.parametrize(
    "value",
    [
        {"hidden_size": 385},
        {"hidden_size": 0},
        {"hidden_size": "many"},
        {"num_attention_heads": 7},
        {"num_attention_heads": 0},
        {"layer_norm_eps": "small"},
    ],
    ids=str,
)
def test_openvino_refuses_a_config_that_does_not_fit_its_weights(
    tmp_path: Path, value: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match="config"):
        OpenVinoModel.load(altered(tmp_path, "config.json", value)).encoder(1)


def test_openvino_refuses_texts_that_are_longer_than_its_positions(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"1024 tokens.* 512 positions"):
        OpenVinoModel.load(altered(tmp_path, "sentence_bert_config.json", {"max_seq_length": 1024}))


@pytest.mark.parametrize("special", [False, True])
def test_openvino_refuses_a_tokenizer_with_more_words_than_the_model(tmp_path: Path, special: bool) -> None:
    before = json.loads((resolve_model(MINILM) / "tokenizer.json").read_bytes())
    fields = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = {"id": 30522, "content": "[ORDER]", "special": special, **fields}
    folder = altered(tmp_path, "tokenizer.json", {"added_tokens": [*before["added_tokens"], added]})
    with pytest.raises(ConfigurationError, match=r"tokenizer\.json.* 30522.*model\.safetensors"):
        OpenVinoModel.load(folder)


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


@pytest.fixture
def own(tmp_path: Path) -> OpenVinoModel:
    """The packaged model from a file of its own, which was written a day ago."""
    folder = altered(tmp_path, "config.json", {})
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)
    os.utime(file, (time.time() - 86_400,) * 2)
    return OpenVinoModel.load(folder)


def zeroed(file: Path) -> bytes:
    """Another model in the same format."""
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    return content[:start] + bytes(len(content) - start)


@pytest.mark.parametrize("threads", [1, 2])
def test_openvino_gives_no_vectors_of_a_model_that_was_written_over_its_own(
    own: OpenVinoModel, tmp_path: Path, threads: int
) -> None:
    made = own.encoder(threads)
    made.encode(TEXTS, kind="document")
    file = tmp_path / "model.safetensors"
    file.write_bytes(zeroed(file))
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"model\.safetensors.*start again.*folder of its own"):
            made.encode(TEXTS, kind="document")
    made.close()


def test_openvino_gives_no_vectors_while_its_model_is_written_over(
    own: OpenVinoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, file = own.encoder(1), tmp_path / "model.safetensors"
    infer = OpenVinoTextEncoder._infer

    def written_over(self: OpenVinoTextEncoder, request: Any, rows: Any) -> Any:
        file.write_bytes(zeroed(file))
        return infer(self, request, rows)

    monkeypatch.setattr(OpenVinoTextEncoder, "_infer", written_over)
    with pytest.raises(ConfigurationError, match="start again"):
        made.encode(TEXTS[:1], kind="document")


def test_openvino_goes_on_where_its_model_is_replaced_by_renaming(own: OpenVinoModel, tmp_path: Path) -> None:
    made, file = own.encoder(1), tmp_path / "model.safetensors"
    before = made.encode(TEXTS, kind="document")
    (tmp_path / "new").write_bytes(zeroed(file))
    (tmp_path / "new").replace(file)
    assert np.array_equal(made.encode(TEXTS, kind="document"), before)


def test_openvino_works_in_smaller_pieces_in_the_background_where_others_go_first(
    openvino: OpenVinoModel,
) -> None:
    encoder, texts = openvino.encoder(2), ["nine words of a text that is not long"] * 256
    smallest = {}
    for disturbed in (False, True):
        pauses = Told(disturbed=disturbed)
        encoder.encode_with_pauses(texts, kind="document", pauses=pauses)
        smallest[disturbed] = min(map(len, pauses.told))
    encoder.close()
    assert smallest == {False: 32, True: 16}


def ticks_by_niceness() -> Counter[int]:
    """CPU that the threads of this process have spent so far; nothing where threads have no niceness."""
    ticks = Counter[int]()
    for task in Path("/proc/self/task").glob("*/stat"):
        fields = task.read_text().rpartition(")")[2].split()
        ticks[int(fields[16])] += int(fields[11]) + int(fields[12])
    return ticks


def test_openvino_computes_documents_in_threads_that_come_after_the_others_and_single_texts_in_others(
    openvino: OpenVinoModel,
) -> None:
    encoder, ours = openvino.encoder(2), os.getpriority(os.PRIO_PROCESS, 0)
    text = "nine words of a text that is not long " * 10
    before = ticks_by_niceness()
    encoder.encode([text] * 256, kind="document")
    between = ticks_by_niceness()
    for _ in range(60):
        encoder.encode([text], kind="document")
    after = ticks_by_niceness()
    encoder.close()
    assert os.getpriority(os.PRIO_PROCESS, 0) == ours
    if sys.platform == "linux":
        assert (between - before).most_common(1)[0][0] == min(19, ours + 10)
        assert (after - between).most_common(1)[0][0] == ours


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
