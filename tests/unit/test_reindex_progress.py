"""Progress out of offsets and reports, and what it looks like."""

from dataclasses import replace

import pytest

from core.settings import DocumentSettings, HashingEncoderSettings, OpenAIEncoder
from ingest.generations import Aliased, Frozen, Generation, Pace, Pointer, Record, Report, registry_of
from ingest.topics_admin import Bounds
from tailrace.cli.reindex_show import listed, share, status
from tailrace.reindex.progress import REPORT_SECONDS, Progress, Speed, progress, speed

NOW = 1_780_000_000_000
SECTION = DocumentSettings(table="shop.public.articles", text="{{ body }}")
ONE, TWO = (
    Generation(
        "articles",
        number,
        "running",
        Frozen(SECTION, HashingEncoderSettings(dimensions=64), f"hashing-{number}", 64),
        NOW - 125_000,
    )
    for number in (1, 2)
)


def look(*more: Record, committed: dict[int, int], of: Generation = TWO) -> Progress:
    bounds = {0: Bounds(0, 1000), 1: Bounds(500, 1500)}
    registry = registry_of([ONE, of, Pointer("articles", 1), *more])
    return progress(registry, of, bounds, committed, {}, NOW)


def test_what_is_covered_is_the_most_that_commits_and_reports_prove() -> None:
    found = look(committed={0: 400})
    assert [(one.covered, one.lag) for one in found.partitions] == [(400, 600), (500, 1000)]
    assert (found.covered, found.total, found.lag, found.caught_up) == (400, 2000, 1600, False)
    report = Report("articles", 2, "w1", NOW - 500, offsets={0: 950, 1: 1490})
    found = look(report, committed={0: 400, 1: 900})
    assert (found.lag, found.caught_up) == (60, True)
    small = progress(registry_of([TWO]), TWO, {0: Bounds(0, 44)}, {0: 38}, {}, NOW)
    assert not small.caught_up  # of a small topic a few records are much
    beyond = look(Report("articles", 2, "w1", NOW, offsets={0: 9999}), committed={})
    assert beyond.partitions[0].lag == 0


@pytest.mark.parametrize(
    ("covered", "young", "caught_up"),
    [
        (6_800, 6_700, True),  # two seconds of a table with a hundred changes a second
        (6_800, None, False),  # as far behind, and nothing was written for a while
        (6_800, 6_801, False),
        (6_900, None, True),
        (6_600, 6_500, False),  # young, and too much of the whole: a table that is being loaded
    ],
)
def test_a_busy_table_is_caught_up_with_what_stood_there_seconds_ago(
    covered: int, young: int | None, caught_up: bool
) -> None:
    since = {} if young is None else {0: young}
    found = progress(registry_of([TWO]), TWO, {0: Bounds(0, 7_000)}, {0: covered}, since, NOW)
    assert found.caught_up is caught_up


def test_work_is_summed_over_workers_and_sizes_are_the_newest() -> None:
    found = look(
        Report("articles", 2, "old", NOW - 600_000, 10, 5, 100, documents=3, chunks=9, waiting="gone"),
        Report("articles", 2, "new", NOW - 2_000, 30, 0, 400, documents=8, chunks=20, bytes=1 << 20),
        committed={},
    )
    assert (found.embedded, found.reused, found.tokens) == (40, 5, 500)
    assert (found.documents, found.chunks, found.bytes, found.cost) == (8, 20, 1 << 20, None)
    assert [(one.worker, one.stale) for one in found.workers] == [("new", False), ("old", True)]
    assert found.waiting is None  # of a worker that is away


def test_tokens_cost_what_the_recorded_endpoint_asks() -> None:
    encoder = OpenAIEncoder(
        base_url="http://127.0.0.1:1/v1", model="m", dimensions=8, price_per_million_tokens=0.5
    )
    priced = replace(TWO, frozen=replace(TWO.frozen, encoder=encoder))
    found = look(Report("articles", 2, "w", NOW, tokens=3_000_000), committed={}, of=priced)
    assert found.cost == pytest.approx(1.5)
    assert look(committed={}, of=priced).cost == 0.0
    uncounted = Report("articles", 2, "an older release", NOW, embedded=40)
    assert look(uncounted, committed={}, of=priced).cost is None


def test_who_answers_is_what_the_alias_was_moved_to() -> None:
    assert not look(committed={}).answers
    assert look(Aliased("articles", 2), committed={}).answers


