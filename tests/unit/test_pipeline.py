import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any
from unittest.mock import patch

import pytest

from core.clock import FixedClock
from core.errors import ConfigurationError, LimitError, PermanentError, TransientError
from core.settings import Cut
from embed.cutter import Cutter
from embed.encoder import HashingEncoder, Kind
from embed.index import Counts
from embed.model import Vector
from embed.pipeline import EDGE_PART, KNOWN_PART, PART, Pipeline
from embed.plan import desired
from embed.store import VectorStore
from embed.vectors import TOGETHER
from tests.bench import edits, scenario
from tests.unit.pipeline_world import THREE, World, document, no_tokens, removal


@pytest.fixture
def world() -> World:
    return World()


def test_a_document_is_put_and_found(world: World) -> None:
    applied = world.pipeline.apply([document(1, 5, THREE)])
    assert (applied.written, applied.embedded, applied.reused, applied.failed) == (1, 3, 0, [])
    assert world.found() == set(THREE.split("\n\n"))
    [manifest] = world.collection.scroll(None, 10).manifests
    assert (manifest.version, manifest.title, manifest.fingerprint) == (5, "T", "hashing-16")
    assert manifest.chunks == tuple(chunk.id for chunk in desired(document(1, 5, ""), THREE.split("\n\n")))
    assert world.points == [
        "after_chunk",
        "after_embed",
        "before_upsert",
        "after_upsert",
        "before_delete_extra",
    ]


def test_the_seven_steps_cost_what_they_must() -> None:
    steps = scenario.Scenario(documents=20, paragraphs=12, touched=4).run()
    assert [step.embedded for step in steps] == [240, 0, 4, 4, 0, 0, 0, 0, 0, 0]
    assert all(step.ok for step in steps), steps
    assert steps[0].writes == 240 + 20
    assert steps[2].writes == 4 * 3  # a chunk, a manifest, a drop


def test_an_edit_of_a_long_document_costs_few_embeddings() -> None:
    figures = edits.measure(edits.cautious_words, documents=12, rounds=3)
    assert figures["ok"], figures


def test_the_newest_of_a_batch_counts(world: World) -> None:
    applied = world.pipeline.apply(
        [document(1, 5, "Old."), document(1, 7, "New."), document(1, 6, "Older."), document(2, 1, "Two.")]
    )
    assert (applied.superseded, applied.written) == (2, 2)
    assert world.texts() == ["New.", "Two."]


def test_an_older_change_is_superseded_without_work(world: World) -> None:
    world.pipeline.apply([removal(1, 9)])
    calls = len(world.encoder.calls)
    applied = world.pipeline.apply([document(1, 8, THREE)])
    assert (applied.superseded, applied.written, world.texts()) == (1, 0, [])
    assert len(world.encoder.calls) == calls


def test_a_removal_leaves_the_fence_only(world: World) -> None:
    world.pipeline.apply([document(1, 5, THREE)])
    applied = world.pipeline.apply([removal(1, 6)])
    assert (applied.removed, world.texts(), world.collection.counts()) == (1, [], Counts(0, 0))
    assert [one.version for one in world.collection.scroll(None, 10, deleted=True).manifests] == [6]
    assert world.pipeline.apply([removal(1, 6)]).unchanged == 1


def test_a_text_that_says_nothing_is_a_document_without_chunks(world: World) -> None:
    assert world.pipeline.apply([document(1, 5, " \u200b ")]).written == 1
    assert world.collection.counts() == Counts(1, 0)


def test_a_tenants_change_moves_the_document_without_embedding(world: World) -> None:
    world.pipeline.apply([document(1, 5, THREE, tenant="a")])
    applied = world.pipeline.apply([document(1, 6, THREE, tenant="b")])
    assert (applied.embedded, applied.reused) == (0, 3)
    assert (world.found("a"), len(world.found("b"))) == (set(), 3)


def test_equal_texts_of_one_batch_are_embedded_once(world: World) -> None:
    applied = world.pipeline.apply([document(n, 1, "Same words here.\n\nSame words here.") for n in range(5)])
    assert (applied.embedded, applied.reused, len(world.texts())) == (1, 9, 10)


def test_a_documents_own_vectors_serve_where_the_store_is_empty(world: World) -> None:
    world.pipeline.apply([document(1, 5, THREE)])
    world.store = VectorStore(None, 1 << 20, FixedClock())
    applied = world.another().apply([document(1, 6, THREE, metadata={"lang": "de"})])
    assert (applied.embedded, applied.reused, len(world.texts())) == (0, 3, 3)


