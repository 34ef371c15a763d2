"""What a wish becomes, and what it is refused for."""

from dataclasses import replace

import pytest

from core.errors import ConfigurationError, TransientError
from core.settings import DocumentSettings, HashingEncoderSettings, Reindex
from ingest.generations import Aliased, Frozen, Generation, Pace, Pointer, Record, Report, registry_of
from tailrace.reindex import decide
from tailrace.reindex.decide import PaceWish

NOW = 1_780_000_000_000
TEXT = DocumentSettings(table="shop.public.articles", text="{{ body }}")
OTHER = TEXT.model_copy(update={"text": "{{ title }} {{ body }}"})


def frozen(section: DocumentSettings = TEXT, dimensions: int = 64) -> Frozen:
    encoder = HashingEncoderSettings(dimensions=dimensions)
    return Frozen(section, encoder, f"hashing-{dimensions}", dimensions)


def generation(number: int, made: Frozen | None = None, **more: object) -> Generation:
    return replace(
        Generation("articles", number, "running", made or frozen(), NOW - 1000),
        **more,  # type: ignore[arg-type]  # by name
    )


LIVE = Pointer("articles", 1)


def started(
    *records: Record, made: Frozen, pace: PaceWish | None = None, force: bool = False, displace: bool = False
) -> decide.Start:
    return decide.start(
        registry_of([LIVE, *records]),
        "articles",
        made,
        "shop",
        NOW,
        pace=pace or PaceWish(),
        force=force,
        displace=displace,
    )


def test_a_change_becomes_a_generation_of_the_next_number() -> None:
    step = started(generation(1), made=frozen(OTHER, 32))
    assert step.records == (Generation("articles", 2, "running", frozen(OTHER, 32), NOW, Pace()),)
    assert step.said == "generation 2 of articles begins: text, encoder changed"


def test_a_number_is_never_used_again() -> None:
    gone = generation(7, status="dropped")
    assert started(generation(1), gone, made=frozen(OTHER)).generation.number == 8


def test_nothing_changed_is_refused_unless_forced() -> None:
    with pytest.raises(ConfigurationError, match=r"nothing changed: generation 1.* --force builds it anew"):
        started(generation(1), made=frozen())
    assert started(generation(1), made=frozen(), force=True).generation.number == 2


def test_the_same_candidate_again_only_takes_the_pace() -> None:
    records = generation(1), generation(2, frozen(OTHER))
    assert started(*records, made=frozen(OTHER)).records == ()
    assert started(*records, made=frozen(OTHER), force=True).records == ()
    step = started(*records, made=frozen(OTHER), pace=PaceWish(50.0))
    assert step.records == (replace(records[1], pace=Pace(50.0, None)),)
    assert started(generation(1), step.generation, made=frozen(OTHER), pace=PaceWish(50.0)).records == ()
    shared = started(generation(1), step.generation, made=frozen(OTHER), pace=PaceWish(share=0.5))
    assert shared.generation.pace == Pace(50.0, 0.5), "one limit leaves the other"
    lifted = started(generation(1), shared.generation, made=frozen(OTHER), pace=PaceWish(0))
    assert lifted.generation.pace == Pace(None, 0.5)


def test_another_candidate_in_the_way_is_named_and_only_displaced_on_request() -> None:
    records = generation(1), generation(2, frozen(OTHER))
    with pytest.raises(
        ConfigurationError, match=r"generation 2 \(text changed\).*drop articles 2.*--replace"
    ):
        started(*records, made=frozen(OTHER, 32))
    step = started(*records, made=frozen(OTHER, 32), displace=True)
    assert step.records == (replace(records[1], status="dropped"), step.generation)
    assert step.generation.number == 3
    again = started(*records, step.generation, made=frozen(OTHER, 32), displace=True)
    assert again.records == step.records[:1], "it was killed in between"


def test_going_back_to_what_answered_before_is_a_rollback_not_a_rebuild() -> None:
    records = generation(1), generation(2, frozen(OTHER)), Pointer("articles", 2, 1)
    with pytest.raises(ConfigurationError, match="reindex rollback articles"):
        started(*records, made=frozen())
    assert started(*records, made=frozen(), force=True).generation.number == 3


def test_what_answered_before_takes_another_pace_too() -> None:
    """It must keep pace with the log, or there is no way back to it."""
    slow = generation(2, frozen(OTHER), pace=Pace(5.0))
    records = generation(3, frozen(OTHER, 32)), slow, Pointer("articles", 3, 2)
    step = started(*records, made=frozen(OTHER), pace=PaceWish(0))
    assert step.records == (replace(slow, pace=Pace()),)
    assert step.said == "generation 2, which answered before, follows the log; its pace was changed"


def test_a_promotion_that_waits_for_its_generation_is_not_called_done() -> None:
    records = generation(1), generation(2, frozen(OTHER)), Aliased("articles", 1)
    with pytest.raises(ConfigurationError, match=r"2 of articles is to answer already.*generation 1 does"):
        decide.promotion(registry_of([*records, Pointer("articles", 2, 1)]), "articles", NOW)


