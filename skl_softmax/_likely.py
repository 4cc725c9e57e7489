"""Where the best alpha is likely to be found, by the columns and the lengths of the rows alone.

    alpha  ~  0.3 s0 / n,      s0 = tr(Cov X) / K

is the best one within a decade or so, for any number of rows and in any unit (without an intercept,
of second moments); with l1 a share of the alpha that empties the model. A count n of rows is
``(sum s)^2 / sum s^2``.

Where columns have unlike units, or have much in common that says nothing, as the brightness of
spectra, the loss has several minima: at one alpha only the directions in which rows vary most have
weights, at a far weaker one the others too. The smallest unit and the least directions tell where.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from skl_softmax._optimum import measurable
from skl_softmax._penalties import Penalty
from skl_softmax._rows import Rows
from skl_softmax._softmax import Floats

# Times s0 / n: so were the best alphas of 21 sets, 100 to 32000 rows, 2 to 205 classes.
_LIKELY = 0.3
_LIKELY_SPARSE = 0.01  # times what empties the model: .003 to .05 were best on seven sets
# Squares of units that are alike, times those of the columns that vary most, and mean squares along
# the quarter of the directions in which rows vary least, times the mean, of columns of one unit:
# nine sets, raw and standardised, have 2e-5 to 1 and 1e-3 to .5; tables of unlike units 1e-9 to
# 1e-6, columns that share a nuisance factor of 300 deviations 1e-5.
_ALIKE, _ALIKE_DIRECTIONS = 0.1, 1e-2
# So much less than alike for a minimum of its own: clothes in raw pixels, of which some are always
# faint, have 6e-3, and paid two fits for nothing.
_UNLIKE = 1e-3
_SAMPLE, _QUARTER = 200, 0.25  # rows whose directions are looked at
# Medians of squared lengths: errors, which are fitted as all are, but are no test, and tell nothing
# of the others' variance; and the share of the rows that errors are at most: more are a class.
_OUTLYING, _ERRORS = 1e4, 0.02
_ROUNDING = 1e-13  # of a mean square: a variance that is none
_BLOCK_ENTRIES, _BLOCK_ROWS = 1 << 17, 1 << 12  # of dense and sparse rows, in float64 at a time


@dataclass(frozen=True)
class Likely:
    """Where the best alpha is likely: at one strength, or in units so unlike that there are two."""

    strong: float  # for all columns together
    weak: float  # for those of the smallest unit, a decade above what is likely for them alone


def likely(
    data: Rows, away: Floats, n_classes: int, fit_intercept: bool, unit: Penalty
) -> Likely | None:
    """The alphas that are likely, by the penalty of alpha 1; none where no column varies.

    ``away`` tells which rows to leave out, if others remain that differ.
    """
    others = replace(data, rows=data.rows[usual(away)])
    shape = data.effective_count, n_classes, fit_intercept, unit
    return _likely(others, *shape) or _likely(data, *shape)


def usual(away: Floats) -> NDArray[np.bool_]:
    """Which rows are no errors: all, where many would be."""
    error = away > _OUTLYING
    return ~error | (error.mean() > _ERRORS)


def lengths_away(data: Rows, fit_intercept: bool) -> Floats:
    """How long rows are, in medians of all, squared; with an intercept from one to the next.

    That says little of a row whose neighbour is long, so the nearer of two counts. The order is
    that of their hashes, and so of no meaning.
    """
    found = []
    for _, B in blocks(data, int(fit_intercept)):
        C = B[1:] - B[:-1] if fit_intercept else B
        found.append(np.einsum("ij,ij->i", C, C) if data.dense else (C * C).sum(axis=1))
    squares: Floats = np.concatenate(found)
    if fit_intercept:
        squares = np.minimum(np.append(squares, np.inf), np.insert(squares, 0, np.inf))
    median = float(np.median(squares))
    return squares / median if 0 < median < np.inf else np.zeros(len(squares))


def blocks(data: Rows, more: int = 0) -> Iterator[tuple[slice, Any]]:
    """Some of the rows at a time, in float64, and where they are among those that count."""
    size = max(2, _BLOCK_ENTRIES // data.X.shape[1]) if data.dense else _BLOCK_ROWS
    for start in range(0, max(len(data.rows) - more, 1), size):
        block = slice(start, start + size + more)
        yield block, data.X[data.rows[block]].astype(np.float64)


def _likely(
    data: Rows, n: float, n_classes: int, fit_intercept: bool, unit: Penalty
) -> Likely | None:
    """The alphas that are likely, by the penalty of alpha 1; none where no column varies."""
    variances, shares = _variances(data, fit_intercept)
    vary = variances > 0
    if not vary.any():
        return None
    unit_of_least = min(_least_unit(variances[vary], shares[vary]) / _ALIKE, 1.0)
    small = unit_of_least * min(_least_direction(data, fit_intercept) / _ALIKE_DIRECTIONS, 1.0)
    small = small if small < _UNLIKE else 1.0
    found = np.inf
    if unit.l2:
        ridge = unit.l2 / (2 if n_classes == 2 else 1)
        found = _LIKELY * float(variances.sum()) / (n_classes * n * ridge)
    if unit.l1:
        found = min(found, _LIKELY_SPARSE * _emptying(data, n_classes, fit_intercept) / unit.l1)
        small = np.sqrt(small)  # a weight has the inverse unit, and l2 its square
    return Likely(found, found * small) if 0 < found * small < np.inf else None


def _least_unit(variances: Floats, shares: Floats) -> float:
    """The square of the smallest unit of a column, in that of those that vary most.

    A column may vary little since it is rare, which is no matter of units: in its own the variance
    of the rows that differ in it counts. One that varies as much as most has no small one.
    """
    variances = variances / variances.max()
    squares = variances / shares
    of_most = float(variances @ squares) / variances.sum()
    return float(np.maximum(variances / variances.mean(), squares / of_most).min())


def _least_direction(data: Rows, fit_intercept: bool) -> float:
    """How little some rows vary along the quarter of directions in which they vary least.

    Mean squares in columns of one unit, by the mean of all directions. A constant has none.
    """
    rows, centred = data.rows[:_SAMPLE], float(fit_intercept)
    B = data.X[rows].astype(np.float64)
    if data.dense:
        B -= centred * B[0]
    else:
        B = B - sp.csr_array(np.full((len(rows), 1), centred)) @ B[[0]]
    size = np.sqrt(np.maximum((B * B).sum(axis=0) - centred / len(rows) * B.sum(axis=0) ** 2, 0))
    B = B @ sp.diags_array(1 / np.where(size > 0, size, np.inf))
    B = B - centred * np.asarray(B.mean(axis=0)) if data.dense else B
    G = B.T @ B if data.dense and B.shape[1] < len(rows) else B @ B.T
    if not data.dense:
        G = G.toarray()
        G -= centred * G.mean(axis=0)
        G -= centred * G.mean(axis=1)[:, None]
    squares = np.linalg.eigvalsh(G)
    squares = squares[squares > _ROUNDING * len(rows)]
    return float(np.quantile(squares, _QUARTER) / squares.mean()) if len(squares) else 1.0


def _variances(data: Rows, fit_intercept: bool) -> tuple[Floats, Floats]:
    """Of the columns, mean squares without an intercept; shares of rows that differ in each.

    From the next, in the order of their hashes, or from 0 in sparse ones.
    """
    s = data.weight[data.rows].astype(np.float64)
    s /= s.sum()
    d = data.X.shape[1]
    first = np.zeros(d)
    if fit_intercept and data.dense:
        first = data.X[data.rows[0]].astype(np.float64)
    mean, square = np.zeros((2, d))
    differ = np.ones(d)  # of a column that varies one row does at least
    for block, B in blocks(data):
        if data.dense:
            differ += np.count_nonzero(B[1:] != B[:-1], axis=0)
            B -= first
        else:
            differ += np.bincount(B.indices, minlength=d)
        mean += s[block] @ B
        square += s[block] @ (B * B)
    variances = measurable(square - mean * mean * fit_intercept, data.X.dtype)
    shares = np.minimum(differ / len(s), 1)
    return np.where(variances > _ROUNDING * square, variances, 0), shares


def _emptying(data: Rows, n_classes: int, fit_intercept: bool) -> float:
    """The strength of l1 from which on all weights are 0."""
    s, y = data.weight[data.rows].astype(np.float64), data.y[data.rows]
    share: Floats = np.full(n_classes, 1 / n_classes)
    if fit_intercept:
        share = np.bincount(y, s, n_classes) / s.sum()
    R = -share * s[:, None]
    R[np.arange(len(s)), y] += s
    G: Floats = np.zeros((data.X.shape[1], n_classes))
    for block, B in blocks(data):
        G += B.T @ R[block]
    return float(np.abs(G).max() / s.sum())
