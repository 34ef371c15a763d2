"""What a start runs, makes, points at, drops and says; and what a worker does next."""

import dataclasses
from collections.abc import Collection, Mapping

from core.settings import DocumentSettings, HashingEncoderSettings
from ingest.generation_plan import (
    Action,
    Discard,
    Halt,
    Point,
    Run,
    next_number,
    reconcile,
)
from ingest.generations import Frozen, Generation, Pointer, Record, Registry, dropped, lost, registry_of
from ingest.start_plan import Found, GenerationPlan, plan_generations

SECTION = DocumentSettings(table="shop.public.articles", title="{{ title }}", text="{{ body }}")
FROZEN = Frozen(SECTION, HashingEncoderSettings(), "encoder-1", 64)
EDITED = dataclasses.replace(
    FROZEN, document=SECTION.model_copy(update={"text": "{{ title }}"}), fingerprint="encoder-2"
)
ONE = Generation("articles", 1, "running", FROZEN)
TWO = Generation("articles", 2, "running", EDITED)
NOW = 99


def planned(
    *records: Record,
    stored: Collection[str] = ("shop-articles-g1", "shop-articles-g2"),
    committed: Collection[int] = (1, 2),
    configured: Frozen | None = FROZEN,
    covered: Mapping[int, int] | None = None,
) -> GenerationPlan:
    found = Found(
        registry_of(records),
        stored,
        {("articles", number) for number in committed},
        "shop",
        NOW,
        {("articles", number): count for number, count in (covered or {}).items()},
    )
    return plan_generations({} if configured is None else {"articles": configured}, found)


def numbers(found: Collection[Generation]) -> list[int]:
    return [one.number for one in found]


def test_a_new_document_is_made_pointed_at_and_filled() -> None:
    plan = planned(stored=())
    assert plan.run == plan.make == [Generation("articles", 1, "running", FROZEN, NOW)]
    assert plan.point == [Pointer("articles", 1, None, NOW)]
    assert "filled from the state topic" in plan.said[0]


def test_a_known_one_runs_without_a_word() -> None:
    plan = planned(ONE)
    assert plan == GenerationPlan([ONE])


def test_a_changed_file_waits_and_the_record_runs() -> None:
    plan = planned(ONE, configured=EDITED)
    assert (plan.run, plan.make) == ([ONE], [])
    assert "text, encoder" in plan.said[0]
    assert "waits for a reindex" in plan.said[0]


def test_a_candidate_that_is_the_file_s_goes_on_and_is_named() -> None:
    plan = planned(ONE, TWO, configured=EDITED)
    assert (numbers(plan.run), plan.make, plan.lose) == ([1, 2], [], [])
    assert "promote articles" in plan.said[0]


def test_a_lost_index_is_built_anew_under_another_number() -> None:
    plan = planned(ONE, stored=())
    assert (numbers(plan.make), plan.point) == ([2], [Pointer("articles", 2, 1, NOW)])
    assert (plan.lose, plan.drop) == ([ONE], [])


def test_a_lost_index_is_answered_from_another_that_stands_and_is_the_file_s() -> None:
    same = dataclasses.replace(TWO, frozen=FROZEN)
    plan = planned(ONE, same, stored=("shop-articles-g2",))
    assert (plan.run, plan.make, plan.lose, plan.drop) == ([same], [], [ONE], [])
    assert plan.point == [Pointer("articles", 2, 1, NOW)]
    other = planned(ONE, TWO, stored=("shop-articles-g2",))
    assert (numbers(other.run), numbers(other.make), other.lose) == ([2, 3], [3], [ONE])


def test_a_lost_index_is_answered_from_the_fullest_that_stands() -> None:
    newest = dataclasses.replace(ONE, number=3)  # with the configuration of the file, and just begun
    records = ONE, TWO, dataclasses.replace(newest, frozen=FROZEN), Pointer("articles", 2, 1)
    older = dataclasses.replace(ONE, frozen=EDITED)
    stored = ("shop-articles-g1", "shop-articles-g3")
    plan = planned(older, *records[1:], stored=stored)  # nothing is known: what has answered before
    assert (plan.point, plan.lose, plan.make) == ([Pointer("articles", 1, 2, NOW)], [TWO], [])
    assert plan.said[-1].endswith(
        "another configuration than the file's, answers; answers are incomplete until it has caught up"
    )
    plan = planned(older, *records[1:], stored=stored, covered={1: 40, 2: 1000, 3: 1000})
    assert plan.point == [Pointer("articles", 3, 2, NOW)]
    assert plan.said[-1].endswith("which is built with the configuration of the file, answers")
    plan = planned(older, *records[1:], stored=stored, covered={1: 1000, 2: 1000, 3: 40})
    assert plan.point == [Pointer("articles", 1, 2, NOW)]
    assert plan.said[-1].endswith("another configuration than the file's, answers")


def test_what_was_recorded_and_not_yet_made_is_made() -> None:
    plan = planned(ONE, TWO, stored=("shop-articles-g1",), committed=(1,))
    assert (numbers(plan.run), plan.lose) == ([1, 2], [])


def test_a_lost_candidate_is_not_followed_and_its_number_not_used_again() -> None:
    plan = planned(ONE, TWO, stored=("shop-articles-g1",))
    assert (plan.run, plan.lose, plan.drop) == ([ONE], [TWO], [])
    assert "`tailrace reindex start`" in plan.said[0]