def test_promotions_and_rollbacks_go_to_and_fro() -> None:
    one, two = generation(1), generation(2, frozen(OTHER))
    forth = decide.promotion(registry_of([one, two, LIVE]), "articles", NOW)
    assert forth == Pointer("articles", 2, 1, NOW)
    back = decide.rollback(registry_of([one, two, forth]), "articles", NOW)
    assert back == Pointer("articles", 1, 2, NOW)
    assert decide.promotion(registry_of([one, two, back]), "articles", NOW) == forth
    with pytest.raises(ConfigurationError, match="nothing to roll back to"):
        decide.rollback(registry_of([one, two, back]), "articles", NOW)
    with pytest.raises(ConfigurationError, match="nothing to promote"):
        decide.promotion(registry_of([one, two, forth]), "articles", NOW)


def test_what_was_compared_is_promoted_or_nothing() -> None:
    one, two, three = generation(1), generation(2, frozen(OTHER)), generation(3)
    before = registry_of([one, two, LIVE])
    pointer = decide.promotion(before, "articles", NOW)
    assert decide.compared(before, before, pointer, NOW + 5) == replace(pointer, at=NOW + 5)
    newer = registry_of([one, two, three, LIVE])
    assert decide.compared(before, newer, pointer, NOW).live == 2
    displaced = registry_of([one, replace(two, status="dropped"), three, LIVE])
    changed = registry_of([one, replace(two, frozen=frozen()), LIVE])
    for after in (displaced, changed):
        with pytest.raises(TransientError, match="generation 2 of articles, which was compared"):
            decide.compared(before, after, pointer, NOW)
    with pytest.raises(TransientError, match="was compared with generation 1"):
        decide.compared(before, registry_of([one, two, three, Pointer("articles", 3)]), pointer, NOW)


def test_a_rollback_goes_to_what_answered_before_not_to_the_nearest_number() -> None:
    three = [generation(1), generation(2), generation(3)]
    assert decide.rollback(registry_of([*three, Pointer("articles", 3, 1)]), "articles", NOW).live == 1
    gone = [replace(three[0], status="dropped"), *three[1:]]
    assert decide.rollback(registry_of([*gone, Pointer("articles", 3, 1)]), "articles", NOW).live == 2


def test_what_answers_is_never_dropped() -> None:
    one, two = generation(1), generation(2)
    moved = Pointer("articles", 2, 1)
    with pytest.raises(ConfigurationError, match="generation 2 answers"):
        decide.drop(registry_of([one, two, moved]), "articles", 2)
    with pytest.raises(ConfigurationError, match="generation 1 answers"):  # the alias has not followed yet
        decide.drop(registry_of([one, two, moved, Aliased("articles", 1)]), "articles", 1)
    done = registry_of([one, two, moved, Aliased("articles", 2)])
    assert decide.drop(done, "articles", 1) == replace(one, status="dropped")
    assert decide.drop(registry_of([replace(one, status="dropped"), two]), "articles", 1) is None
    with pytest.raises(ConfigurationError, match="no generation 9: recorded are 1, 2"):
        decide.drop(done, "articles", 9)


def test_a_document_that_no_worker_has_made_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"'nothing' has no generation.*recorded are articles"):
        decide.answering(registry_of([generation(1)]), "nothing")


def test_the_gate_says_each_bar_that_was_missed() -> None:
    settings = Reindex(min_overlap=0.6, min_recall=0.9)
    assert decide.gate(settings, missing=0, different=0, overlap=0.6, recall=0.9) == []
    assert decide.gate(settings, missing=3, different=1, overlap=0.5, recall=0.89) == [
        "3 documents are missing (max_missing: 0)",
        "1 documents are of other versions (max_different: 0)",
        "overlap is 0.500 (min_overlap: 0.6)",
        "recall is 0.890 (min_recall: 0.9)",
    ]
    assert decide.gate(Reindex(max_missing=3), missing=3, different=0, overlap=0.1, recall=None) == []
    extra = {"missing": 0, "different": 0, "extra": 1}
    assert decide.gate(Reindex(), **extra, overlap=None, recall=None) == []
    assert decide.gate(Reindex(max_extra=1), **extra, overlap=None, recall=None) == []
    assert decide.gate(Reindex(max_extra=0), **extra, overlap=None, recall=None) == [
        "1 documents answer only in the new one (max_extra: 0)"
    ]
    [why] = decide.gate(Reindex(min_recall=0.5), missing=0, different=0, overlap=1.0, recall=None)
    assert "no saved question in queries measures it" in why


def test_neglected_generations_are_named() -> None:
    one = generation(1)
    candidate = generation(2, started_at=NOW)
    later = NOW + 20 * 60_000
    registry = registry_of([one, candidate, LIVE, Report("articles", 1, "w", later)])
    assert decide.neglected(registry, one, later) is None
    assert decide.neglected(registry, candidate, NOW + 1000) is None
    said = decide.neglected(registry, candidate, later)
    assert said is not None
    assert said.startswith("abandoned? no worker has reported on it yet for 20 min: start a worker, or")
    waits = registry_of([candidate, Report("articles", 2, "w", later, waiting="the endpoint is away")])
    assert decide.neglected(waits, candidate, later) == "waits: the endpoint is away"
    assert decide.neglected(waits, candidate, later + 3_600_000) != "waits: the endpoint is away"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (90000, "1 d 1 h")],
)
def test_durations_for_people(seconds: float, said: str) -> None:
    assert decide.spoken(seconds) == said
