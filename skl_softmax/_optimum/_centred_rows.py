"""Rows seen through a centre, a block at a time: ``x_i - m`` for dense or dense-like CSR X.

With centred rows the Hessian of the loss has (nearly) no entry that couples weights and intercept.
The scores and their gradient never need the centred rows themselves:

    (X - 1 m^T) W + b = X W + (b - m^T W)          (X - 1 m^T)^T R = X^T R - m (1^T R)

Where some ``|m_j|`` is many times the deviation of its column, the right sides would lose digits,
so there a block is centred as it is read. X is never copied whole and never written.
"""

from copy import copy
from functools import cached_property
from math import gcd
from typing import Any

import numpy as np
from scipy import sparse

from skl_softmax._optimum import _kernels
from skl_softmax._optimum._certificate import Outlying
from skl_softmax._rows import are_all
from skl_softmax._softmax import Codes, Floats

_BLOCK_ENTRIES = 1 << 18  # of X, read at a time: both products of a pass find them in the cache
_BLOCK_ROWS = 1 << 13  # at most: their scores and float64 copies too; C of elec2 2.5 -> .3 ms
_HELD_ENTRIES = 1 << 16  # an X of at most so many entries is held centred, in float64 (512 KB)
_OUTLYING = 10.0  # n median squared lengths, beyond which a row is not trusted whole: the only
# non-zero of a column has n, and CG can correct the metric for some such rows, not for thousands
_FEW_OUTLYING = 64  # rows that are moved one by one for a bound of the gap
_LONG = 1e4  # median squared lengths
_VARIED = 1e-12  # of a column's mean square about a row: a variance that is none
_ROUNDS = 8  # of trust at most; each tells more of a row that had hidden the others
_LARGE = 1e15  # entries whose squares, summed, would leave float32
_TOGETHER = 64  # numbers that make a row long, and rows at a time
_MANY = 1 << 12  # numbers for which that is worth the trouble
# Below such a mean square a column counts as constant: steps and metrics, which are some hundreds
# over it, would leave the floats of X.
LEAST_SQUARE = {np.dtype(np.float64): 1e-300, np.dtype(np.float32): 1e-38}
_FAR = 30.0  # |m_j| in deviations from where a block is centred before it is multiplied


def measurable(squares: Floats, dtype: np.dtype[np.floating]) -> Floats:
    """The squares of columns of X, and 0 for those that count as constant."""
    return np.where(squares < LEAST_SQUARE[dtype], 0, squares)


