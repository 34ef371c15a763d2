"""What a change of the configuration means, what it costs, and what to do next."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigurationError
from core.settings import Cut, HashingEncoderSettings, OpenAIEncoder
from embed.cutter import Cutter
from embed.encoder import HashingEncoder
from embed.estimate import Estimate, Figure
from ingest.generations import Frozen, Generation, Registry, Report
from tailrace.cli.reindex_plan import next_step
from tailrace.reindex.changes import changed, meaning
from tailrace.reindex.counting import subject
from tailrace.reindex.planning import ReindexPlan, disk, plan_reindex
from tailrace.reindex.rates import Rehearsal, invented, rehearse, token_seconds
from tests.unit.reindex_plan_world import DOCUMENT, ENCODER, RECUT, body, corpus, frozen, seeded, settings_at


class TestPlanning:
    @pytest.mark.parametrize(
        ("update", "what", "name"),
        [
            ({}, "nothing", None),
            ({"where": None}, "metadata", "documents.articles.where"),
            ({"title": "{{ id }}"}, "metadata", "documents.articles.title"),
            ({"metadata": ["id"]}, "metadata", "documents.articles.metadata"),
            ({"url": "/{{ id }}"}, "metadata", "documents.articles.url"),
            ({"text": "{{ title }}"}, "recut", "documents.articles.text"),
            ({"cut": Cut(min_tokens=5, max_tokens=21)}, "recut", "documents.articles.cut.max_tokens"),
        ],
    )
    def test_what_a_change_means(self, update: dict[str, Any], what: str, name: str | None) -> None:
        new = frozen(DOCUMENT.model_copy(update=update))
        assert meaning(frozen(), new) == what
        assert [one.name for one in changed("articles", frozen(), new)] == ([name] if name else [])

    def test_another_encoder_is_named_with_its_settings_or_its_fingerprint(self) -> None:
        assert meaning(frozen(), frozen(dimensions=32)) == "reembed"
        (one,) = changed("articles", frozen(), frozen(dimensions=32))
        assert (one.name, one.old, one.new) == ("encoder.dimensions", 16, 32)
        (one,) = changed("articles", frozen(), replace(frozen(), fingerprint="other"))
        assert one.name == "encoder (its model)"
        threads = replace(frozen(), encoder=HashingEncoderSettings(dimensions=99))
        assert changed("articles", frozen(), threads) == []  # its vectors are the same

    def test_an_endpoint_that_takes_other_lengths_cuts_anew(self) -> None:
        endpoint = OpenAIEncoder(base_url="http://e.example/v1", model="m", dimensions=16, max_tokens=90)

        def asked(most: int = 30, **changes: Any) -> Frozen:
            section = DOCUMENT.model_copy(update={"cut": Cut(min_tokens=5, max_tokens=most)})
            return replace(frozen(section), encoder=endpoint.model_copy(update=changes))

        reached = asked(base_url="http://other.example/v1", timeout_seconds=9.0, max_tokens=60)
        assert (meaning(asked(), reached), changed("articles", asked(), reached)) == ("nothing", [])
        for name, value in (("characters_per_token", 2.0), ("max_tokens", 20)):
            new = asked(**{name: value})  # type: ignore[arg-type]  # never `most`
            assert meaning(asked(), new) == "recut"
            (one,) = changed("articles", asked(), new)
            assert (one.name, one.new) == (f"encoder.{name}", value)
        assert meaning(asked(most=200), asked(most=200, max_tokens=60)) == "recut"
        assert meaning(asked(), asked(most=20, max_tokens=60)) == "recut"

    def test_vectors_are_taken_from_every_running_generation_of_the_same_encoder(self) -> None:
        old = Generation("articles", 1, "running", frozen(dimensions=8))
        same = Generation("articles", 2, "running", frozen(RECUT))
        gone = Generation("articles", 3, "dropped", frozen())
        made = subject(Registry((old, same, gone)), old, frozen())
        assert made.donors == (RECUT,)
        assert made.live == DOCUMENT

    def test_disk_of_both_generations(self) -> None:
        f = Figure
        found = Estimate(f(10), f(100), f(0), f(0), f(0), f(0), f(0), f(5000), f(10))
        made = disk(found, frozen(dimensions=8), frozen(), None, Rehearsal(0.0, 100.0))
        assert made is not None
        assert (made.new, made.live) == (100 * (100 + 64) + 10_000, 100 * (100 + 32) + 10_000)
        report = Report("articles", 1, "w", 1, documents=10, chunks=50, bytes=20_000)
        made = disk(found, frozen(), frozen(), report, Rehearsal(0.0, 100.0))
        assert made is not None
        assert (made.live, made.new, made.measured) == (20_000, 40_000, True)

    def test_the_encoder_is_timed_in_small_batches_and_an_endpoint_never_sees_rows(self) -> None:
        calls: list[int] = []

        class Counting(HashingEncoder):
            def encode(self, texts: Sequence[str], *, kind: Any) -> Any:
                calls.append(len(texts))
                return super().encode(texts, kind=kind)

        texts = [body(seeded(n), 2) for n in range(50)]
        rate = token_seconds(Counting(16), texts, limit=0.01)
        assert rate is not None
        assert 0 < rate < 0.001
        assert max(calls) <= 8
        assert token_seconds(ENCODER, []) is None
        made = invented(texts)
        assert len(made) <= 16
        assert set(" ".join(made).split()) == {"word"}

    def test_a_rehearsal_leaves_nothing_behind(self, tmp_path: Path) -> None:
        documents = list(corpus(60).live())
        cutter = Cutter(DOCUMENT.cut, ENCODER.count, 254)
        edge = settings_at(tmp_path, index={"kind": "edge", "path": str(tmp_path / "index")})
        found = rehearse(edge, cutter, ENCODER, documents)
        assert 0 < found.chunk_seconds < 0.1
        assert found.overhead_bytes > 100
        assert list(tmp_path.iterdir()) == []

    def test_refusals_name_what_to_do(self, tmp_path: Path) -> None:
        embedded = settings_at(tmp_path, log={"kind": "embedded"})
        with pytest.raises(ConfigurationError, match=r"log\.kind is embedded.*needs a broker"):
            asyncio.run(plan_reindex(embedded, "articles"))
        with pytest.raises(ConfigurationError, match="did you mean articles"):
            asyncio.run(plan_reindex(settings_at(tmp_path), "artciles"))

    def test_each_plan_ends_with_what_to_do(self) -> None:
        assert "the worker makes it" in next_step(ReindexPlan("a", None, None, "first", ()))
        assert "nothing to do" in next_step(ReindexPlan("a", 1, None, "nothing", ()))
        assert "reindex status" in next_step(ReindexPlan("a", 1, 2, "recut", ()))
        assert "reindex start a" in next_step(ReindexPlan("a", 1, None, "recut", ()))
