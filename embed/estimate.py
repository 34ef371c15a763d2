"""What a new generation would hold and cost, from some or all records of a state topic. Pure.

The topic is divided into windows of some tens of records; windows are drawn at random, without
replacement, and each record in them is looked at. Sums scale by the share of windows. What counts
once however often it stands in the topic (a row with older records of it, a text that many rows
share) is estimated from how many were met in one window and in two: the lower bound of Chao and Lin
(2012) for samples without replacement, which is exact where nothing repeats, and once all is read.

A replay embeds what it meets: a record that a later one replaces costs its texts too. So texts and
tokens are those of all records, documents and chunks those of the newest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.version import epoch_of, version
from embed.distinct import Column, Counts, Distinct

CONFIDENCE: Final = 0.95
"""That the true figure is within `error` of the value."""

_DEVIATIONS: Final = 1.96
"""The same, in standard deviations."""

_GROUPS: Final = 20
"""Groups of windows of the jackknife: the figures are computed again without each."""

TEXT: Final = np.dtype([("text", "<u8"), ("tokens", "<u4")])
"""One text that must be embedded: its hash and its length."""

Kind: TypeAlias = Literal["document", "none", "removed", "truncate"]


@dataclass(frozen=True, slots=True)
class Look:
    """One record, and what it means for the new generation.

    `document`: a row that becomes one. `none`: a row that does not, for it is deleted, filtered out or
    cannot be rendered. `removed`: the tombstone of an expired grave. `truncate`: every row of this
    partition below `version` is dead.
    """

    kind: Kind
    window: int
    """In order of reading, from 0."""
    partition: int
    offset: int
    version: int
    key: bytes = b""
    was: bool = False
    """It is a document of the live generation."""
    chunks: int | None = None
    """None: the window was read for its keys only, and nothing was cut."""
    before: int = 0
    """Chunks of the live generation, where they are known; 0 otherwise."""
    reusable: int = 0
    """Chunks whose vector is there already."""
    characters: int = 0
    """Of all chunks."""
    needed: bytes = b""
    """The other chunks' texts, each once: an array of TEXT."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The looks at `read` windows out of `of`. Of the first `cut` windows the texts were cut."""

    looks: Sequence[Look]
    read: int
    cut: int
    of: int

    @property
    def whole(self) -> bool:
        return self.cut >= self.of


@dataclass(frozen=True, slots=True)
class Known:
    """What the live generation holds, as its worker reports."""

    documents: int
    chunks: int


@dataclass(frozen=True, slots=True)
class Figure:
    """`error` at CONFIDENCE; 0 where the value is counted."""

    value: float
    error: float = 0.0

    def times(self, factor: float) -> "Figure":
        return Figure(self.value * factor, self.error * factor)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of the new generation, and of its replay."""

    documents: Figure
    chunks: Figure
    reusable: Figure
    """Chunks whose vector is there already: of the same text in the same row, or in the vector store."""
    texts: Figure
    """To embed, equal ones once."""
    tokens: Figure
    """Of these texts."""
    rows: Figure
    """Records of rows that are replayed."""
    written: Figure
    """Chunks that are written on the way, of records too that a later one replaces."""
    characters: Figure
    """Of the chunks."""
    before: Figure
    """Documents of the live generation."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds, as measured on this machine. `token` is None where the encoder did not answer."""

    row: float
    chunk: float
    token: float | None


def seconds(estimate: Estimate, rates: Rates) -> Figure | None:
    """How long the replay takes, if nothing else is to be done. None if the encoder's rate is unknown."""
    if rates.token is None and estimate.texts.value > 0:
        return None
    parts = [
        estimate.rows.times(rates.row),
        estimate.written.times(rates.chunk),
        estimate.tokens.times(rates.token or 0.0),
    ]
    # The parts err together: long documents have many chunks and many tokens.
    return Figure(sum(part.value for part in parts), sum(part.error for part in parts))


def estimate(sample: Sample, known: Known | None = None) -> Estimate:
    """What the windows tell; `known` replaces the count of documents, unless every record was read."""
    found = _Tables(sample)
    every = np.ones(sample.read, np.bool_)
    known = None if sample.whole else known
    value = _figures(found, sample, every, known)
    error = np.zeros_like(value) if sample.whole else _errors(found, sample, known, value)
    made = [Figure(float(v), float(e)) for v, e in zip(value, error, strict=True)]
    return Estimate(**{field.name: one for field, one in zip(fields(Estimate), made, strict=True)})


