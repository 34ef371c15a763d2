"""What a reindex would cost: windows, looks, and the estimate made of them."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.clock import FixedClock
from core.errors import ConfigurationError
from core.keys import RowKey
from core.settings import Cut, DocumentSettings, HashingEncoderSettings, Settings
from core.state import Progress, Removed, StateRow, Truncate, encode_state, encode_tombstone
from core.state_table import StateTable
from embed.cutter import Cutter
from embed.distinct import Distinct, unmet
from embed.encoder import HashingEncoder
from embed.estimate import (
    TEXT,
    Estimate,
    Figure,
    Known,
    Look,
    Rates,
    Sample,
    estimate,
    seconds,
)
from embed.model import Document
from embed.render import Renderer
from embed.store import VectorStore
from ingest.generations import Frozen, Generation, Registry, Report
from tailrace.cli.reindex_plan import next_step
from tailrace.reindex.changes import changed, meaning
from tailrace.reindex.counting import Counting, subject
from tailrace.reindex.estimate import Looker, Subject
from tailrace.reindex.planning import ReindexPlan, disk, plan_reindex
from tailrace.reindex.rates import Rehearsal, invented, rehearse, token_seconds
from tailrace.reindex.sampling import Layout, Raw, Stretch, Window, laid_out
from tailrace.reindex.stored import StoredTexts

DOCUMENT = DocumentSettings(
    table="shop.public.articles",
    title="{{ title }}",
    text="{{ body }}",
    where="published",
    cut=Cut(min_tokens=5, max_tokens=20),
)
ENCODER = HashingEncoder(16)
NOWHERE = StoredTexts(None, "")


def seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - the same rows every time


def frozen(document: DocumentSettings = DOCUMENT, dimensions: int = 16) -> Frozen:
    return Frozen(
        document, HashingEncoderSettings(dimensions=dimensions), f"hashing-{dimensions}", dimensions
    )


def body(chance: Random, sentences: int) -> str:
    words = ["order", "return", "refund", "parcel", "account", "invoice", "carrier", "delay", "stock"]
    return " ".join(
        " ".join(chance.choices(words, k=9)).capitalize() + f" {chance.randrange(10**6)}."
        for _ in range(sentences)
    )


def row(number: int, version: int, text: str, *, published: bool = True, deleted: bool = False) -> StateRow:
    columns: dict[str, Any] = {"id": number, "title": f"No {number}", "body": text, "published": published}
    return StateRow(RowKey.of({"id": number}), version, columns, deleted=deleted)


class MemoryLog:
    """A state topic in memory, with holes where records were compacted away."""

    def __init__(self, partitions: int = 2) -> None:
        self.records: dict[int, list[Raw]] = {number: [] for number in range(partitions)}
        self.ends = dict.fromkeys(range(partitions), 0)
        self.table = StateTable()

    def append(self, partition: int, record: StateRow | Truncate | Progress | Removed) -> None:
        key, value, headers = (
            encode_tombstone(record) if isinstance(record, Removed) else (*encode_state(record), [])
        )
        offset = self.ends[partition]
        self.records[partition].append(Raw(partition, offset, key, value, dict(headers)))
        self.ends[partition] += 1
        self.table.apply(partition, offset, record)

    def put(self, made: StateRow) -> None:
        self.append(int(made.key.columns[0][1]) % len(self.ends), made)

    async def bounds(self) -> Mapping[int, tuple[int, int]]:
        return {number: (0, end) for number, end in self.ends.items()}

    async def read(self, windows: Sequence[Window]) -> list[list[Raw]]:
        return [[one for one in self.records[w.partition] if w.start <= one.offset < w.end] for w in windows]

    async def follow(self, windows: Sequence[Window]) -> AsyncIterator[list[Raw]]:
        for records in await self.read(windows):
            for at in range(0, len(records), 100):
                yield records[at : at + 100]

    def live(self, document: DocumentSettings = DOCUMENT) -> Iterator[Document]:
        renderer = Renderer("articles", document)
        for one in self.table.rows():
            made = renderer.render(one)
            if isinstance(made, Document):
                yield made


def settings_at(folder: Path, **more: Any) -> Settings:
    return Settings.model_validate(
        {
            "app": "shop",
            "log": {"kind": "kafka", "brokers": ["127.0.0.1:1"]},
            "index": {"kind": "memory"},
            "encoder": {"kind": "hashing", "dimensions": 16},
            "sources": {"shop": {"prefix": "shop", "tables": ["public.articles"]}},
            "documents": {"articles": DOCUMENT.model_dump()},
            "ingest": {"vector_store": str(folder / "vectors.db")},
            **more,
        }
    )


def counting(
    folder: Path, log: MemoryLog, new: DocumentSettings, *reports: Report, old: Frozen | None = None
) -> Counting:
    live = Generation("articles", 1, "running", old or frozen())
    registry = Registry((live,), {}, {}, reports)
    return Counting(settings_at(folder), registry, live, frozen(new), ENCODER, log)


def counted(made: Counting, *, exact: bool = False, rows: int = 1500) -> Any:
    return asyncio.run(made.counted(exact=exact, rows=rows, progress=lambda _done, _all: None))


def corpus(rows: int, seed: int = 3) -> MemoryLog:
    """Each row in ten is a draft, one in ten was edited, one in twenty is deleted."""
    chance, log, version = seeded(seed), MemoryLog(), 0
    for number in range(rows):
        version += 1
        log.put(row(number, version, body(chance, chance.randint(1, 12)), published=number % 10 != 7))
    for number in chance.sample(range(rows), rows // 10):
        version += 1
        log.put(row(number, version, body(chance, chance.randint(1, 12)), published=number % 10 != 7))
    for number in chance.sample(range(rows), rows // 20):
        version += 1
        log.put(row(number, version, "", deleted=True))
    for partition in log.ends:
        log.append(partition, Progress(version))
    return log


RECUT = DOCUMENT.model_copy(update={"cut": Cut(min_tokens=6, max_tokens=30)})


class TestWindows:
    @given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 90), st.integers(1, 40)), max_size=5))
    @examples(max_examples=60)
    def test_each_offset_is_in_one_window(self, parts: list[tuple[int, int, int]]) -> None:
        layout = Layout(
            [Stretch(n, start, start + size, width) for n, (start, size, width) in enumerate(parts)]
        )
        found = [(w.partition, offset) for w in layout.all() for offset in range(w.start, w.end)]
        wanted = [
            (n, offset) for n, (start, size, _) in enumerate(parts) for offset in range(start, start + size)
        ]
        assert found == wanted
        assert sorted(layout.drawn(seeded(1)), key=lambda w: (w.partition, w.start)) == layout.all()

    def test_windows_are_wide_where_compaction_left_holes(self) -> None:
        log = MemoryLog(1)
        for number in range(40_000):
            log.put(row(number, number + 1, ""))
        log.records[0] = [one for one in log.records[0] if one.offset > 30_000 or one.offset % 50 == 0]
        layout = asyncio.run(laid_out(log))
        sizes = [len(one) for one in asyncio.run(log.read(layout.all()))]
        assert sum(sizes) == len(log.records[0])
        assert max(sizes) <= 100
        assert len(layout) < 2 * len(log.records[0]) / 32


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
