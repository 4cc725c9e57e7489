"""The metric P: the inverse of a bound, or of an estimate, of the curvature of each class.

The Hessian of the loss is at most ``1/2 C`` for each class, C the covariance of the rows with the
intercept (Bohning, Ann. Inst. Stat. Math. 44, 1992), and near a fit its diagonal block of class k
is ``mean_i s_i p_ik (1 - p_ik) x_i^T x_i``. With weights w_i in the place of either,

    P_k = (mean_i w_i (x_i - mu_k)^T (x_i - mu_k) + l2 I)^-1,    mu_k = mean w_i x_i / h_k
                                                                 h_k = mean w_i
and the intercept eliminated:

    (G, g) -> D = P_k (G - mu_k g),  e = g / h_k - mu_k D

is the exact inverse of the block. On directions whose sum over the classes is zero, which are all
that the softmax sees, the Hessian at equal probabilities is ``K / (K - 1)`` times its diagonal
blocks, and for K = 2 always; so that factor is in w. Scale-free: columns are divided by their
deviation before the Cholesky factor is taken, in float64 where that is cheap.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import blas, lapack

from skl_softmax._optimum import _kernels
from skl_softmax._optimum._centred_rows import CentredRows, by_rows
from skl_softmax._softmax import Codes, Floats

FULL_WIDTH = 2000  # features up to which P is full: K d^2 numbers, K d^3 operations
_FLOAT64_WIDTH = 300  # features up to which Gram matrices and factors in float64 cost little
_GRAM_COST = 1e10  # n d^2 up to which all rows enter: some tenths of a second
# Gram matrices of all rows where they cost no more than what they save, products with the Hessian
# to a bound of the gap: of elec2, 6 x 2, one matrix in place of 3 products.
_FEW_ENTRIES = 8  # of all matrices, beside those of the weights
_NARROW = 32  # features up to which Gram matrices are not for BLAS: for 6 it took 6 times as long
_TOGETHER = 64  # rows whose numbers are in the nearest cache
# One metric for all classes, of their mean curvature, where K of d^3 operations would cost more
# than the products that they mostly save, about ten of 4 n d K, or would take a GB.
_DEAR, _MOST_ENTRIES = 40, 1 << 28
_SPARE = 16  # a sample of 16 d rows has all eigenvalues of C to within (1 +- 1/4)^2
_SPARE_OF_CLASS = 5  # the same for a class; CG corrects the rest
_FEWEST_DRAWN = 4096  # a sample is no smaller
_RIDGE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-5}  # of unit diagonals, at first
_RIDGE_UNPENALISED = 1e-6  # at least, where some directions may have no curvature at all


@dataclass(frozen=True)
class Metric:
    """``P``; one matrix (or diagonal) for all classes, or one for each."""

    inverse: Floats  # (1 or K, d, d), or (1 or K, d) if diagonal; of columns of deviation 1
    mean: Floats  # (d, 1 or K): mu_k of such columns
    intercept: Floats  # (1 or K,): 1 / h_k, or 0 without intercept
    scale: Floats  # (d, 1): 1 / deviation
    gauge: bool  # whether to take the mean over the classes out of directions

    def __call__(self, G: Floats, g: Floats) -> tuple[Floats, Floats]:
        """``P (G, g)``."""
        A = G * self.scale - self.mean * g
        one = len(self.inverse) == 1
        if self.inverse.ndim == 2:
            D = self.inverse.T * A
        elif one:
            D = self.inverse[0] @ A.astype(self.inverse.dtype, copy=False)
        else:
            A = np.ascontiguousarray(A.T, dtype=self.inverse.dtype)
            D = np.matmul(self.inverse, A[:, :, None])[:, :, 0].T
        e = self.intercept * g
        if self.intercept[0]:
            e -= self.mean[:, 0] @ D if one else np.add.reduce(self.mean * D)
        D = D * self.scale
        if self.gauge:
            D -= np.add.reduce(D, axis=1, keepdims=True) / len(g)
            e -= np.add.reduce(e) / len(g)
        return D, e


class Curvature:
    """Builds metrics for some rows, in columns of deviation 1."""

    def __init__(
        self, rows: CentredRows, n_classes: int, l2: float, gauge: bool, rng: np.random.RandomState
    ) -> None:
        self.rows, self.n_classes, self.gauge, self.rng = rows, n_classes, gauge, rng
        d = rows.d
        self.scale = 1 / np.where(rows.deviation > 0, rows.deviation, 1)
        self.full = d <= FULL_WIDTH
        self.dtype = np.dtype(np.float64) if d <= _FLOAT64_WIDTH else rows.dtype
        self.ridge = l2 * self.scale * self.scale
        self.of_all_rows = d * (1 if n_classes == 2 else n_classes) <= _FEW_ENTRIES * n_classes
        dear = d * d > _DEAR * rows.n or n_classes * d * d > _MOST_ENTRIES
        self.one_for_all = n_classes > 2 and dear and self.full
        self._held: Floats | None = None  # the rows, where one block has them all
        self._room = np.empty((min(d, _NARROW), _TOGETHER))

    @property
    def n_blocks(self) -> int:
        """Of classes, or one where two are the same, or for all."""
        return 1 if self.n_classes == 2 or self.one_for_all else self.n_classes

    def afford(self, products: int) -> bool:
        """Whether so many products with the Hessian have now cost what a metric a class would."""
        rows, d = self.rows, self.rows.d
        paid = 4 * rows.n * products >= d * (d + rows.n)
        changes = self.one_for_all and paid and self.n_classes * d * d <= _MOST_ENTRIES
        self.one_for_all = self.one_for_all and not changes
        return changes

    @cached_property
    def C(self) -> Floats:
        """The covariance, lower half, or 1 for each column if diagonal."""
        rows, d = self.rows, self.rows.d
        if not self.full:
            return np.ones(d)
        index: Any = None
        w: Floats = rows.trusted
        if rows.n * d * d > _GRAM_COST and rows.n > _SPARE * d:
            index, w = self._draw(w, _SPARE * d)
        C = np.zeros((d, d), self.dtype, order="F")
        self._add_gram(C, index, w / w.sum())
        at = np.diag_indices(d)  # what a sample has missed of a rare column; constant ones
        C[at] = np.maximum(C[at], 1)
        return C

    def bound(self, share: float) -> Metric:
        """Metric of ``share * C``: 1/2 is Bohning's bound, 1/K the Hessian at equal p."""
        metric = self._metric(1)
        self._fill(metric, 0, share * self.C, np.zeros(self.rows.d), share)
        return metric

    def of_classes(self, residual: Floats, floor: float, damping: float = 0.0) -> Metric:
        """Metric of `blocks`."""
        metric = self._metric(self.n_blocks)
        for k, (H, mean, h) in enumerate(self.blocks(residual, floor, damping)):
            self._fill(metric, k, H, mean, h)
        return metric

    def blocks(
        self, residual: Floats, floor: float, damping: float = 0.0
    ) -> Iterator[tuple[Floats, Floats, float]]:
        """The Hessian's diagonal blocks at the probabilities, plus a multiple of C; mu_k and h_k.

        One block where two are the same, or for all. The multiple is ``damping``, and ``floor``
        times the mean curvature: rows that are all decided have little, and 1e-4 / K of C, much
        more than that, let 60 separable rows of unlike columns take 100 moves too many.
        """
        K, s, y = self.n_classes, self.rows.weight, self.rows.y
        R = residual / s[:, None]
        # Mean over the classes of p (1 - p) K / (K - 1): exact where the label's p is next to 1.
        of_row = np.maximum(-2 * R[np.arange(len(y)), y] - np.einsum("ij,ij->i", R, R), 0) / (K - 1)
        least = damping + floor * float(s @ of_row) / self.rows.n
        for k in range(self.n_blocks):
            if self.n_blocks > 1:
                p = R[:, k] + (y == k)
                of_row = np.maximum(p * (1 - p), 0) * (K / (K - 1))
            w = s * of_row * self.rows.trust / self.rows.n
            index, w = self._draw(w, _SPARE_OF_CLASS * self.rows.d)
            H = least * self.C
            mean, h = self._add_gram(H, index, w)
            yield H, mean, h + least

    def _metric(self, size: int) -> Metric:
        """A metric yet to be filled."""
        d = self.rows.d
        inverse = np.empty((size, d, d) if self.full else (size, d), self.rows.dtype)
        scale = self.scale[:, None]
        return Metric(inverse, np.zeros((d, size)), np.zeros(size), scale, self.gauge)

    def _fill(self, metric: Metric, k: int, H: Floats, mean: Floats, h: float) -> None:
        """Class k of a metric; H is used up."""
        self._invert(H, metric.inverse[k])
        metric.mean[:, k] = mean
        metric.intercept[k] = 1 / h if self.rows.fit_intercept else 0

    def _draw(self, w: Floats, size: int) -> tuple[Any, Floats]:
        """Rows for a Gram matrix, as `draw` gives them; None: all rows, where they are few."""
        n, size = self.rows.n, max(size, _FEWEST_DRAWN)
        if not self.full or size >= n or self.of_all_rows:
            return None, w
        return self.draw(w, size)

    def draw(self, w: Floats, size: int) -> tuple[Codes, Floats]:
        """Rows that stand for all, and their weights in the place of ``w``.

        Half of them are drawn in proportion to w times their length in columns of deviation 1,
        their leverage where columns are not correlated: so a rare column keeps its rows, and any
        direction its curvature (Drineas, Mahoney & Muthukrishnan, SIAM J. Matrix Anal. Appl. 30,
        2008). The other half are drawn uniformly, all of them systematically.
        """
        n = self.rows.n
        share = w * self.rows.lengths
        share = 0.5 * share / max(share.sum(), 1e-300) + 0.5 / n
        ends = np.cumsum(share)
        at = (np.arange(size) + self.rng.random_sample()) / size * ends[-1]
        index = np.minimum(np.searchsorted(ends, at), n - 1)
        return index, w[index] / (share[index] * size)

    def _standardised(self, block: slice | Codes) -> Floats:
        """Centred rows in columns of deviation 1; all of them are held where they are few."""
        rows = self.rows
        whole = isinstance(block, slice) and block == slice(0, rows.n, 1)
        if whole and self._held is not None:
            return self._held
        B = rows.centred(block).astype(self.dtype, copy=False)
        by_rows(np.multiply, B, self.scale.astype(self.dtype), in_place=True)
        if whole:
            self._held = B
        return B

    def _add_gram(self, H: Floats, index: Any, w: Floats) -> tuple[Floats, float]:
        """Add ``sum w (x - mu)^T (x - mu)`` to H, its lower half or diagonal; ``mu``, ``sum w``."""
        rows = self.rows
        mean, h = np.zeros(rows.d), max(float(w.sum()), 1e-300)
        syrk, syr = blas.get_blas_funcs(("syrk", "syr"), dtype=self.dtype)
        for block in rows.blocks(len(w)):
            some = block if index is None else index[block]
            if rows.d <= _NARROW:
                B = rows.read(some)
                _kernels.add_gram(B, rows.offset, self.scale, w[block], self._room, mean, H.T)
                continue
            B = self._standardised(some)
            mean += w[block] @ B
            B = B * np.sqrt(w[block]).astype(self.dtype)[:, None]
            if self.full:
                syrk(1.0, B.T, beta=1.0, c=H, lower=1, overwrite_c=1)
            else:
                H += np.einsum("ij,ij->j", B, B)
        if not rows.fit_intercept:
            return np.zeros(rows.d), h
        mean /= h
        m = mean.astype(self.dtype)
        if self.full:
            syr(-h, m, a=H, lower=1, overwrite_a=1)
        else:
            H -= h * m * m
        return mean, h

    def _invert(self, H: Floats, out: Floats) -> None:
        """``(H + ridge)^-1``, by Cholesky of unit diagonal; the unit raised until it succeeds."""
        if not self.full:
            out[:] = 1 / np.maximum(H + self.ridge, 1e-6)
            return
        H = H.astype(self.dtype, copy=False)
        at = np.diag_indices(len(H))
        H[at] += self.ridge
        unit = 1 / np.sqrt(np.maximum(H[at], np.finfo(self.dtype).tiny))
        H *= unit[:, None]
        H *= unit
        potrf, potri = lapack.get_lapack_funcs(("potrf", "potri"), (H,))
        extra, failed = _RIDGE[self.dtype], True
        if not self.ridge.any():
            extra = max(extra, _RIDGE_UNPENALISED)
        while failed:
            A = H.copy(order="F")
            A[at] = 1 + extra
            factor, failed = potrf(A, lower=1, overwrite_a=1)
            extra *= 10
        A = potri(factor, lower=1, overwrite_c=1)[0]
        A *= unit[:, None]
        A *= unit
        out[:] = A  # 0 above the diagonal
        A[at] = 0
        out += A.T
