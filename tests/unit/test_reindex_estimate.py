"""What a sample of rows says about all of them, and how far off it may be."""

import asyncio
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.keys import RowKey
from core.state import Progress, Removed, Truncate
from embed.cutter import Cutter
from embed.distinct import Distinct, unmet
from embed.estimate import Estimate, Figure, Known, Rates, Sample, estimate, seconds
from embed.looks import TEXT, Look
from tailrace.reindex.estimate import Looker, Subject
from tailrace.reindex.sampling import Layout, Stretch
from tests.unit.reindex_plan_world import DOCUMENT, ENCODER, NOWHERE, MemoryLog, row, seeded


class TestEstimate:
    @given(st.data())
    @examples(max_examples=80, deadline=None)
    def test_a_full_sample_counts_what_every_reader_of_the_topic_agrees_on(self, data: st.DataObject) -> None:
        log = MemoryLog()
        last: dict[int, int] = {}
        version = 0
        for what, number in data.draw(
            st.lists(st.tuples(st.sampled_from("rrrrrdfsxtp"), st.integers(0, 6)), max_size=40)
        ):
            version += 1
            if what == "t":
                for partition in log.ends:
                    log.append(partition, Truncate(version))
                continue
            if what == "p":
                log.append(number % 2, Progress(version))
                continue
            if what == "x":  # an expired grave
                held = log.table.get(RowKey.of({"id": number}).canonical)
                if held is not None and held.deleted:
                    log.append(number % 2, Removed(held.key, held.version))
                continue
            stale = what == "s" and number in last and last[number] > 1
            at = last[number] - 1 if stale else version  # "s": a worker that woke up late
            log.put(row(number, at, f"Text {number} {at}.", published=what != "f", deleted=what == "d"))
            last[number] = max(at, last.get(number, 0))
        looker = Looker(Subject("articles", DOCUMENT, DOCUMENT, (DOCUMENT,)), ENCODER, NOWHERE)
        layout = Layout([Stretch(n, 0, end, data.draw(st.integers(1, 9))) for n, end in log.ends.items()])
        windows = layout.drawn(seeded(data.draw(st.integers(0, 99))))
        looks: list[Look] = []
        for number, records in enumerate(asyncio.run(log.read(windows))):
            looks += looker.look(records, number, cut=True)
        found = estimate(Sample(looks, len(windows), len(windows), len(layout)), Known(77, 99))
        live = list(log.live())
        assert found.documents == Figure(len(live))
        cut = Cutter(DOCUMENT.cut, ENCODER.count, ENCODER.max_tokens).cut
        assert found.chunks == Figure(sum(len(cut(one.text)) for one in live))
        assert found.reusable == found.chunks
        assert found.texts == found.tokens == Figure(0)

    def test_what_repeats_is_counted_once_and_the_error_tells_how_far_off_it_is(self) -> None:
        """5,000 rows of 8 texts, of which a quarter stand in many rows; a row in five has two records."""
        chance = seeded(11)
        records = [number for number in range(5000) for _ in range(1 + (number % 5 == 0))]
        chance.shuffle(records)
        texts = {
            n: [chance.randrange(300) if k < 2 else 1000 + n * 8 + k for k in range(8)] for n in range(5000)
        }
        windows = [records[at : at + 20] for at in range(0, len(records), 20)]
        truth = {
            "documents": 5000.0,
            "chunks": 40_000.0,
            "texts": float(len(set().union(*texts.values()))),
            "rows": 6000.0,
        }
        misses = dict.fromkeys(truth, 0)
        for seed in range(20):
            drawn = seeded(seed).sample(range(len(windows)), 60)
            looks = [
                Look(
                    "document", place, 0, at, at, str(number).encode(), True, 8, 8, 0, 80,
                    np.array([(text, 10) for text in texts[number]], TEXT).tobytes(),
                )
                for place, window in enumerate(drawn)
                for at, number in enumerate(windows[window], start=window * 20)
            ]  # fmt: skip
            found = estimate(Sample(looks, 60, 60, len(windows)))
            for name, true in truth.items():
                figure: Figure = getattr(found, name)
                assert abs(figure.value / true - 1) < 0.10, (name, figure, true)
                # Texts of three kinds are more than the model knows: a bias of some 2 %.
                figure = replace(figure, value=figure.value / 1.02) if name == "texts" else figure
                misses[name] += abs(figure.value - true) > figure.error
            assert found.tokens.value == pytest.approx(found.texts.value * 10)
        assert all(count <= 4 for count in misses.values()), misses  # 95 % of 20 is 1

    def test_a_report_settles_the_number_of_documents(self) -> None:
        looks = [Look("document", w, 0, w, w + 1, bytes([w]), True, 6, 4) for w in range(20)]
        found = estimate(Sample(looks, 20, 20, 1000), Known(documents=900, chunks=3600))
        assert found.documents == Figure(900)
        assert found.chunks.value == pytest.approx(5400)

    @given(st.integers(1, 400), st.integers(2, 30))
    def test_what_was_met_once_stands_for_its_share(self, things: int, windows: int) -> None:
        ids, first = np.arange(things), np.zeros(things, np.int64)
        assert Distinct(ids, first, windows, windows).count == things
        assert Distinct(ids, first, 1, windows).count == pytest.approx(things * windows)

    @given(st.integers(0, 500), st.integers(0, 500), st.floats(0.01, 1.0))
    def test_the_counts_that_are_to_be_expected_give_back_what_there_is(
        self, single: int, double: int, share: float
    ) -> None:
        """Rows of one record, and rows of two."""
        met_once = single * share + double * 2 * share * (1 - share)
        met_twice = double * share**2
        met = met_once + met_twice
        assert met + unmet(met_once, met_twice, 0, share) == pytest.approx(single + double)

    @given(st.integers(3, 40), st.floats(0.01, 0.9))
    def test_things_that_stand_in_many_windows_are_one_each(self, copies: int, share: float) -> None:
        met = [1000 * math.comb(copies, n) * share**n * (1 - share) ** (copies - n) for n in range(4)]
        assert unmet(met[1], met[2], met[3], share) == pytest.approx(met[0])

    def test_time_adds_up_and_is_unknown_without_the_encoder(self) -> None:
        zero = Figure(0)
        made = Estimate(zero, zero, zero, Figure(10), Figure(1000, 100), Figure(50), Figure(200), zero, zero)
        assert seconds(made, Rates(0.1, 0.01, 0.002)) == Figure(5 + 2 + 2, 0.2)
        assert seconds(made, Rates(0.1, 0.01, None)) is None
        assert seconds(replace(made, texts=zero, tokens=zero), Rates(0.1, 0.01, None)) == Figure(7)
