"""What a line of positions and topic ends says to have been reached, and what is missing since when."""

from core.keys import TableId
from core.version import version
from retrieve.watermarks import NOTHING, Mark, Moment, Watermarks, both, least

A, B = TableId("s", "a"), TableId("s", "b")


def look(
    marks: Watermarks, at: int, position: int | None, *, a: int, b: int = 0, epoch: int = 0
) -> str | None:
    spelled = None if position is None else (str(position), position)
    return marks.look(marks.begin(Moment(at, at)), spelled, {A: a, B: b}, {A: epoch, B: epoch})


def covering(a: int, b: int = -1) -> dict[TableId, Mark]:
    return {A: Mark(a, 0), B: Mark(b, 0)}


def reached(marks: Watermarks, a: int, b: int = -1) -> str | None:
    found = marks.reached(covering(a, b))
    return found.position if found is not None else None


def test_a_position_is_reached_once_every_table_has_covered_its_end() -> None:
    marks = Watermarks()
    assert look(marks, 1, 100, a=3, b=2) is None
    assert look(marks, 2, 200, a=5, b=2) is None
    assert reached(marks, 1, 1) is None
    assert reached(marks, 2, 0) is None
    assert reached(marks, 2, 1) == reached(marks, 3, 9) == "100"
    assert reached(marks, 4, 1) == "200"
    assert marks.reached({A: Mark(4, 0)}) is not None  # a table that does not matter is not asked


def test_empty_topics_need_nothing_and_an_idle_source_moves_on() -> None:
    marks = Watermarks()
    look(marks, 1, 100, a=0)
    assert reached(marks, -1) == "100"
    look(marks, 2, 200, a=0)
    assert (reached(marks, -1), len(marks)) == ("200", 1)


def test_while_connect_is_away_the_position_stands_still() -> None:
    marks = Watermarks()
    look(marks, 1, 100, a=1)
    look(marks, 2, None, a=9)
    assert reached(marks, 8) == "100"
    assert reached(marks, 0) == "100"


def test_a_position_line_that_starts_again_claims_nothing_of_the_old_one() -> None:
    marks = Watermarks()
    look(marks, 1, 500, a=5)
    look(marks, 2, 600, a=9)
    look(marks, 3, 100, a=12)
    assert reached(marks, 8) is None
    assert reached(marks, 11) == "100"
    assert marks.missing_since(covering(8)) == 3  # what is missing is still known


def test_a_topic_that_shrank_proves_nothing() -> None:
    marks = Watermarks()
    look(marks, 1, 100, a=50)
    said = look(marks, 2, 200, a=10)
    assert said is not None
    assert "resync" in said
    assert reached(marks, 49) == "100"
    # Also where only the view knows: this process looks for the first time.
    fresh = Watermarks()
    fresh.see(A, Mark(49, 0), 1)
    assert look(fresh, 2, 200, a=10) is not None
    assert look(fresh, 2, 200, a=0) is not None
    # A new epoch outranks all of the old one.
    assert look(fresh, 3, 300, a=10, epoch=1) is None
    assert reached(fresh, 49) is None
    assert reached(fresh, version(1, 9)) == "300"


def test_an_epoch_that_begins_empty_needs_what_the_old_one_needed() -> None:
    marks = Watermarks()
    look(marks, 1, 100, a=5)
    assert look(marks, 2, 200, a=0, epoch=1) is None
    assert (reached(marks, 3), reached(marks, 4)) == (None, "200")


def test_progress_that_is_seen_during_a_look_does_not_contradict_it() -> None:
    marks = Watermarks()
    begun = marks.begin(Moment(1, 1))
    marks.see(A, Mark(7, 0), 2)  # resolved and read after the ends were
    assert marks.look(begun, ("100", 100), {A: 3}, {A: 0}) is None
    assert (reached(marks, 2), reached(marks, 7)) == (None, "100")


def test_what_is_missing_is_as_old_as_its_commit_where_that_is_known() -> None:
    marks = Watermarks()
    look(marks, 1000, 1, a=1)
    look(marks, 2000, 2, a=2)
    assert marks.missing_since(covering(1)) is None
    assert marks.missing_since(covering(0)) == 2000
    assert marks.missing_since({A: NOTHING}) == 1000
    marks.see(A, Mark(2, 1500), 2500)
    assert marks.missing_since(covering(1)) == 1500
    marks.see(A, Mark(3, 9999), 2600)  # a clock that is ahead
    assert marks.missing_since(covering(2)) == 2600


def test_old_watermarks_are_thinned_and_never_too_fresh() -> None:
    thin, whole = Watermarks(kept=8), Watermarks()
    for n in range(1, 200):
        for marks in (thin, whole):
            look(marks, n * 10, n, a=n)
    assert len(thin) <= 9
    for covered in range(-1, 199):
        exact, rough = whole.missing_since(covering(covered)), thin.missing_since(covering(covered))
        assert (exact is None) == (rough is None)
        if exact is not None and rough is not None:
            assert rough <= exact
        assert int(reached(thin, covered) or 0) <= int(reached(whole, covered) or 0)
    thin.settle(covering(198))
    assert len(thin) == 1
    assert reached(thin, 198) == "199"


def test_least_and_both() -> None:
    assert least([]) == least([Mark(3, 1), None]) == NOTHING
    assert least([Mark(3, 1), Mark(2, 5)]) == Mark(2, 5)
    assert both({A: Mark(3, 1)}, {A: Mark(2, 1), B: Mark(9, 1)}) == {A: Mark(2, 1), B: Mark(9, 1)}
