"""The columns as dual ascent visits them: where their zero is, how long they are, their leverage.

With an intercept ``x_i`` may stand for ``x_i - m``: ``m`` holds the means of all columns of a dense
X, and of the mostly non-zero ones of a CSR one. Rows count by their weights, so that repeated rows
are centred like one of their weight.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skl_softmax._optimum import _kernels
from skl_softmax._optimum._centred_rows import measurable
from skl_softmax._rows import are_all
from skl_softmax._softmax import Codes, Floats

# Mostly non-zero columns that are fewer of the entries than this are centred only where the square
# of a mean is more than this share of the column's mean square: at 3 deviations. 27 columns of
# 20newsgroups, 14% of the entries, have less; with them centred, visits took 1.2 times as long, and
# as many were needed. 3 columns with means of 3 deviations, beside 50 rare ones, cost up to a fifth
# more epochs uncentred, of 10 deviations twice as many; 20 of 1.5 deviations five times as many.
_MANY, _FAR = 0.25, 0.9
_CENTRED = 1e-3  # deviations: a mean no further from 0 is 0, as those of standardised columns are
_BLOCK_ROWS, _BLOCK_ENTRIES = 256, 1 << 17  # of dense rows, squared at a time


@dataclass(frozen=True)
class Columns:
    """What is known of them."""

    mean: Floats  # m, in floats of X
    squares: Floats  # sum of s_i x_ij^2 about m
    # The leverage of a column: of dense rows the mean of these squares times all columns; of CSR
    # rows the largest times the entries of its row.
    leverages: Floats
    # What the kernels of CSR rows are told of m, and room for a centred row.
    centring: tuple[Any, Floats] = (np.empty(0), np.empty(0))
    row: tuple[Any, Floats] = (np.empty(0), np.empty(0))


def measured(X: Any, weight: Floats, rows: Codes, fit_intercept: bool) -> Columns:
    """The columns of these rows."""
    of = _of_dense if isinstance(X, np.ndarray) else _of_sparse
    return of(X, weight, rows, fit_intercept)


def _of_sparse(X: Any, weight: Floats, rows: Codes, fit_intercept: bool) -> Columns:
    """Columns that are mostly not zero are centred, where that is worth longer visits.

    The squares of the others are about 0 at most twice those about the mean.
    """

    def about(mean: Floats) -> tuple[Columns, float, Floats]:
        """Those about a centre; the weight of the rows, and the moments of columns, a row each."""
        m = mean.astype(X.dtype)
        centred = np.flatnonzero(m)
        centring = np.append(centred, len(m)).astype(X.indices.dtype), m[centred]
        longest = int(np.diff(X.indptr).max()) + len(centred)
        row = np.empty(longest, X.indices.dtype), np.empty(longest, X.dtype)
        moments = np.zeros((X.shape[1], 5))
        total = _kernels.column_moments(
            X.data, X.indices, X.indptr, *centring, weight, rows, *row, moments
        )
        squares, leverages = moments[:, 3].copy(), measurable(moments[:, 4], X.dtype)
        found = Columns(m, squares, leverages, centring, row)
        return found, total, moments.T

    mean = np.zeros(X.shape[1])
    found, total, (first, present, away, squares, _) = about(mean)
    if not fit_intercept:
        return found
    often = np.flatnonzero(2 * present > total)
    share = present[often] / total
    mean[often] = (first[often] + away[often] / present[often]) * share
    many = present[often].sum() > _MANY * present.sum()
    if many or np.any(total * mean**2 > _FAR * squares):
        return about(mean)[0]
    return found


def _of_dense(X: Floats, weight: Floats, rows: Codes, fit_intercept: bool) -> Columns:
    """All columns are centred, but those whose mean is as good as 0.

    Sums are about the mean of the rows before, at first that of the first block: no digits are
    lost, and equal values have exactly 0.
    """
    n, d = len(rows), X.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        mean, squares = _dense_moments(X, weight, rows, fit_intercept, X.dtype)
        if not np.isfinite(squares).all():  # they have left the floats of X
            mean, squares = _dense_moments(X, weight, rows, fit_intercept, np.dtype(np.float64))
    square = mean.astype(np.float64) ** 2 * n
    near = square <= _CENTRED**2 * squares
    squares = np.maximum(squares + np.where(near, square, 0), 0)  # of subnormal ones they may err
    leverages = measurable(squares * (d / n), X.dtype)
    return Columns(np.where(near, 0, mean), squares, leverages)


def _dense_moments(
    X: Floats, weight: Floats, rows: Codes, fit_intercept: bool, dtype: np.dtype[np.floating]
) -> tuple[Floats, Floats]:
    """Means, in floats of X, and sums of ``s_i x_ij^2`` about them; from squares of a dtype."""
    d = X.shape[1]
    size, whole = max(_BLOCK_ROWS, _BLOCK_ENTRIES // d), are_all(rows, len(X))
    mean, total = np.zeros(d, X.dtype), 0.0
    first, squares = np.zeros((2, d))
    if fit_intercept:
        some = rows[:_BLOCK_ROWS]
        away = X[some].astype(np.float64) - X[some[0]]
        mean = X[some[0]] + np.average(away, axis=0, weights=weight[some])
        mean = mean.astype(X.dtype)
    room = np.empty((min(size, len(rows)), d), dtype)
    for start in range(0, len(rows), size):
        block = slice(start, start + size) if whole else rows[start : start + size]
        s = weight[block].astype(dtype, copy=False)
        B = np.subtract(X[block], mean, out=room[: len(s)], dtype=dtype)
        first += s @ B
        B *= B
        squares += s @ B
        if fit_intercept:
            total += s.sum(dtype=np.float64)
            after = (mean + first / total).astype(X.dtype)
            moved = after.astype(np.float64) - mean
            squares += moved * (total * moved - 2 * first)
            first -= total * moved
            mean = after
    return mean, squares
