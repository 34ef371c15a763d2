"""What a new generation would hold and cost, from some or all records of a state topic. Pure.

The topic is divided into windows of some tens of records; windows are drawn at random, without
replacement, and each record in them is looked at. Sums scale by the share of windows. What counts
once however often it stands in the topic (a row with older records of it, a text that many rows
share) is estimated from how many were met in one window and in two: the lower bound of Chao and Lin
(2012) for samples without replacement, which is exact where nothing repeats, and once all is read.

A replay embeds what it meets: a record that a later one replaces costs its texts too, unless both are
met in one batch, or a truncate has ended it. So texts and tokens are those of all such records, documents
and chunks those of the newest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embed.distinct import Column, Counts, Distinct
from embed.looks import TEXT, Later, Look, alive, newest, replayed

CONFIDENCE: Final = 0.95
"""That the true figure is within `error` of the value."""

_DEVIATIONS: Final = 1.96
"""The same, in standard deviations."""

_GROUPS: Final = 20
"""Groups of windows of the jackknife: the figures are computed again without each."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The looks at `read` windows out of `of`. Of the first `cut` windows the texts were cut."""

    looks: Sequence[Look]
    read: int
    cut: int
    of: int
    later: Sequence[Later] = ()
    """What follows windows that were cut, for the length of a batch."""

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
    """Records of rows that are replayed, without those that a truncate has ended."""
    written: Figure
    """Chunks that are written on the way, of records too that one in a later batch replaces."""
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


def record_seconds(sample: Sample, rates: Rates, batch: int) -> float:
    """Of one record in a replay by such batches, as the windows tell. The encoder's part must be known."""
    rows = [one for one in alive(sample.looks, whole=sample.whole) if one.chunks is not None]
    work = replayed(rows, sample.later, batch)
    texts: NDArray[Any] = np.frombuffer(b"".join(one.needed for one in work), TEXT)
    tokens = float(texts["tokens"][np.unique(texts["text"], return_index=True)[1]].sum())
    spent = len(rows) * rates.row + sum(one.chunks or 0 for one in work) * rates.chunk
    met = sum(one.window < sample.cut for one in sample.looks)
    return (spent + tokens * (rates.token or 0.0)) / max(met, 1)


def estimate(sample: Sample, known: Known | None = None, batch: int = 1) -> Estimate:
    """What the windows tell; `known` replaces the count of documents, unless every record was read.

    `batch`: offsets of one partition that a replay takes at a time.
    """
    found = _Tables(sample, batch)
    every = np.ones(sample.read, np.bool_)
    known = None if sample.whole else known
    value = _figures(found, sample, every, known)
    error = np.zeros_like(value) if sample.whole else _errors(found, sample, known, value)
    made = [Figure(float(v), float(e)) for v, e in zip(value, error, strict=True)]
    return Estimate(**{field.name: one for field, one in zip(fields(Estimate), made, strict=True)})


class _Tables:
    """The looks as columns."""

    def __init__(self, sample: Sample, batch: int) -> None:
        looks = sample.looks
        rows = alive(looks, whole=sample.whole)
        numbers: dict[bytes, int] = {}
        for look in looks:
            if look.kind != "truncate":
                numbers.setdefault(look.key, len(numbers))
        stand = newest(rows, looks)
        dead = np.ones(len(numbers), np.bool_)
        for key, look in stand.items():
            dead[numbers[key]] = look.kind != "document"
        keyed = [one for one in looks if one.kind != "truncate"]
        keys, key_windows = _once(
            _column(numbers[one.key] for one in keyed), _column(one.window for one in keyed), sample.read
        )
        gone = dead[keys]
        self.keys = Distinct(keys, key_windows, sample.read, sample.of)
        self.dead = Distinct(keys[gone], key_windows[gone], sample.read, sample.of)
        self.row_window = _column(one.window for one in rows)
        standing = list(stand.values())
        self.window = _column(one.window for one in standing)
        self.live = np.array([one.kind == "document" for one in standing], np.bool_)
        self.was = np.array([one.was for one in standing], np.bool_)
        self.cut = np.array([one.window < sample.cut for one in standing], np.bool_)
        self.chunks = _column((one.chunks or 0) for one in standing)
        self.before = _column(one.before for one in standing)
        self.reusable = _column(one.reusable for one in standing)
        self.characters = _column(one.characters for one in standing)
        work = replayed(rows, sample.later, batch)
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