def by_rows(ufunc: np.ufunc, B: Floats, row: Floats, in_place: bool = False) -> Floats:
    """``ufunc(B, row)``, many short rows taken several at a time: NumPy loops along one.

    Adding to 45312 rows of 2 took .2 ms, and takes .03.
    """
    short = B.size > _MANY and len(row) < _TOGETHER and B.flags.c_contiguous
    together = gcd(len(B), _TOGETHER) if short else 1
    wide = B
    if together > 1:
        wide = B.reshape(len(B) // together, together * len(row))
        row = np.tile(row, together)
    found: Floats = ufunc(wide, row, out=wide if in_place else None)
    return found.reshape(B.shape)


class CentredRows:
    """Products of the rows ``rows`` of X with small matrices; weights have mean 1 over them.

    Attributes
    ----------
    centre : (n_features,) float64, mean of the columns, 0 without intercept
    deviation : (n_features,) float64, root mean square about the centre
    lengths : (n,) float64, squared lengths of the rows in columns of deviation 1
    trust : (n,), share of its weight that a row has in these moments, and may have in a metric:
        less than 1 where it is so much longer than others that they would leave no digits of them
    trusted : (n,) float64, that part of the weights
    offset : (n_features,) float64, what rows as they are `read` have still to be taken less
    """

    def __init__(self, X: Any, y: Codes, weight: Floats, rows: Codes, fit_intercept: bool) -> None:
        self.n, self.d = len(rows), X.shape[1]
        self.dtype = X.dtype
        self._X, self._rows = X, None if are_all(rows, X.shape[0]) else rows
        self.y = y if self._rows is None else y[rows]
        self.weight = weight if self._rows is None else weight[rows]
        self._size = min(max(16, _BLOCK_ENTRIES // max(1, self.d)), _BLOCK_ROWS)
        self.fit_intercept = fit_intercept
        self._shift: Floats | None = None
        self._held: Floats | None = None
        if self.n * self.d <= _HELD_ENTRIES:
            self._held = self.read(slice(None)).astype(np.float64)
            self.dtype = np.dtype(np.float64)
            self.weight = self.weight.astype(np.float64)
        self._measure()

    def _measure(self) -> None:
        """Centre, deviation and lengths, and what is subtracted from a block as it is read."""
        self.trust, self.lengths = np.ones(self.n), np.zeros(self.n)
        self.deviation = np.zeros(self.d)
        for _ in range(_ROUNDS):
            self._learn_moments()
            longest = float(self.lengths.max())
            if 2 * np.count_nonzero(self.lengths >= longest / (_OUTLYING * self.n)) > self.n:
                break  # the median is long enough, and it need not be found
            most = _OUTLYING * self.n * np.median(self.lengths)
            allowed = most / np.maximum(self.lengths, 1e-300)
            trust = np.minimum(allowed, self.trust)
            if not (allowed.min() > 0 and np.any(trust < 0.5 * self.trust)):
                break
            self.trust = trust
        self.trusted = self.weight * self.trust
        far = np.abs(self.centre) > _FAR * self.deviation
        # A constant column becomes exactly zero.
        self.offset = np.zeros(self.d)
        if self._held is not None:
            self._held -= self.centre
        elif far.any():
            self._shift = self.centre.astype(self.dtype)
        else:
            self.offset = self.centre

    def _learn_moments(self) -> None:
        """In float64, by the sums about a first row that is trusted (Chan et al., 1983)."""
        weight = self.weight * self.trust
        i = int(self.trust.argmax())
        first = self.read(slice(i, i + 1)).astype(np.float64)[0]
        if not self.fit_intercept:
            first[:] = 0
        total, square = np.zeros(self.d), np.zeros(self.d)
        own = np.zeros((2, self.d))  # of the rows that are trusted whole
        whole = self.weight * (self.trust == 1) if self.trust.min() < 1 else None
        for block in self.blocks():
            B: Floats = self._away(block, first).astype(np.float64, copy=False)
            s = weight[block]
            total += s @ B
            own[0] += 0 if whole is None else whole[block] @ B
            B *= B
            square += s @ B
            own[1] += 0 if whole is None else whole[block] @ B
        total /= weight.sum()
        square /= weight.sum()
        self.centre = first * 0.0
        if self.fit_intercept:
            self.centre = (first + total).astype(self.dtype).astype(np.float64)
            square -= total * total
        deviation = np.sqrt(measurable(square, self._X.dtype))
        if whole is not None:
            # Where only rows vary that are not trusted, there are no others to be hidden by them.
            total, squares = own / max(float(whole.sum()), 1e-300)
            alone = squares - total**2 <= _VARIED * squares
            deviation = np.where(alone, self.deviation, deviation)
        self.deviation = deviation
        self.lengths = np.empty(self.n)
        unit = 1 / np.where(self.deviation > 0, self.deviation, 1)
        for block in self.blocks():
            B = self._away(block, self.centre)
            by_rows(np.multiply, B, unit.astype(self.dtype), in_place=True)
            B *= B
            if self.trust[block].min() < 1:
                # As if the row were trusted: the only non-zero of a column is not longer for it.
                held = (self.weight[block] * (1 - self.trust[block]) / self.n)[:, None]
                B = B / (1 + held * B)
            self.lengths[block] = B @ np.ones(self.d, B.dtype)

    def _away(self, block: slice, point: Floats) -> Floats:
        """Rows less a point, in float64 where their squares would overflow."""
        B = by_rows(np.subtract, self.read(block), point.astype(self.dtype))
        if B.dtype == np.float32 and max(B.max(), -B.min()) > _LARGE:
            return B.astype(np.float64)
        return B

    @cached_property
    def outlying(self) -> Outlying:
        """The longest rows, if much longer than most."""
        long = np.empty(0, np.intp)
        if 2 * np.count_nonzero(self.lengths >= self.lengths.max() / _LONG) <= self.n:
            long = np.flatnonzero(self.lengths > _LONG * np.median(self.lengths))
        at = np.sort(long[np.argsort(-self.lengths[long], kind="stable")[:_FEW_OUTLYING]])
        return Outlying(at, self.centred(at).astype(np.float64))

    def some(self, index: Codes, weight: Floats) -> "CentredRows":
        """The rows at ``index``, of mean weight 1, through the same centre; held."""
        some = copy(self)
        vars(some).pop("outlying", None)
        some.n = len(index)
        some.y, some.weight = self.y[index], weight.astype(self.dtype)
        some.lengths, some.trust = self.lengths[index], self.trust[index]
        some.trusted = some.weight * some.trust
        some._held = self.centred(index)
        some.offset = np.zeros(self.d)
        return some

    def blocks(self, n: int | None = None, stride: int = 1) -> list[slice]:
        """Slices of n (or all) positions; with a stride, of every stride-th one."""
        n, size = self.n if n is None else n, self._size * stride
        return [slice(i, min(i + size, n), stride) for i in range(0, n, size)]

    def read(self, block: slice | Codes) -> Any:
        """The rows at ``block``, dense, in the working dtype; centred where that is needed."""
        if self._held is not None:
            return self._held[block]
        B = self._X[block if self._rows is None else self._rows[block]]
        if sparse.issparse(B):
            B = B.toarray()
        return B if self._shift is None else B - self._shift

    def centred(self, block: slice | Codes) -> Floats:
        """The centred rows at ``block``, a copy."""
        B = self.read(block)
        offset = self.offset.astype(self.dtype)
        # NumPy has made a copy of rows at positions.
        return by_rows(np.subtract, B, offset, in_place=not isinstance(block, slice))

    def scores(self, W: Floats, b: Floats, block: slice | Codes, B: Any = None) -> Floats:
        """``(x_i - m) W + b`` of the rows at ``block``."""
        B = self.read(block) if B is None else B
        Z = B @ W.astype(self.dtype)
        if self._held is None:
            b = b - self.offset @ W
        return by_rows(np.add, Z, b.astype(self.dtype), in_place=True)

    def all_scores(self, W: Floats, b: Floats) -> Floats:
        """Scores of all rows, (n, n_classes)."""
        Z = np.empty((self.n, W.shape[1]), self.dtype)
        for block in self.blocks():
            Z[block] = self.scores(W, b, block)
        return Z

    def sums(self, B: Any, R: Floats) -> tuple[Floats, Floats]:
        """Sums over the rows B of ``x^T r``, not yet centred, and of ``r``."""
        return B.T @ R, np.ones(len(R), R.dtype) @ R

    def centre_gradient(self, G: Floats, g: Floats) -> tuple[Floats, Floats]:
        """From sums over rows to the centred mean gradient."""
        if self._held is None:
            G = G - np.outer(self.offset, g)
        G = G / self.n
        return G, g / self.n if self.fit_intercept else np.zeros_like(g)

    def gradient(self, R: Floats) -> tuple[Floats, Floats]:
        """``(X - m)^T R / n`` and ``1^T R / n`` in float64, for R of all rows."""
        G: Floats = np.zeros((self.d, R.shape[1]))
        g: Floats = np.zeros(R.shape[1])
        for block in self.blocks():
            H, h = self.sums(self.read(block), R[block])
            G += H
            g += h
        return self.centre_gradient(G, g)

    def of_all(self, W: Floats) -> Floats:
        """Weights of all columns: these."""
        return W

    def gradient_of_all(self, R: Floats) -> Floats:
        """``(X - m)^T R / n`` of all columns: these."""
        return self.gradient(R)[0]

    def curvature(
        self, residual: Floats, V: Floats, v: Floats, damping: float
    ) -> tuple[Floats, Floats]:
        """``H (V, v)`` of the mean loss, damped."""
        G: Floats = np.zeros(V.shape)
        g: Floats = np.zeros(len(v))
        damped = (damping * self.trusted).astype(self.dtype, copy=False)
        for block in self.blocks():
            B = self.read(block)
            U = self.scores(V, v, block, B)
            _kernels.curve(U, residual[block], self.y[block], self.weight[block], damped[block])
            H, h = self.sums(B, U)
            G += H
            g += h
        return self.centre_gradient(G, g)
