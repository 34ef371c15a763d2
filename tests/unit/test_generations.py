"""What a start runs, makes, drops and says."""

import dataclasses

import pytest

from core.errors import ConfigurationError
from core.settings import DocumentSettings, HashingEncoderSettings
from ingest.generations import (
    Frozen,
    Generation,
    decode_generation,
    dropped,
    encode_generation,
    plan_generations,
)

SECTION = DocumentSettings(table="shop.public.articles", title="{{ title }}", text="{{ body }}")
FROZEN = Frozen(SECTION, HashingEncoderSettings(), "encoder-1", 64)
LIVE = Generation("articles", 1, "live", FROZEN)


def test_a_new_document_is_made_and_filled() -> None:
    plan = plan_generations({"articles": FROZEN}, [], [], "shop")
    assert plan.run == plan.make == (LIVE,)
    assert "filled from the state topic" in plan.said[0]


def test_a_known_one_runs_without_a_word() -> None:
    plan = plan_generations({"articles": FROZEN}, [LIVE], ["shop-articles-g1"], "shop")
    assert (plan.run, plan.make, plan.drop, plan.said) == ((LIVE,), (), (), ())


def test_a_changed_file_waits_and_the_record_runs() -> None:
    edited = dataclasses.replace(
        FROZEN, document=SECTION.model_copy(update={"text": "{{ title }}"}), fingerprint="encoder-2"
    )
    plan = plan_generations({"articles": edited}, [LIVE], ["shop-articles-g1"], "shop")
    assert plan.run == (LIVE,)
    assert "text, encoder" in plan.said[0]
    assert "waits for a reindex" in plan.said[0]


def test_a_lost_index_is_built_anew_under_another_number() -> None:
    plan = plan_generations({"articles": FROZEN}, [LIVE], [], "shop")
    assert [g.number for g in plan.make] == [2]
    assert plan.drop == (LIVE,)


def test_a_document_no_longer_configured_loses_its_index() -> None:
    plan = plan_generations({}, [LIVE], ["shop-articles-g1"], "shop")
    assert plan.drop == (LIVE,)
    assert plan_generations({}, [dropped(LIVE)], [], "shop").drop == ()


def test_numbers_are_never_used_twice() -> None:
    plan = plan_generations({"articles": FROZEN}, [dropped(LIVE)], ["shop-articles-g2"], "shop")
    assert [g.number for g in plan.make] == [3]


def test_a_record_is_read_back_and_a_newer_one_refused() -> None:
    key, value = encode_generation(LIVE)
    assert key == b"articles/1"
    assert decode_generation(value) == LIVE
    assert decode_generation(encode_generation(dataclasses.replace(LIVE, number=2))[1]).number == 2
    with pytest.raises(ConfigurationError, match="format 9 is newer"):
        decode_generation(value.replace(b'"f":1', b'"f":9'))
