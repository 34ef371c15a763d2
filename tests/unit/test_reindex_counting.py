"""A row looked at, and a topic counted: by a pass over all of it or by a sample."""

import asyncio
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from core.clock import FixedClock
from core.state import Truncate
from embed.cutter import Cutter
from embed.estimate import Figure, Rates, seconds
from embed.looks import TEXT
from embed.model import Document
from embed.store import VectorStore
from ingest.agents.batch_sizes import UNDISTURBED_SECONDS
from ingest.generations import Report
from tailrace.reindex.estimate import Looker, Subject
from tailrace.reindex.stored import StoredTexts
from tests.unit.reindex_plan_world import (
    DOCUMENT,
    ENCODER,
    NOWHERE,
    RECUT,
    MemoryLog,
    body,
    corpus,
    counted,
    counting,
    read,
    row,
    seeded,
)


@cache
def changing() -> tuple[MemoryLog, Sequence[int]]:
    """A hundred rows that change all the time, each time to another text; and their numbers in that order."""
    log, chance = MemoryLog(), seeded(6)
    order = [chance.randrange(100) for _ in range(12_800)]
    for version, number in enumerate(order, start=1):
        log.put(row(number, version, f"Price {version}."))
    return log, order


class TestLooker:
    def test_texts_of_the_row_s_old_cut_and_of_the_store_need_no_vector(self, tmp_path: Path) -> None:
        chance = seeded(5)
        made = row(1, 1, body(chance, 12))
        log = MemoryLog(1)
        log.append(0, made)
        new = Cutter(RECUT.cut, ENCODER.count, 254).cut(str(made.columns["body"]))
        old = Cutter(DOCUMENT.cut, ENCODER.count, 254).cut(str(made.columns["body"]))
        fresh = [text for text in new if text not in old]
        assert fresh
        store = VectorStore(tmp_path / "vectors.db", 1 << 20, FixedClock())
        store.put(ENCODER.fingerprint, {fresh[0]: ENCODER.encode(fresh[:1], kind="document")[0]})
        about = Subject("articles", RECUT, DOCUMENT, (DOCUMENT,))
        looker = Looker(about, ENCODER, StoredTexts(tmp_path / "vectors.db", ENCODER.fingerprint))
        (look,) = looker.look(log.records[0], 0, cut=True)
        assert (look.chunks, look.before) == (len(new), len(old))
        assert look.reusable == len(new) - len(fresh) + 1
        tokens = np.frombuffer(look.needed, TEXT)["tokens"].tolist()
        assert tokens == ENCODER.count(fresh[1:])
        store.put(ENCODER.fingerprint, {})  # its owner is not disturbed
        store.close()

    def test_a_row_that_the_new_template_cannot_render_is_told_of(self) -> None:
        log = MemoryLog(1)
        log.append(0, row(1, 1, "Text."))
        new = DOCUMENT.model_copy(update={"text": "{{ summary }}"})
        looker = Looker(Subject("articles", new, DOCUMENT, ()), ENCODER, NOWHERE)
        (look,) = looker.look(log.records[0], 0, cut=True)
        assert (look.kind, look.was) == ("none", True)
        assert looker.seen.refused == 1
        assert "summary" in looker.seen.refusal

    def test_no_store_is_made_where_there_is_none(self, tmp_path: Path) -> None:
        stored = StoredTexts(tmp_path / "vectors.db", "f")
        assert not stored.there
        assert stored.known(["a"]) == set()
        (tmp_path / "other.db").write_bytes(b"no database at all, " * 100)
        assert StoredTexts(tmp_path / "other.db", "f").known(["a"]) == set()
        assert sorted(one.name for one in tmp_path.iterdir()) == ["other.db"]


