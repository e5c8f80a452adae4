"""A column: an inverted index from the values of one field to documents.

A value is a string, a boolean, a number (kept as a 64-bit float), or a list of strings, which
counts as each of them. A long string is kept as a digest, which is enough to compare for equality.
The bitmaps that a column returns must not be modified: they may be its own.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

Key: TypeAlias = str | bytes | bool | float
Docnos: TypeAlias = NDArray[np.uint32]

MAX_STRING_CHARS = 32  # longer strings are kept as a digest, which takes 48 bytes
MAX_ARRAY_DOCNOS = 64  # up to here an array is smaller than a BitMap
MIN_COMMON_DOCNOS = 1024  # from here on a number has a BitMap of its own
MAX_UNSORTED = 1024  # numbers that wait to be merged, or
MAX_UNSORTED_SHARE = 32  # this part of all numbers (1/32), if that is more


def is_filterable(value: Any) -> bool:
    """Return whether filters can compare a value of this type."""
    if isinstance(value, str):
        return True
    if isinstance(value, int | float):
        return abs(value) <= sys.float_info.max
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def keys_of(value: Any) -> Iterable[Key]:
    """Return the keys of a value in the index. Only the key of a number is a float."""
    if isinstance(value, str):
        return (_key(value),)
    if isinstance(value, bool):
        return (value,)
    if isinstance(value, list):
        return {_key(item) for item in value}
    return (float(value),)


def _key(text: str) -> str | bytes:
    if len(text) <= MAX_STRING_CHARS:
        return text
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=15).digest()


class Column:
    """The documents that have the field and, if it is `compared`, their values."""

    __slots__ = ("_compared", "_exact", "_numbers", "present")

    def __init__(self, *, compared: bool) -> None:
        self.present = BitMap()
        self._compared = compared
        self._exact = ExactValues()
        self._numbers: Numbers | None = None

    def add(self, docno: int, value: Any) -> None:
        self.present.add(docno)
        if not self._compared:
            return
        for key in keys_of(value):
            if not isinstance(key, float):
                self._exact.add(docno, key)
                continue
            if self._numbers is None:
                self._numbers = Numbers()
            self._numbers.add(docno, key)

    def remove(self, docno: int, value: Any) -> None:
        self.present.remove(docno)
        if not self._compared:
            return
        for key in keys_of(value):
            if not isinstance(key, float):
                self._exact.remove(docno, key)
            elif self._numbers is not None:
                self._numbers.remove(docno, key)

    def equal(self, values: Iterable[Any]) -> BitMap:
        """Return the documents that have one of the values."""
        keys = [key for value in values for key in keys_of(value)]
        numbers = [key for key in keys if isinstance(key, float)]
        if not numbers:
            return self._exact.equal(keys)
        found = BitMap() if self._numbers is None else self._numbers.equal(numbers)
        others = [
            key for key in keys if not isinstance(key, float)
        ]  # True and 1.0 would be the same dict key
        return found | self._exact.equal(others) if others else found

    def between(self, low: float, high: float) -> BitMap:
        """Return the documents that have a number from `low` to `high`, both included."""
        return BitMap() if self._numbers is None else self._numbers.between(low, high)


class ExactValues:
    """Maps strings, digests and booleans to posting lists.

    Most values of a field such as a URL belong to one document, and a BitMap takes hundreds of
    bytes. So a posting list is an int, an array or a BitMap, depending on its length.
    """

    __slots__ = ("_postings",)

    def __init__(self) -> None:
        self._postings: dict[Key, int | array[int] | BitMap] = {}

    def add(self, docno: int, key: Key) -> None:
        postings = self._postings.get(key)
        if postings is None:
            self._postings[key] = docno
        elif isinstance(postings, BitMap):
            postings.add(docno)
        elif isinstance(postings, int):
            self._postings[key] = array("I", (postings, docno))
        else:
            postings.append(docno)
            if len(postings) > MAX_ARRAY_DOCNOS:
                self._postings[key] = BitMap(postings)

    def remove(self, docno: int, key: Key) -> None:
        postings = self._postings[key]
        if not isinstance(postings, int):
            postings.remove(docno)
            if postings:
                return
        del self._postings[key]

    def equal(self, keys: Iterable[Key]) -> BitMap:
        few = array("I")
        many: list[BitMap] = []
        for key in keys:
            postings = self._postings.get(key)
            if isinstance(postings, BitMap):
                many.append(postings)
            elif isinstance(postings, int):
                few.append(postings)
            elif postings is not None:
                few.extend(postings)
        return _union(few, many)


class Numbers:
    """Arrays of values and docnos, sorted by value.

    New numbers stay unsorted until there are enough of them to be merged. A removed number is
    overwritten with the tombstone docno 0 and dropped by the next merge. A value that very many
    documents have is kept as a BitMap instead, which would be slow to build for each query.
    """

    __slots__ = (
        "_common",
        "_docnos",
        "_tombstones",
        "_unsorted_docnos",
        "_unsorted_values",
        "_values",
    )

    def __init__(self) -> None:
        self._common: dict[float, BitMap] = {}
        self._values: NDArray[np.float64] = np.empty(0, np.float64)
        self._docnos: Docnos = np.empty(0, np.uint32)
        self._unsorted_values = array("d")
        self._unsorted_docnos = array("I")
        self._tombstones = 0

    def add(self, docno: int, value: float) -> None:
        common = self._common.get(value)
        if common is not None:
            common.add(docno)
            return
        self._unsorted_values.append(value)
        self._unsorted_docnos.append(docno)
        if len(self._unsorted_docnos) > max(MAX_UNSORTED, len(self._docnos) // MAX_UNSORTED_SHARE):
            self._merge()

    def remove(self, docno: int, value: float) -> None:
        common = self._common.get(value)
        if common is not None:
            common.remove(docno)
            if not common:
                del self._common[value]
            return
        start, stop = self._range_of(value, value)
        at = np.flatnonzero(self._docnos[start:stop] == docno)
        if at.size:
            self._docnos[start + at[0]] = 0
        else:
            at = np.flatnonzero(np.array(self._unsorted_docnos) == docno)
            self._unsorted_docnos[at[0]] = 0
        self._tombstones += 1
        if self._tombstones * 2 > len(self._docnos) + len(self._unsorted_docnos):
            self._merge()

    def equal(self, values: Sequence[float]) -> BitMap:
        wanted = np.array(values)
        starts = self._values.searchsorted(wanted, "left").tolist()
        stops = self._values.searchsorted(wanted, "right").tolist()
        runs = zip(starts, stops, strict=True)
        found = [self._docnos[start:stop] for start, stop in runs if start < stop]
        found.append(self._unsorted(np.isin(np.array(self._unsorted_values), wanted)))
        common = [self._common[value] for value in values if value in self._common]
        return _union(_sorted_docnos(found), common)

    def between(self, low: float, high: float) -> BitMap:
        start, stop = self._range_of(low, high)
        unsorted = np.array(self._unsorted_values)
        found = [self._docnos[start:stop], self._unsorted((unsorted >= low) & (unsorted <= high))]
        common = [docnos for value, docnos in self._common.items() if low <= value <= high]
        return _union(_sorted_docnos(found), common)

    def _range_of(self, low: float, high: float) -> tuple[int, int]:
        start = self._values.searchsorted(low, "left")
        stop = self._values.searchsorted(high, "right")
        return int(start), int(stop)

    def _unsorted(self, chosen: NDArray[np.bool_]) -> Docnos:
        docnos: Docnos = np.array(self._unsorted_docnos)
        return docnos[chosen]

    def _merge(self) -> None:
        """Sort new numbers into the arrays, drop removed ones, and move common values out."""
        values = np.concatenate((self._values, np.array(self._unsorted_values)))
        docnos = np.concatenate((self._docnos, np.array(self._unsorted_docnos)))
        alive = np.flatnonzero(docnos)
        order = alive[np.argsort(values[alive], kind="stable")]  # fast on mostly sorted input
        self._values, self._docnos = values[order], docnos[order]
        self._unsorted_values, self._unsorted_docnos, self._tombstones = array("d"), array("I"), 0
        self._move_common()

    def _move_common(self) -> None:
        first, last = self._values[: 1 - MIN_COMMON_DOCNOS], self._values[MIN_COMMON_DOCNOS - 1 :]
        rest = np.ones(len(self._values), np.bool_)
        for value in np.unique(first[first == last]).tolist():
            start, stop = self._range_of(value, value)
            self._common[value] = _union(_sorted_docnos([self._docnos[start:stop]]), [])
            rest[start:stop] = False
        if not rest.all():
            self._values, self._docnos = self._values[rest], self._docnos[rest]


def _sorted_docnos(pieces: Sequence[Docnos]) -> array[int]:
    """Drop tombstones and sort, because a BitMap is built much faster from sorted docnos."""
    docnos = np.sort(np.concatenate(pieces))
    return array("I", docnos[docnos.searchsorted(1) :].tobytes())


def _union(few: array[int], many: Sequence[BitMap]) -> BitMap:
    if not few and len(many) == 1:
        return many[0]
    return BitMap(few).union(*many)