class _Tables:
    """The looks as columns."""

    def __init__(self, sample: Sample) -> None:
        looks = sample.looks
        numbers: dict[bytes, int] = {}
        for look in looks:
            if look.kind != "truncate":
                numbers.setdefault(look.key, len(numbers))
        newest = _newest(looks, whole=sample.whole)
        dead = np.ones(len(numbers), np.bool_)
        for key, look in newest.items():
            dead[numbers[key]] = look.kind != "document"
        keyed = [one for one in looks if one.kind != "truncate"]
        keys, key_windows = _once(
            _column(numbers[one.key] for one in keyed), _column(one.window for one in keyed), sample.read
        )
        gone = dead[keys]
        self.keys = Distinct(keys, key_windows, sample.read, sample.of)
        self.dead = Distinct(keys[gone], key_windows[gone], sample.read, sample.of)
        self.row_window = _column(one.window for one in looks if one.kind in ("document", "none"))
        standing = list(newest.values())
        self.window = _column(one.window for one in standing)
        self.live = np.array([one.kind == "document" for one in standing], np.bool_)
        self.was = np.array([one.was for one in standing], np.bool_)
        self.cut = np.array([one.window < sample.cut for one in standing], np.bool_)
        self.chunks = _column((one.chunks or 0) for one in standing)
        self.before = _column(one.before for one in standing)
        self.reusable = _column(one.reusable for one in standing)
        self.characters = _column(one.characters for one in standing)
        work = _replayed(looks)
        self.work_window = _column(one.window for one in work)
        self.work_chunks = _column((one.chunks or 0) for one in work)
        texts: NDArray[Any] = np.frombuffer(b"".join(one.needed for one in work), TEXT)
        windows = np.repeat(self.work_window, [len(one.needed) // TEXT.itemsize for one in work])
        _, first, which = np.unique(texts["text"], return_index=True, return_inverse=True)
        lengths = texts["tokens"][first].astype(np.float64)
        ids, text_windows = _once(which.astype(np.int64), windows, sample.read)
        clump = max(1.0, texts.size / max(sum(bool(one.needed) for one in work), 1))
        self.texts = Distinct(ids, text_windows, sample.cut, sample.of, None, clump)
        self.tokens = Distinct(ids, text_windows, sample.cut, sample.of, lengths, clump)


def _newest(looks: Sequence[Look], *, whole: bool) -> dict[bytes, Look]:
    """The newest row of each key that has not been removed or buried.

    The highest version, not the last: a worker that was frozen may write an older row after a newer.
    """
    dead_below: dict[int, int] = {}
    removed: dict[bytes, list[Look]] = {}
    for look in looks:
        if look.kind == "truncate":
            dead_below[look.partition] = max(look.version, dead_below.get(look.partition, 0))
        elif look.kind == "removed":
            removed.setdefault(look.key, []).append(look)
    rows = [look for look in looks if look.kind in ("document", "none")]
    # An epoch begins with a truncate of every partition, which a sample seldom meets.
    epoch = 0 if whole else max((epoch_of(look.version) for look in rows), default=0)
    begun = version(epoch, 0)
    newest: dict[bytes, Look] = {}
    for look in rows:
        if any(one.version >= look.version and one.offset > look.offset for one in removed.get(look.key, ())):
            continue
        known = newest.get(look.key)
        if known is None or (look.version, look.offset) > (known.version, known.offset):
            newest[look.key] = look
    return {
        key: look
        for key, look in newest.items()
        if look.version >= max(begun, dead_below.get(look.partition, 0))
    }


def _replayed(looks: Sequence[Look]) -> list[Look]:
    """What is cut and written on the way: of several records of a row in one window only the newest."""
    newest: dict[tuple[int, bytes], Look] = {}
    for look in looks:
        if look.kind in ("document", "none"):
            known = newest.get((look.window, look.key))
            if known is None or look.version >= known.version:
                newest[look.window, look.key] = look
    return [look for look in newest.values() if look.chunks is not None]


def _figures(found: _Tables, sample: Sample, keep: NDArray[np.bool_], known: Known | None) -> Counts:
    """In the order of Estimate's fields, from the windows that are kept."""
    read, cut = int(keep.sum()), int(keep[: sample.cut].sum())
    of = sample.of
    here = keep[found.window]
    now, was = int((here & found.live).sum()), int((here & found.was).sum())
    looked = here & found.cut & found.live
    of_looked = int(looked.sum())
    sums = [float(column[looked].sum()) for column in (found.chunks, found.reusable, found.characters)]
    means = np.array(sums) / max(of_looked, 1)
    documents = max(found.keys.among(keep) - found.dead.among(keep), 0.0)
    if known is not None and was:
        documents = known.documents * now / was
    chunks = documents * means[0]
    before = float(found.before[here & found.cut].sum())
    if known is not None and before:
        chunks = known.chunks * sums[0] / before
    per_chunk = np.array(sums[1:]) / max(sums[0], 1.0)
    texts, tokens = found.texts.among(keep), found.tokens.among(keep)
    rows = float(keep[found.row_window].sum()) * of / max(read, 1)
    written = float(found.work_chunks[keep[found.work_window]].sum()) * of / max(cut, 1)
    live_before = float(known.documents) if known is not None else documents * was / max(now, 1)
    scaled = chunks * per_chunk
    return np.array([documents, chunks, scaled[0], texts, tokens, rows, written, scaled[1], live_before])


def _errors(found: _Tables, sample: Sample, known: Known | None, value: Counts) -> Counts:
    """By the jackknife over groups of windows, less the nearer the sample is to the whole; and by doubt."""
    groups = min(_GROUPS, sample.cut)
    if groups < 2:  # noqa: PLR2004 - one group says nothing of its own error
        return np.abs(value)
    numbers = np.arange(sample.read)
    without = [_figures(found, sample, numbers % groups != group, known) for group in range(groups)]
    spread = np.sum((np.array(without) - np.mean(without, axis=0)) ** 2, axis=0)
    squares = (groups - 1) / groups * spread * (1 - sample.cut / sample.of)
    doubt = dict.fromkeys((field.name for field in fields(Estimate)), 0.0)
    doubt |= {"texts": found.texts.doubt, "tokens": found.tokens.doubt}
    if known is None:
        relative = float(np.hypot(found.keys.doubt, found.dead.doubt)) / max(value[0], 1.0)
        names = [field.name for field in fields(Estimate)]
        for name in ("documents", "chunks", "reusable", "characters", "before"):
            doubt[name] = relative * float(value[names.index(name)])
    errors: Counts = _DEVIATIONS * np.sqrt(squares + np.array(list(doubt.values())) ** 2)
    return errors


def _once(ids: Column, windows: Column, read: int) -> tuple[Column, Column]:
    """Each pair once."""
    pairs = np.unique(ids * max(read, 1) + windows)
    return pairs // max(read, 1), pairs % max(read, 1)


def _column(values: Any) -> Column:
    return np.fromiter(values, np.int64)
