"""The windows of a state topic that a sample is drawn from."""

import asyncio

from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tailrace.reindex.sampling import Layout, Stretch, laid_out
from tests.unit.reindex_plan_world import MemoryLog, row, seeded


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