@pytest.mark.parametrize("word", ["refuse", "nan", "zero", "fewer", "narrow"])
def test_a_text_that_cannot_be_embedded_fails_its_document_only(world: World, word: str) -> None:
    world.pipeline.apply([document(3, 1, "Was here.")])
    changes = [document(n, 2, f"Text {n}. " + (f"And {word}." if n == 3 else "")) for n in range(9)]
    applied = world.pipeline.apply(changes)
    assert [(change.key, isinstance(error, PermanentError)) for change, error in applied.failed] == [
        ("3", True)
    ]
    assert applied.written == 8
    assert "Was here." in world.found()  # the old version stays
    assert len(world.found()) == 9
    again = world.pipeline.apply(changes)
    assert (again.unchanged, len(again.failed), again.embedded) == (8, 1, 0)


def test_a_text_past_the_limit_fails_its_document_only(world: World) -> None:
    applied = world.pipeline.apply([document(1, 1, "x" * 10_000_000), document(2, 1, "Fine.")])
    assert [type(error) for _, error in applied.failed] == [LimitError]
    assert world.texts() == ["Fine."]


def test_an_outage_fails_all_and_repeating_completes(world: World) -> None:
    world.pipeline.apply([document(1, 1, "Was here.")])
    with pytest.raises(TransientError):
        world.pipeline.apply([document(1, 2, "Come later."), document(2, 1, "Fine.")])
    assert world.found() == {"Was here."}
    applied = world.pipeline.apply([document(1, 3, "Now."), document(2, 1, "Fine.")])
    assert (applied.written, world.texts()) == (2, ["Fine.", "Now."])


def test_the_encoder_gets_texts_in_bounded_calls(world: World) -> None:
    long = "\n\n".join(f"Number {n} is.\n\nAnd {n} again." for n in range(300))
    world.pipeline.apply([document(1, 1, long)])
    assert sum(world.encoder.calls) == 600
    assert max(world.encoder.calls) == 256


def test_a_batch_is_embedded_and_written_in_parts(world: World) -> None:
    changes = [document(n, 1, f"Number {n} is.\n\nAnd {n} again.") for n in range(PART)]
    assert world.pipeline.apply(changes).embedded == 2 * PART
    assert world.encoder.calls == [EDGE_PART, PART, PART - EDGE_PART - 2, 2]
    assert world.points.count("after_upsert") == 4


