"""What a generation is encoded with: the record decides vectors and cut, the file how it is reached."""

from collections.abc import Mapping
from typing import Any

import pytest

from core.errors import ConfigurationError
from core.settings import DocumentSettings, EncoderSettings, OpenAIEncoder, OpenVinoEncoder
from embed.encoder import HashingEncoder
from ingest.generations import Frozen, Generation
from tailrace import encoders
from tailrace.adapters import Encoders
from tailrace.encoders import EncoderBook

SECTION = DocumentSettings(table="shop.public.articles", text="{{ body }}")
OLD = OpenAIEncoder(
    base_url="http://old.example/v1", model="m", dimensions=8, api_key="${env:OLD_KEY}", max_tokens=100
)
MOVED = OpenAIEncoder(
    base_url="http://new.example/v1",
    model="m",
    dimensions=8,
    api_key="${env:NEW_KEY}",
    max_tokens=900,
    characters_per_token=2.0,
    timeout_seconds=7.0,
)


def generation(encoder: EncoderSettings, fingerprint: str) -> Generation:
    return Generation("articles", 2, "running", Frozen(SECTION, encoder, fingerprint, 8))


class Machine:
    """Which models stand here, by name of the folder; and what was loaded."""

    def __init__(self, **models: str) -> None:
        self.models: Mapping[str, str] = models
        self.loaded: list[EncoderSettings] = []

    def load(self, settings: Any) -> Encoders:
        if isinstance(settings, OpenVinoEncoder) and settings.model not in self.models:
            raise ConfigurationError(f"encoder.model: {settings.model} is no folder here")
        self.loaded.append(settings)
        made = HashingEncoder(8)
        made.fingerprint = (
            self.models[settings.model]
            if isinstance(settings, OpenVinoEncoder)
            else f"{settings.kind}-{getattr(settings, 'model', '')}"
        )
        return Encoders(made, made)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(encoders, "load_encoders", made.load)
    return made


def test_an_endpoint_that_moved_is_reached_where_the_file_says(machine: Machine) -> None:
    EncoderBook("shop", MOVED).of(generation(OLD, "openai-m"))
    (used,) = machine.loaded
    assert isinstance(used, OpenAIEncoder)
    assert (used.base_url, used.api_key, used.timeout_seconds) == (
        "http://new.example/v1",
        "${env:NEW_KEY}",
        7.0,
    )
    assert (used.max_tokens, used.characters_per_token) == (100, 3.0), "half of it would be cut otherwise"


@pytest.mark.parametrize("other", [{"model": "n"}, {"dimensions": 16}])
def test_another_model_s_endpoint_is_not_asked_for_it(machine: Machine, other: dict[str, Any]) -> None:
    EncoderBook("shop", MOVED.model_copy(update=other)).of(generation(OLD, "openai-m"))
    assert machine.loaded == [OLD]


def test_a_key_that_was_renamed_is_read_by_its_new_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OLD_KEY", raising=False)
    monkeypatch.setenv("NEW_KEY", "secret")
    one = generation(OLD, "openai-m-8")
    assert EncoderBook("shop", MOVED).of(one).document.fingerprint == "openai-m-8"
    with pytest.raises(ConfigurationError, match=r"articles: generation 2 .*OLD_KEY is not set"):
        EncoderBook("shop", MOVED.model_copy(update={"model": "n"})).of(one)


def test_a_model_whose_folder_was_moved_is_found_where_the_file_says(machine: Machine) -> None:
    machine.models = {"/new": "openvino-a"}
    book = EncoderBook("shop", OpenVinoEncoder(model="/new", threads=3))
    assert (
        book.of(generation(OpenVinoEncoder(model="/old"), "openvino-a")).document.fingerprint == "openvino-a"
    )
    assert machine.loaded == [OpenVinoEncoder(model="/new", threads=3)]


def test_a_model_whose_folder_holds_another_one_by_now_is_found_where_the_file_says(machine: Machine) -> None:
    machine.models = {"/old": "openvino-b", "/new": "openvino-a"}
    book = EncoderBook("shop", OpenVinoEncoder(model="/new"))
    assert (
        book.of(generation(OpenVinoEncoder(model="/old"), "openvino-a")).document.fingerprint == "openvino-a"
    )


def test_a_file_that_names_another_model_loads_none_of_it(machine: Machine) -> None:
    """It waits for its reindex, and has the memory of one model till then."""
    machine.models = {"/old": "openvino-a", "/next": "openvino-b"}
    EncoderBook("shop", OpenVinoEncoder(model="/next", threads=3)).of(
        generation(OpenVinoEncoder(model="/old", threads=1), "openvino-a")
    )
    assert machine.loaded == [OpenVinoEncoder(model="/old", threads=3)], "with the threads of this machine"


def test_a_model_that_is_nowhere_is_told_with_what_to_do(machine: Machine) -> None:
    machine.models = {"/next": "openvino-b"}
    book = EncoderBook("shop", OpenVinoEncoder(model="/next"))
    with pytest.raises(ConfigurationError, match=r"generation 2 .*/old is no folder here"):
        book.of(generation(OpenVinoEncoder(model="/old"), "openvino-a"))
    machine.models = {"/old": "openvino-b"}
    with pytest.raises(ConfigurationError, match="was made with encoder openvino-a"):
        EncoderBook("shop", OpenVinoEncoder(model="/old")).of(
            generation(OpenVinoEncoder(model="/old"), "openvino-a")
        )