def reported(at: float, covered: int, chunks: int = 0) -> Progress:
    """A look at a worker that has reported `at` seconds after NOW."""
    report = Report("articles", 2, "w", NOW + round(at * 1000), chunks, offsets={0: covered})
    return look(report, committed={})


def test_speed_is_that_of_the_last_seconds() -> None:
    assert speed([]) == Speed(0.0, 0.0, None)
    assert speed([(0.0, look(committed={}))]).seconds_left is None
    looks = [(0.0, reported(0, 100)), (100.0, reported(100, 100)), (110.0, reported(110, 700))]
    found = speed(looks)
    assert (found.records_per_second, found.seconds_left) == (60.0, 1300 / 60.0)
    assert speed([(0.0, reported(0, 500)), (1.0, reported(1, 500))]).seconds_left is None
    done = look(committed={0: 1000, 1: 1500})
    assert speed([(0.0, reported(0, 500)), (1.0, done)]).seconds_left == 0.0


@pytest.mark.parametrize("between", [0.5, 1.0, 3.0])
def test_a_steady_speed_is_shown_as_such_however_looks_and_reports_fall(between: float) -> None:
    """Each two seconds a report, and 50 chunks a second."""
    looks = []
    for number in range(30):
        at = 0.3 + number * between
        last = at // REPORT_SECONDS * REPORT_SECONDS
        looks.append((at, reported(last, 10 * round(last), 50 * round(last))))
    rates = [speed(looks[: end + 1]).chunks_per_second for end in range(len(looks)) if looks[end][0] > 4]
    assert rates == pytest.approx([50.0] * len(rates), rel=0.1)


def test_a_worker_that_has_gone_silent_becomes_slower() -> None:
    steady = [(at, reported(at, 10 * at)) for at in range(0, 12, 2)]
    silent = [(float(at), reported(10, 100)) for at in range(12, 22)]
    rates = [speed([*steady, *silent[:end]]).records_per_second for end in range(len(silent) + 1)]
    assert rates[0] == 10.0
    assert rates[-1] < 4.0
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize(
    ("done", "total", "said"),
    [(0, 0, "100.0 %"), (0, 5, "0.0 %"), (9999, 10000, "99.9 %"), (10000, 10000, "100.0 %")],
)
def test_a_share_is_never_whole_before_it_is(done: int, total: int, said: str) -> None:
    assert share(done, total) == said


def test_a_status_says_all_of_it() -> None:
    paced = replace(TWO, pace=Pace(50.0, 0.25))
    found = look(
        Report("articles", 2, "w1", NOW - 3_000, 1200, 34, 56_000, waiting="the endpoint is away"),
        committed={0: 400},
        of=paced,
    )
    assert status(found, Speed(80.0, 100.0, 20.0), NOW) == (
        "articles generation 2 (candidate), hashing-2, 64 dimensions, started 2 min 5 s ago\n"
        "  partition  covered  of     behind  done\n"
        "  ---------  -------  -----  ------  ------\n"
        "  0          400      1,000  600     40.0 %\n"
        "  1          500      1,500  1,000   0.0 %\n"
        "  20.0 % of 2,000 records, 80 records/s, 100 chunks/s, about 20 s left\n"
        "  1,200 chunks embedded, 34 reused, 56,000 tokens\n"
        "  0 documents, 0 chunks\n"
        "  throttled to 50 chunks/s and 25% of the time\n"
        "  w1 reported 3 s ago\n"
        "  waits: the endpoint is away"
    )


def test_a_list_names_what_nobody_works_on_and_what_no_record_speaks_of() -> None:
    registry = registry_of([ONE, TWO, Pointer("articles", 1), Report("articles", 1, "w", NOW + 900_000)])
    bounds = {0: Bounds(0, 10)}
    found = [progress(registry, one, bounds, {0: 10}, {}, NOW) for one in (ONE, TWO)]
    shown = listed(registry, found, ["shop-articles-g9"], NOW + 900_000).splitlines()
    assert shown[0].split() == [
        "document",
        "generation",
        "role",
        "documents",
        "chunks",
        "disk",
        "behind",
        "started",
        "encoder",
    ]
    assert shown[2].split()[:3] == ["articles", "1", "live"]
    assert shown[3].split()[:3] == ["articles", "2", "candidate"]
    assert shown[4].startswith(
        "! articles generation 2: abandoned? no worker has reported on it yet for 17 min"
    )
    assert shown[5] == "! collection shop-articles-g9: no record speaks of it"