class TestCounting:
    def test_a_sample_is_near_to_the_pass_over_all(self, tmp_path: Path) -> None:
        log = corpus(6000)
        exact = counted(counting(tmp_path, log, RECUT), exact=True)
        assert exact.looked.counted == "every record"
        live = list(log.live())
        assert exact.estimate.documents == Figure(len(live))
        report = Report(
            "articles", 1, "w", 1, documents=len(live), chunks=int(self.chunks(live)), offsets=log.ends
        )
        for given_reports, source in (((report,), "the worker's report"), ((), "the sample's density")):
            found = counted(counting(tmp_path, log, RECUT, *given_reports))
            assert found.looked.counted == source
            assert found.looked.rows < 2500 or not given_reports
            for name in ("documents", "chunks", "reusable", "texts", "tokens", "rows"):
                figure, true = getattr(found.estimate, name), getattr(exact.estimate, name)
                assert figure.value == pytest.approx(true.value, rel=0.10), (source, name)

    @staticmethod
    def chunks(live: Sequence[Document]) -> int:
        cut = Cutter(DOCUMENT.cut, ENCODER.count, 254).cut
        return sum(len(cut(one.text)) for one in live)

    def test_a_report_that_lags_is_not_taken_for_the_whole(self, tmp_path: Path) -> None:
        log = corpus(400)
        behind = {partition: end // 2 for partition, end in log.ends.items()}
        report = Report("articles", 1, "w", 1, documents=9, chunks=9, offsets=behind)
        found = counted(counting(tmp_path, log, RECUT, report), rows=100)
        assert found.looked.counted == "the sample's density"
        assert found.report is None

    def test_rows_that_a_wider_filter_lets_in_must_be_embedded(self, tmp_path: Path) -> None:
        log = corpus(600)
        found = counted(counting(tmp_path, log, DOCUMENT.model_copy(update={"where": None})), exact=True)
        drafts = sum(1 for _ in log.live(DOCUMENT.model_copy(update={"where": None}))) - sum(
            1 for _ in log.live()
        )
        assert drafts > 30
        assert found.estimate.before.value == sum(1 for _ in log.live())
        assert found.estimate.texts.value >= drafts

    def test_rows_of_an_epoch_that_has_ended_are_dead_in_a_sample_too(self, tmp_path: Path) -> None:
        log, chance = MemoryLog(), seeded(2)
        for epoch in (0, 1):
            for partition in log.ends:
                log.append(partition, Truncate(epoch << 40))
            for number in range(1500):
                log.put(row(number + 2000 * epoch, (epoch << 40) + number, body(chance, 3)))
        found = counted(counting(tmp_path, log, RECUT), rows=800)
        assert found.looked.counted == "the sample's density"
        assert found.estimate.documents.value == pytest.approx(1500, rel=0.10)

    @pytest.mark.parametrize(("exact", "epochs"), [(True, 1), (True, 2), (False, 2)])
    def test_what_a_truncate_has_ended_makes_no_work(self, tmp_path: Path, exact: bool, epochs: int) -> None:
        """A replay knows every truncate beforehand: of rows that it ended, nothing is embedded or written."""
        log, chance = MemoryLog(), seeded(2)
        texts = [body(chance, 3) for _ in range(1500)]
        for load in range(2):
            started = load << 40 if epochs == 2 else load * 10_000
            for partition in log.ends:
                log.append(partition, Truncate(started))
            for number, text in enumerate(texts):
                same = text if epochs == 2 else f"{text} Once more."
                log.put(row(number, started + number + 1, same if load else text))
        found = counted(counting(tmp_path, log, RECUT), exact=exact).estimate
        cut = Cutter(RECUT.cut, ENCODER.count, 254).cut
        pieces = [cut(one.text) for one in log.live()]
        old = Cutter(DOCUMENT.cut, ENCODER.count, 254).cut
        given = [set(old(one.text)) for one in log.live()]
        needed = {text for made, have in zip(pieces, given, strict=True) for text in made if text not in have}
        for name, true in (
            ("documents", 1500),
            ("rows", 1500),
            ("written", sum(map(len, pieces))),
            ("texts", len(needed)),
            ("tokens", sum(ENCODER.count([*needed]))),
        ):
            figure = getattr(found, name)
            assert figure.value == pytest.approx(true, rel=0.0 if exact else 0.10), name

    @pytest.mark.parametrize(
        ("exact", "batch"), [(True, 128), (True, 512), (False, 32), (False, 128), (False, 512)]
    )
    def test_changes_of_one_row_that_a_batch_merges_count_once(
        self, tmp_path: Path, batch: int, exact: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tailrace.reindex.full_pass.ALONE", 12_800)  # several processes find the same
        log, order = changing()
        replayed = sum(len({*order[at : at + batch]}) for at in range(0, len(order), batch))
        rates = Rates(UNDISTURBED_SECONDS / (batch + 0.5), 0.0, 0.0)
        wider = DOCUMENT.model_copy(update={"text": "News: {{ body }}"})
        found = counted(counting(tmp_path, log, wider), exact=exact, rates=rates)
        assert found.batch == batch
        assert (found.looked.counted == "every record") is exact
        for name, true in (("texts", replayed), ("tokens", 3 * replayed), ("written", replayed)):
            assert getattr(found.estimate, name).value == pytest.approx(true, rel=0.10), name
        minutes = seconds(found.estimate, Rates(0.001, 0.001, 0.001))
        assert minutes is not None
        assert minutes.value == pytest.approx(12.8 + 4 * replayed / 1000, rel=0.30)

    def test_batches_grow_with_what_they_merge_and_with_the_speed(self, tmp_path: Path) -> None:
        log, chance = MemoryLog(), seeded(6)
        for version in range(1, 4001):
            log.put(row(chance.randrange(20), version, f"Price {version}."))
        made = counting(tmp_path, log, DOCUMENT.model_copy(update={"text": "News: {{ body }}"}))
        all_of_it = read(made, exact=True)
        slow, medium, fast, unknown = (
            asyncio.run(made.counted(all_of_it, rates)).batch
            for rates in (
                *(Rates(0.0, chunk, 0.0) for chunk in (10.0, UNDISTURBED_SECONDS / 40, 1e-6)),
                Rates(0.0, 0.0, None),
            )
        )
        assert slow == 8, "LEAST_BATCH"
        assert 50 < medium < 512, "forty records that are twenty rows"
        assert fast == 512, "MOST_BATCHES times index_batch_records"
        assert unknown == 128