def test_what_is_found_again_answers_where_what_replaced_it_is_not_here() -> None:
    three = dataclasses.replace(ONE, number=3)
    gone: list[Record] = [lost(ONE), lost(TWO), three, Pointer("articles", 3, 1)]
    plan = planned(*gone, committed=(1, 2, 3))
    assert (plan.run, plan.make) == ([ONE, TWO], [ONE, TWO])
    assert (plan.point, plan.lose, plan.drop) == ([Pointer("articles", 1, 3, NOW)], [three], [])
    assert "1 is found again and answers; that of generation 3, built meanwhile, is not here" in plan.said[-1]
    plan = planned(*gone, stored=(), committed=(1, 2, 3))
    assert (numbers(plan.run), plan.point, plan.lose) == ([4], [Pointer("articles", 4, 3, NOW)], [three])


def test_what_is_found_again_beside_what_answers_is_only_told() -> None:
    plan = planned(lost(ONE), TWO, configured=EDITED)
    assert (plan.run, plan.make, plan.point, plan.drop) == ([TWO], [], [], [])
    assert plan.said[-1].endswith("2 answers: `tailrace reindex drop articles 1` deletes it")


def test_a_store_without_any_of_them_is_told_from_a_loss_of_one() -> None:
    assert planned(ONE, TWO, stored=()).said[0].startswith("none of the indexes that are recorded is here")
    assert planned(ONE, TWO, stored=("shop-articles-g2",)).said[0].startswith("document articles")
    assert not any("none of the indexes" in line for line in planned(ONE, stored=(), committed=()).said)


def test_a_document_no_longer_configured_loses_its_indexes() -> None:
    assert planned(ONE, TWO, configured=None).drop == [ONE, TWO]
    assert planned(dropped(ONE), lost(TWO), configured=None).drop == [lost(TWO)]


def test_numbers_are_never_used_twice() -> None:
    plan = planned(dropped(ONE), stored=("shop-articles-g2",))
    assert numbers(plan.make) == [3]


def test_a_generation_whose_record_changed_under_it_is_not_followed() -> None:
    registry = registry_of([ONE, TWO])
    changed = {("articles", 2)}
    for followed, expected in (({2, 1}, [Halt("articles", 2)]), ({1}, [])):
        keys = {("articles", number) for number in followed}
        stored = {"shop-articles-g1", "shop-articles-g2"}
        aliases = {"articles": "shop-articles-g1"}
        assert reconcile(registry, ["articles"], keys, stored, aliases, "shop", changed) == expected


def next_actions(
    registry: Registry,
    followed: Collection[int],
    stored: Collection[int],
    target: int | None,
    documents: Collection[str] = ("articles",),
) -> list[Action]:
    return reconcile(
        registry,
        documents,
        {("articles", number) for number in followed},
        {f"shop-articles-g{number}" for number in stored},
        {"articles": None if target is None else f"shop-articles-g{target}"},
        "shop",
    )


def test_a_started_generation_is_run() -> None:
    assert next_actions(registry_of([ONE, TWO]), [1], [1], 1) == [Run(TWO)]
    assert next_actions(registry_of([ONE, TWO]), [1, 2], [1, 2], 1) == []


def test_the_alias_follows_the_pointer_both_ways() -> None:
    promoted = registry_of([ONE, TWO, Pointer("articles", 2, 1)])
    assert next_actions(promoted, [1, 2], [1, 2], 1) == [Point(TWO)]
    assert next_actions(promoted, [1, 2], [1, 2], 2) == []
    back = registry_of([ONE, TWO, Pointer("articles", 1, 2)])
    assert next_actions(back, [1, 2], [1, 2], 2) == [Point(ONE)]
    assert next_actions(back, [1, 2], [1, 2], None) == [Point(ONE)], "an alias that is gone"


def test_a_generation_is_not_pointed_at_before_it_is_run() -> None:
    promoted = registry_of([ONE, TWO, Pointer("articles", 2, 1)])
    assert next_actions(promoted, [1], [1], 1) == [Run(TWO)]


def test_a_dropped_generation_is_halted_and_then_discarded() -> None:
    registry = registry_of([dropped(ONE), TWO, Pointer("articles", 2, 1)])
    assert next_actions(registry, [1, 2], [1, 2], 2) == [Halt("articles", 1)]
    assert next_actions(registry, [2], [1, 2], 2) == [Discard(dropped(ONE))]
    assert next_actions(registry, [2], [2], 2) == []


def test_what_is_lost_is_halted_and_never_discarded() -> None:
    registry = registry_of([lost(ONE), TWO, Pointer("articles", 2, 1)])
    assert next_actions(registry, [1, 2], [1, 2], 2) == [Halt("articles", 1)]
    assert next_actions(registry, [2], [1, 2], 2) == []


def test_what_answers_is_never_halted_nor_discarded() -> None:
    registry = registry_of([dropped(ONE), TWO, Pointer("articles", 2, 1)])
    assert next_actions(registry, [1, 2], [1, 2], 1) == [Point(TWO)]
    assert next_actions(registry, [2], [1, 2], 1) == [Point(TWO)]


def test_documents_of_other_workers_are_left_alone() -> None:
    registry = registry_of([ONE, dropped(TWO)])
    assert next_actions(registry, [], [1, 2], None, documents=()) == []


def test_a_number_is_above_all_that_is_recorded_and_all_that_stands() -> None:
    """A command that starts the next one does not see the index."""
    left = ["shop-articles-g2", "shop-articles-g5", "shop-notes-g9", "shop-articles-old-g9"]
    plan = planned(stored=left)
    assert numbers(plan.make) == [6]
    assert next_number("articles", registry_of([ONE, dropped(TWO)]), (), "shop") == 3
    assert next_number("articles", registry_of([ONE, dropped(TWO)]), left, "shop") == 6
