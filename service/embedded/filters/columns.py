"""One field of many documents: which of them have which value.

Knows nothing of filters, namespaces or other fields. A value is a string, a boolean, a list of
strings, which counts as each of them, or a number, which is a 64-bit float. Of a long string there
is only a digest: enough to find the same string again.

Every BitMap that comes out of here is for reading only: it may be the column's own.
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

LONGEST = 32  # characters of a string that is kept as it is: a digest takes 48 bytes
FEW = 64  # documents up to which an array is smaller than a BitMap
COMMON = 1024  # documents from which a number has a BitMap of its own
RECENT = 1024  # numbers that may wait for being sorted, or
SHARE = 32  # one in so many, if that is more


def is_value(value: Any) -> bool:
    """Whether it is of a shape that a filter can speak of."""
    if isinstance(value, str):
        return True
    if isinstance(value, int | float):
        return abs(value) <= sys.float_info.max
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def keys_of(value: Any) -> Iterable[Key]:
    """What a value is found by. Of all keys only a number's is a float."""
    if isinstance(value, str):
        return (_key(value),)
    if isinstance(value, bool):
        return (value,)
    if isinstance(value, list):
        return {_key(item) for item in value}
    return (float(value),)


def _key(text: str) -> str | bytes:
    if len(text) <= LONGEST:
        return text
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=15).digest()


class Column:
    """Who has the field, and, if it is `compared`, with which value."""

    __slots__ = ("_compared", "_exact", "_numbers", "present")

    def __init__(self, *, compared: bool) -> None:
        self.present = BitMap()
        self._compared = compared
        self._exact = Exact()
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
        """Who has one of the values."""
        keys = [key for value in values for key in keys_of(value)]
        numbers = [key for key in keys if isinstance(key, float)]
        if not numbers:
            return self._exact.equal(keys)
        found = BitMap() if self._numbers is None else self._numbers.equal(numbers)
        others = [key for key in keys if not isinstance(key, float)]  # for a dict, True is 1.0
        return found | self._exact.equal(others) if others else found

    def between(self, low: float, high: float) -> BitMap:
        """Who has a number from `low` up to `high`, both included."""
        return BitMap() if self._numbers is None else self._numbers.between(low, high)


class Exact:
    """Strings, digests and booleans: for each the documents that have it.

    Most values of a field such as a URL belong to one document, and a BitMap takes hundreds of
    bytes. So one document is a bare int, a few are an array, and only many are a BitMap.
    """

    __slots__ = ("_having",)

    def __init__(self) -> None:
        self._having: dict[Key, int | array[int] | BitMap] = {}

    def add(self, docno: int, key: Key) -> None:
        having = self._having.get(key)
        if having is None:
            self._having[key] = docno
        elif isinstance(having, BitMap):
            having.add(docno)
        elif isinstance(having, int):
            self._having[key] = array("I", (having, docno))
        else:
            having.append(docno)
            if len(having) > FEW:
                self._having[key] = BitMap(having)

    def remove(self, docno: int, key: Key) -> None:
        having = self._having[key]
        if not isinstance(having, int):
            having.remove(docno)
            if having:
                return
        del self._having[key]

    def equal(self, keys: Iterable[Key]) -> BitMap:
        few = array("I")
        many: list[BitMap] = []
        for key in keys:
            having = self._having.get(key)
            if isinstance(having, BitMap):
                many.append(having)
            elif isinstance(having, int):
                few.append(having)
            elif having is not None:
                few.extend(having)
        return _union(few, many)


