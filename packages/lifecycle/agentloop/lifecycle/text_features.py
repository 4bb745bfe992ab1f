"""Text columns as numbers: words and runs of words, weighted by rarity or counted in hashed slots.

A word is a run of letters, digits and underscores of any script, in lower case; a term is one word
or up to ``ngrams`` words in a row, joined by a space. Only the first ``MAX_TEXT_CHARS`` characters
of a text are read. A null, and a text of unknown terms alone, is all zeros.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from agentloop.lifecycle.raw_values import to_texts

# About 1,600 English words: what a request may cost stays bounded.
MAX_TEXT_CHARS = 10_000
MIN_ROWS_OF_A_TERM = 2
# Terms counted at once (some 200 MB): past it the rarest are forgotten.
MAX_COUNTED_TERMS = 2_000_000
_WORD = re.compile(r"\w+")
_SIGN_BIT = 1 << 31

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TextFeature:
    """``tfidf``: one column for each of ``terms`` (sorted), weighted by its ``idf``. ``hash``:
    ``slots`` columns, which share all terms. Rows have length 1."""

    name: str
    encoding: Literal["tfidf", "hash"]
    ngrams: int
    terms: tuple[str, ...] = ()
    idf: tuple[float, ...] = ()
    slots: int = 0

    @property
    def width(self) -> int:
        return self.slots if self.encoding == "hash" else len(self.terms)


class TextEncoder:
    """A TextFeature with its constants laid out once."""

    def __init__(self, feature: TextFeature) -> None:
        self.feature = feature
        self._index = {term: place for place, term in enumerate(feature.terms)}
        self._idf = np.array(feature.idf)

    def fill(self, block: Matrix, values: npt.NDArray[Any] | Sequence[Any]) -> None:
        """Write (rows, width) of raw ``values`` (rows,) into ``block``, which is all zeros.

        A row is the same whatever rows are beside it: its sums run over its own columns in order.
        """
        width = self.feature.width
        places = [self._places(text) for text in to_texts(values)]
        rows = np.repeat(np.arange(len(places)), [len(row) for row in places])
        columns = np.fromiter(chain.from_iterable(places), np.int64, len(rows))
        if self.feature.encoding == "hash":
            # A place below zero is ~place with sign -1.
            signs = np.where(columns < 0, -1.0, 1.0)
            keys, inverse = _unique(rows * width + np.where(columns < 0, ~columns, columns))
            weights = np.bincount(inverse, signs, len(keys))
        else:
            keys, inverse = _unique(rows * width + columns)
            weights = np.bincount(inverse, minlength=len(keys)) * self._idf[keys % width]
        row, column = keys // width, keys % width
        length = np.sqrt(np.bincount(row, weights**2, len(places)))
        length[length == 0] = 1.0
        block[row, column] = weights / length[row]

    def _places(self, text: str | None) -> list[int]:
        if not text or not self.feature.width:
            return []
        terms = terms_of(text, self.feature.ngrams)
        if self.feature.encoding == "hash":
            return [_slot(term, self.feature.slots) for term in terms]
        return [place for place in map(self._index.get, terms) if place is not None]


def words_of(text: str) -> list[str]:
    """The lower-case words of a text's beginning."""
    return _WORD.findall(text[:MAX_TEXT_CHARS].lower())


def terms_of(text: str, ngrams: int) -> list[str]:
    """Words, then runs of two words, and so on up to ``ngrams``."""
    words = words_of(text)
    runs = [zip(*(words[k:] for k in range(size)), strict=False) for size in range(2, ngrams + 1)]
    return [*words, *map(" ".join, chain.from_iterable(runs))]


def word_counts(values: npt.NDArray[Any] | Sequence[Any]) -> npt.NDArray[np.float64]:
    """float64 (rows,): how many words each text has; NaN for null."""
    texts = to_texts(values)
    return np.array([np.nan if text is None else len(words_of(text)) for text in texts], np.float64)


def fit_tfidf(name: str, values: npt.NDArray[Any], terms: int, ngrams: int) -> TextFeature:
    """The ``terms`` terms that are in most rows (two at least; ties in alphabetical order).

    idf is ln((1 + rows) / (1 + rows with the term)) + 1, and a row is divided by its Euclidean
    length: scikit-learn's TfidfVectorizer, user guide 7.2.3.4 ("smooth_idf").
    """
    texts = to_texts(values)
    counts = _rows_of_terms(texts, ngrams)
    seen = [(-count, term) for term, count in counts.items() if count >= MIN_ROWS_OF_A_TERM]
    chosen = sorted(term for _, term in sorted(seen)[:terms])
    among = np.array([counts[term] for term in chosen], np.float64)
    idf = np.log((1 + len(texts)) / (1 + among)) + 1
    return TextFeature(name, "tfidf", ngrams, tuple(chosen), tuple(idf.tolist()))


def fit_hash(name: str, slots: int, ngrams: int) -> TextFeature:
    """Nothing is learnt: terms fall in ``slots`` by their hash, with a sign, so that collisions
    cancel on average (Weinberger et al., arXiv 0902.2206)."""
    return TextFeature(name, "hash", ngrams, slots=slots)


def _rows_of_terms(texts: list[str | None], ngrams: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text in _present(texts):
        counts.update(set(terms_of(text, ngrams)))
        if len(counts) > MAX_COUNTED_TERMS:
            counts = _without_the_rarest(counts)
    return counts


def _without_the_rarest(counts: Counter[str]) -> Counter[str]:
    """At most half as many: a term that is forgotten and comes back counts too few rows."""
    floor = 1
    while len(counts) > MAX_COUNTED_TERMS // 2:
        counts = Counter({term: count for term, count in counts.items() if count > floor})
        floor += 1
    return counts


def _present(texts: list[str | None]) -> Iterator[str]:
    return (text for text in texts if text)


def _slot(term: str, slots: int) -> int:
    # surrogatepass: a lone surrogate, which JSON may hold, has no plain UTF-8.
    code = zlib.crc32(term.encode("utf-8", "surrogatepass"))
    place = (code & (_SIGN_BIT - 1)) % slots
    return ~place if code & _SIGN_BIT else place


def _unique(keys: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp]]:
    unique, inverse = np.unique(keys, return_inverse=True)
    return unique, inverse.astype(np.intp)
