"""What the bench says of a figure, and when it fails."""

import json
from dataclasses import replace

import pytest

from tests.bench import report
from tests.bench.bars import PIECES
from tests.bench.report import Bar, Outcome

MACHINE: dict[str, object] = {"cpu": "a cpu", "cores": 2, "python": "3.11"}
RATIO = Bar("share", lambda figures: figures["ratio"], "at least", 0.90, aim=0.95)
LATENCY = Bar("p50", lambda figures: figures["p50"], "at most", 80, "ms", absolute=True)
RATE = Bar("rate", lambda figures: figures["rate"], "at least", 5000, "/s", absolute=True)


@pytest.mark.parametrize(
    ("bar", "figures", "word"),
    [
        (RATIO, {"ratio": 0.90}, "passed"),
        (RATIO, {"ratio": 0.8999}, "failed"),
        (LATENCY, {"p50": 80}, "passed"),
        (LATENCY, {"p50": 80.1}, "missed"),
        (LATENCY, {"p50": 160}, "missed"),
        (LATENCY, {"p50": 160.1}, "failed"),
        (RATE, {"rate": 4999}, "missed"),
        (RATE, {"rate": 2499}, "failed"),
        (RATE, {}, "failed"),
        (RATE, {"rate": None}, "failed"),
        (RATE, {"rate": float("nan")}, "failed"),
    ],
)
def test_a_ratio_fails_at_its_bar_and_an_absolute_figure_at_twice_its_bar(
    bar: Bar, figures: dict[str, float], word: str
) -> None:
    assert report.judge("piece", bar, figures).word == word


def test_a_bar_of_another_machine_is_left_out_unless_there_are_no_figures() -> None:
    bar = replace(RATIO, applies=lambda figures: not figures or figures["cpu"] == "fast")
    assert report.judge_all("piece", [bar], {"cpu": "slow", "ratio": 0.1}) == []
    assert [one.word for one in report.judge_all("piece", [bar], {})] == ["failed"]


def test_missed_is_no_failure_and_a_piece_that_gave_nothing_is() -> None:
    good = report.judge_all("a", [RATIO], {"ratio": 0.97})
    missed = report.judge_all("a", [LATENCY], {"p50": 100})
    assert not report.failed([*good, *missed], [Outcome("a", 1.0, {"ratio": 0.97})])
    assert report.failed(report.judge_all("a", [LATENCY], {"p50": 200}), [])
    assert report.failed([], [Outcome("a", 1.0, error="no broker")])


def test_the_table_shows_figure_bar_verdict_and_why_a_piece_failed() -> None:
    verdicts = [
        *report.judge_all("a", [RATIO, LATENCY], {"ratio": 0.93, "p50": 81.234}),
        *report.judge_all("b", [RATE], {}),
    ]
    outcomes = [Outcome("a", 1.0, others=0.5), Outcome("b", 2.0, error="no broker answers")]
    lines = report.table(MACHINE, verdicts, outcomes).splitlines()
    shown = [" ".join(line.split()) for line in lines]
    assert shown[0] == "a cpu, 2 cores, Python 3.11"
    assert "a share >= 0.9 0.93 passed (aim 0.95)" in shown
    assert "a p50 <= 80 ms 81.23 ms missed" in shown
    assert "b rate >= 5,000 /s - failed" in shown
    assert "a: others took 50% of the cores just before" in shown
    assert shown[-2:] == ["b failed after 2 s:", "no broker answers"]


def test_the_json_holds_machine_bars_and_figures() -> None:
    verdicts = report.judge_all("a", [RATIO], {"ratio": 0.96})
    made = json.loads(json.dumps(report.as_json(MACHINE, verdicts, [Outcome("a", 1.0, {"ratio": 0.96})])))
    assert made["machine"] == MACHINE
    assert made["bars"][0]["figure"] == 0.96
    assert made["pieces"][0]["figures"] == {"ratio": 0.96}
    assert made["failed"] is False


def test_the_machine_is_named_with_versions() -> None:
    found = report.machine()
    assert found["cpu"]
    assert isinstance(found["cores"], int)
    assert found["openvino"]


def test_every_bar_says_what_it_is_once() -> None:
    named = [(piece.name, bar.what) for piece in PIECES for bar in piece.bars]
    assert len(named) == len(set(named))
    assert all(
        report.judge(name, bar, {}).word == "failed"
        for name, bar in ((piece.name, bar) for piece in PIECES for bar in piece.bars)
    )