class Numbers:
    """Numbers, in order: arrays of value and docno that are sorted by value.

    What is new waits unsorted until there is enough of it to be worth merging. What is removed
    gets the docno 0, which no document has, and goes when the arrays are merged. A value that very
    many documents have is kept apart as a BitMap, or finding it would mean building one.
    """

    __slots__ = ("_common", "_docnos", "_gone", "_recent_docnos", "_recent_values", "_values")

    def __init__(self) -> None:
        self._common: dict[float, BitMap] = {}
        self._values: NDArray[np.float64] = np.empty(0, np.float64)
        self._docnos: Docnos = np.empty(0, np.uint32)
        self._recent_values = array("d")
        self._recent_docnos = array("I")
        self._gone = 0

    def add(self, docno: int, value: float) -> None:
        common = self._common.get(value)
        if common is not None:
            common.add(docno)
            return
        self._recent_values.append(value)
        self._recent_docnos.append(docno)
        if len(self._recent_docnos) > max(RECENT, len(self._docnos) // SHARE):
            self._merge()

    def remove(self, docno: int, value: float) -> None:
        common = self._common.get(value)
        if common is not None:
            common.remove(docno)
            if not common:
                del self._common[value]
            return
        start, stop = self._run(value, value)
        at = np.flatnonzero(self._docnos[start:stop] == docno)
        if at.size:
            self._docnos[start + at[0]] = 0
        else:
            at = np.flatnonzero(np.array(self._recent_docnos) == docno)
            self._recent_docnos[at[0]] = 0
        self._gone += 1
        if self._gone * 2 > len(self._docnos) + len(self._recent_docnos):
            self._merge()

    def equal(self, values: Sequence[float]) -> BitMap:
        wanted = np.array(values)
        starts = self._values.searchsorted(wanted, "left").tolist()
        stops = self._values.searchsorted(wanted, "right").tolist()
        runs = zip(starts, stops, strict=True)
        found = [self._docnos[start:stop] for start, stop in runs if start < stop]
        found.append(self._recent(np.isin(np.array(self._recent_values), wanted)))
        common = [self._common[value] for value in values if value in self._common]
        return _union(_sorted(found), common)

    def between(self, low: float, high: float) -> BitMap:
        start, stop = self._run(low, high)
        recent = np.array(self._recent_values)
        found = [self._docnos[start:stop], self._recent((recent >= low) & (recent <= high))]
        common = [having for value, having in self._common.items() if low <= value <= high]
        return _union(_sorted(found), common)

    def _run(self, low: float, high: float) -> tuple[int, int]:
        start = self._values.searchsorted(low, "left")
        stop = self._values.searchsorted(high, "right")
        return int(start), int(stop)

    def _recent(self, chosen: NDArray[np.bool_]) -> Docnos:
        docnos: Docnos = np.array(self._recent_docnos)
        return docnos[chosen]

    def _merge(self) -> None:
        """Sort what is new into the rest, drop what is gone, take out what has become common."""
        values = np.concatenate((self._values, np.array(self._recent_values)))
        docnos = np.concatenate((self._docnos, np.array(self._recent_docnos)))
        alive = np.flatnonzero(docnos)
        order = alive[np.argsort(values[alive], kind="stable")]  # quick, as most of it is in order
        self._values, self._docnos = values[order], docnos[order]
        self._recent_values, self._recent_docnos, self._gone = array("d"), array("I"), 0
        self._take_out_common()

    def _take_out_common(self) -> None:
        first, last = self._values[: 1 - COMMON], self._values[COMMON - 1 :]
        rest = np.ones(len(self._values), np.bool_)
        for value in np.unique(first[first == last]).tolist():
            start, stop = self._run(value, value)
            self._common[value] = _union(_sorted([self._docnos[start:stop]]), [])
            rest[start:stop] = False
        if not rest.all():
            self._values, self._docnos = self._values[rest], self._docnos[rest]


def _sorted(pieces: Sequence[Docnos]) -> array[int]:
    """The docnos that are left of these: a BitMap is much sooner made of sorted ones."""
    docnos = np.sort(np.concatenate(pieces))
    return array("I", docnos[docnos.searchsorted(1) :].tobytes())


def _union(few: array[int], many: Sequence[BitMap]) -> BitMap:
    if not few and len(many) == 1:
        return many[0]
    return BitMap(few).union(*many)