def test_what_needs_no_encoder_is_written_in_one_part(world: World) -> None:
    changes = [document(n, 1, f"Number {n} is.\n\nAnd {n} again.") for n in range(PART)]
    world.pipeline.apply(changes)
    again = [replace(one, version=2, metadata={"lang": "en"}) for one in changes]
    world.pipeline.apply(again[: PART // 2])  # learns that nothing is to be paid for
    parts = world.points.count("after_upsert")
    applied = world.pipeline.apply([replace(one, version=3, metadata={"lang": "de"}) for one in changes])
    assert (applied.embedded, applied.reused) == (0, 2 * PART)
    assert world.points.count("after_upsert") == parts + 1


def test_a_part_that_needs_no_encoder_is_bounded_too(world: World) -> None:
    changes = [document(n, 1, f"Number {n} is.\n\nAnd {n} again.") for n in range(KNOWN_PART)]
    world.pipeline.apply(changes)
    world.pipeline.apply([replace(one, version=2, metadata={"lang": "en"}) for one in changes[:4]])
    parts = world.points.count("after_upsert")
    world.pipeline.apply([replace(one, version=3, metadata={"lang": "de"}) for one in changes])
    assert world.points.count("after_upsert") == parts + 2


def test_what_is_paid_for_is_not_kept_in_memory_until_a_long_row_is_written(world: World) -> None:
    long = "\n\n".join(f"Word {n} and more." for n in range(3 * TOGETHER))
    stored: list[int] = []

    def look(name: str) -> None:
        if name == "before_upsert":
            stored.append(len(world.store.get(world.encoder.fingerprint, world.encoder.texts)))

    world.another(look).apply([document(1, 1, long)])
    assert stored[0] >= 2 * TOGETHER


def test_removals_tell_nothing_of_what_the_encoder_has_to_do(world: World) -> None:
    world.pipeline.apply([document(n, 1, f"Number {n} is.") for n in range(4)])
    assert world.pipeline.apply([removal(n, 2) for n in range(4)]).removed == 4
    parts = world.points.count("after_upsert")
    changes = [document(n, 3, f"New {n} is.\n\nAnd {n} again.") for n in range(PART)]
    assert world.pipeline.apply(changes).embedded == 2 * PART
    assert world.points.count("after_upsert") == parts + 4


def test_the_next_part_is_cut_while_the_encoder_works(world: World) -> None:
    cut_next, begun = threading.Event(), threading.Event()
    counted, encoded = world.encoder.count, world.encoder.encode

    def count(texts: Sequence[str]) -> list[int]:
        if f"Number {EDGE_PART} is." in texts[0]:
            assert begun.wait(10), "the encoder is at work"
            cut_next.set()
        return counted(texts)

    def encode(texts: Sequence[str], *, kind: Kind) -> Vector:
        begun.set()
        assert cut_next.wait(10), "the next part is cut meanwhile"
        return encoded(texts, kind=kind)

    changes = [document(n, 1, f"Number {n} is.\n\nAnd {n} again.") for n in range(PART)]
    with patch.object(world.encoder, "count", count), patch.object(world.encoder, "encode", encode):
        assert world.another().apply(changes).written == PART


def test_equal_texts_of_two_parts_are_paid_once(world: World) -> None:
    changes = [document(n, 1, f"Number {n} is.\n\nThe same.") for n in range(PART)]
    applied = world.pipeline.apply(changes)
    assert (applied.embedded, applied.reused) == (PART + 1, PART - 1)


def test_an_outage_in_a_later_part_ends_with_nothing_running(world: World) -> None:
    changes = [document(n, 1, f"Number {n} is.\n\nAnd {n} again.") for n in range(2 * PART)]
    changes[-1] = document(2 * PART, 1, "Come later.")
    with pytest.raises(TransientError):
        world.pipeline.apply(changes)
    assert [one.name for one in threading.enumerate() if one.name.startswith("encode")] == []
    assert world.collection.counts().documents >= PART // 2, "what came before it is there"
    again = world.pipeline.apply(changes[:-1])
    assert (again.embedded, again.failed) == (0, []), "the parts before are paid for, and kept"


def test_rewrite_restores_what_was_lost_behind_its_back(world: World) -> None:
    world.pipeline.apply([document(1, 5, THREE)])
    ids = [one.id for one in world.collection.scroll_chunks(None, 10)[0]]
    world.collection._chunks.pop(ids[0])  # type: ignore[attr-defined]  # the twin's own
    assert world.pipeline.apply([document(1, 5, THREE)]).unchanged == 1
    applied = world.pipeline.apply([document(1, 5, THREE)], rewrite=True)
    assert (applied.written, applied.embedded, applied.reused, len(world.texts())) == (1, 0, 3, 3)


def test_a_truncate_removes_what_is_older(world: World) -> None:
    world.pipeline.apply([document(n, n, f"Text {n}.") for n in range(2500)])
    assert world.pipeline.truncate(2400, "0/9", 77) == 2400
    assert world.collection.counts() == Counts(100, 100)
    [grave] = world.collection.manifests(
        [one.id for one in islice(world.collection.scroll(None, 5, deleted=True).manifests, 1)]
    ).values()
    assert (grave.version, grave.position, grave.committed_at, grave.chunks) == (2400, "0/9", 77, ())
    assert world.pipeline.truncate(2400, "0/9", 77) == 0
    assert world.pipeline.apply([document(3, 3, "Text 3.")]).superseded == 1


def test_a_truncate_leaves_a_row_that_comes_to_its_own_version_meanwhile(world: World) -> None:
    """The first row of a snapshot that begins anew; another worker has its partition."""
    world.pipeline.apply([document(1, 1, THREE)])
    theirs = [document(1, 10, "Theirs is here.")]

    def overtake(name: str) -> None:
        if name == "before_upsert" and theirs:
            world.pipeline.apply([theirs.pop()])

    assert world.another(overtake).truncate(10, "0/9", 77) == 0
    assert (world.texts(), world.collection.counts()) == (["Theirs is here."], Counts(1, 1))


@pytest.mark.parametrize(("theirs", "outcome"), [(4, (1, 0)), (6, (0, 1))])
def test_who_is_overtaken_plans_again_in_the_same_call(
    world: World, theirs: int, outcome: tuple[int, int]
) -> None:
    world.pipeline.apply([document(1, 1, THREE)])
    rivals = [document(1, theirs, "Theirs is here.")]

    def overtake(name: str) -> None:
        if name == "after_upsert" and rivals:
            world.pipeline.apply([rivals.pop()])

    applied = world.another(overtake).apply([document(1, 5, "Mine is here.\n\nFour five six.")])
    assert (applied.written, applied.superseded) == outcome
    newest = ["Four five six.", "Mine is here."] if theirs < 5 else ["Theirs is here."]
    assert world.texts() == newest


def test_another_dimension_is_a_configuration_error(world: World) -> None:
    world.encoder = HashingEncoder(8)  # type: ignore[assignment]  # only its dimension counts
    with pytest.raises(ConfigurationError, match="16 dimensions"):
        world.another()


def test_endless_contention_is_transient(world: World) -> None:
    class Contended:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.collection, name)

        def swap_manifests(self, swaps: Sequence[Any]) -> set[Any]:
            return set()

    made: Any = Contended()
    cutter = Cutter(Cut(min_tokens=1, max_tokens=4), world.encoder.count, 254)
    pipeline = Pipeline("articles", made, world.encoder, world.store, cutter, no_tokens)
    with pytest.raises(TransientError, match="another worker"):
        pipeline.apply([document(1, 1, "One.")])
