"""Rows seen through a centre, a block at a time: ``x_i - m`` for dense or dense-like CSR X.

With centred rows the Hessian of the loss has (nearly) no entry that couples weights and intercept.
The scores and their gradient never need the centred rows themselves:

    (X - 1 m^T) W + b = X W + (b - m^T W)          (X - 1 m^T)^T R = X^T R - m (1^T R)

Where some ``|m_j|`` is many times the deviation of its column, the right sides would lose digits,
so there a block is centred as it is read. X is never copied whole and never written.
"""

from typing import Any

import numpy as np
from scipy import sparse

from skl_softmax import _kernels
from skl_softmax._softmax import Codes, Floats

_BLOCK_ENTRIES = 1 << 18  # of X, read at a time: both products of a pass find them in the cache
_HELD_ENTRIES = 1 << 16  # an X of at most so many entries is held centred, in float64 (512 KB)
_FAR = 30.0  # |m_j| in deviations from where a block is centred before it is multiplied


class CentredRows:
    """Products of the rows ``rows`` of X with small matrices; weights have mean 1 over them.

    Attributes
    ----------
    centre : (n_features,) float64, mean of the columns, 0 without intercept
    deviation : (n_features,) float64, root mean square about the centre
    """

    def __init__(self, X: Any, y: Codes, weight: Floats, rows: Codes, fit_intercept: bool) -> None:
        self.n, self.d = len(rows), X.shape[1]
        self.dtype = X.dtype
        self._X, self._rows = X, None if self.n == X.shape[0] else rows
        self.y = y if self._rows is None else y[rows]
        self.weight = weight if self._rows is None else weight[rows]
        self._size = max(16, _BLOCK_ENTRIES // max(1, self.d))
        self.fit_intercept = fit_intercept
        self._shift: Floats | None = None
        self._held: Floats | None = None
        if self.n * self.d <= _HELD_ENTRIES:
            self._held = self.read(slice(None)).astype(np.float64)
            self.dtype = np.dtype(np.float64)
            self.weight = self.weight.astype(np.float64)
        self._measure()

    def _measure(self) -> None:
        """Centre and deviation in float64, by the sums about a first row (Chan et al., 1983)."""
        first = self.read(slice(0, 1)).astype(np.float64)[0]
        if not self.fit_intercept:
            first[:] = 0
        total, square = np.zeros(self.d), np.zeros(self.d)
        for block in self.blocks():
            B = self.read(block) - first.astype(self.dtype)
            s = self.weight[block]
            if B.dtype == np.float32 and np.abs(B, out=None).max() > 1e15:  # squares overflow
                B = B.astype(np.float64)
            total += s @ B
            B *= B
            square += s @ B
        total /= self.n
        square /= self.n
        self.centre = first * 0.0
        if self.fit_intercept:
            self.centre = (first + total).astype(self.dtype).astype(np.float64)
            square -= total * total
        self.deviation = np.sqrt(np.maximum(square, 0))
        far = np.abs(self.centre) > _FAR * self.deviation
        # A constant column becomes exactly zero.
        if self._held is not None:
            self._held -= self.centre
            self._offset = np.zeros(self.d)
        elif far.any():
            self._shift = self.centre.astype(self.dtype)
            self._offset = np.zeros(self.d)
        else:
            self._offset = self.centre

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
        offset = self._offset.astype(self.dtype)
        if isinstance(block, slice):  # else NumPy has made a copy
            return B - offset
        B -= offset
        return B

    def scores(self, W: Floats, b: Floats, block: slice | Codes, B: Any = None) -> Floats:
        """``(x_i - m) W + b`` of the rows at ``block``."""
        B = self.read(block) if B is None else B
        Z = B @ W.astype(self.dtype)
        Z += (b - self._offset @ W).astype(self.dtype)
        return Z

    def all_scores(self, W: Floats, b: Floats) -> Floats:
        """Scores of all rows, (n, n_classes)."""
        Z = np.empty((self.n, W.shape[1]), self.dtype)
        for block in self.blocks():
            Z[block] = self.scores(W, b, block)
        return Z

    def back(self, B: Any, R: Floats) -> tuple[Floats, Floats]:
        """Sums over the rows B of ``x^T r``, not yet centred, and of ``r``."""
        return B.T @ R, np.ones(len(R), R.dtype) @ R

    def centre_gradient(self, G: Floats, g: Floats) -> tuple[Floats, Floats]:
        """From sums over rows to the centred mean gradient."""
        G = (G - np.outer(self._offset, g)) / self.n
        return G, g / self.n if self.fit_intercept else np.zeros_like(g)

    def gradient(self, R: Floats) -> tuple[Floats, Floats]:
        """``(X - m)^T R / n`` and ``1^T R / n`` in float64, for R of all rows."""
        G: Floats = np.zeros((self.d, R.shape[1]))
        g: Floats = np.zeros(R.shape[1])
        for block in self.blocks():
            H, h = self.back(self.read(block), R[block])
            G += H
            g += h
        return self.centre_gradient(G, g)

    def curvature(
        self, residual: Floats, V: Floats, v: Floats, damping: float
    ) -> tuple[Floats, Floats]:
        """``H (V, v)`` of the mean loss, damped."""
        G: Floats = np.zeros(V.shape)
        g: Floats = np.zeros(len(v))
        for block in self.blocks():
            B = self.read(block)
            U = self.scores(V, v, block, B)
            _kernels.curve(U, residual[block], self.y[block], self.weight[block], damping)
            H, h = self.back(B, U)
            G += H
            g += h
        return self.centre_gradient(G, g)
