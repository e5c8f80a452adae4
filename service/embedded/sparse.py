"""TEMPORARY"""

from __future__ import annotations

import numpy as np


def pack(i, v):
    o = np.argsort(i)
    return np.asarray(i, np.uint32)[o].tobytes() + np.asarray(v, np.float32)[o].tobytes()


def unpack(raw):
    n = len(raw) // 8
    return np.frombuffer(raw[: 4 * n], np.uint32), np.frombuffer(raw[4 * n :], np.float32)


class SparseView:
    def __init__(self, folder):
        self.applied = 0
        self.d = {}

    def load(self):
        return False

    def save(self, seq):
        self.applied = seq

    def apply(self, added, removed):
        for k in removed:
            self.d.pop(k, None)
        for k, r in added:
            self.d[k] = unpack(r)

    def __len__(self):
        return len(self.d)

    def search(self, indices, values, k, among=None):
        w = dict(zip(list(map(int, indices)), values))
        out = []
        for d, (i, v) in self.d.items():
            if among is not None and d not in among:
                continue
            hit = [w[a] * b for a, b in zip(i.tolist(), v.tolist()) if a in w]
            if hit:
                out.append((d, float(sum(hit))))
        return sorted(out, key=lambda p: (-p[1], p[0]))[:k]
