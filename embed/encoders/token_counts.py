"""Token counts of texts from those of their words.

A text is counted whenever it is cut, also where it has not changed since the last time: counting
was three quarters of a replay. BERT's tokenizer never looks across white space, so a text's count is
the sum of its words' counts, and prose says the same words again and again.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

Count: TypeAlias = Callable[[Sequence[str]], Iterable[int]]

MOST_BYTES: Final = 1 << 24
"""Of remembered words, about: some hundred thousand. Then they are forgotten."""

_WORD_BYTES: Final = 120
"""Of a remembered word beside its characters."""


def adds_up(tokenizer: Tokenizer) -> bool:
    """Whether the counts of words between white space add up to that of their text."""
    return (
        isinstance(tokenizer.model, WordPiece)
        and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        and isinstance(tokenizer.normalizer, BertNormalizer)
    )


class WordCounts:
    """Counts texts with a tokenizer that `adds_up`; `count` asks it, without the model's own marks.

    Exact for every text. Raises what `count` raises. May be called from several threads.
    """

    def __init__(self, count: Count) -> None:
        self._count = count
        self._known: dict[str, int] = {"": 0}
        self._bytes = 0

    def __call__(self, texts: Sequence[str]) -> list[int]:
        split = [_words(text) for text in texts]
        known = self._known
        missing = list(set().union(*split).difference(known))
        if missing:
            known.update(zip(missing, self._count(missing), strict=True))
            self._bytes += sum(map(len, missing)) + _WORD_BYTES * len(missing)
            if self._bytes > MOST_BYTES:
                self._known, self._bytes = {"": 0}, 0
        return [sum(map(known.__getitem__, words)) for words in split]


def _words(text: str) -> list[str]:
    """Only at these four: the tokenizer removes other controls, and what they part is one word to it."""
    return text.replace("\n", " ").replace("\t", " ").replace("\r", " ").split(" ")
