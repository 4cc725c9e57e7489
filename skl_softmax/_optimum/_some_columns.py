"""The columns that l1 leaves a weight to: the others' weights are 0, and only looked at.

At an optimum every entry of the gradient is at most l1, and where it is less the weight is 0. So
near an optimum the columns with weights, and those whose gradient is near l1, are the same problem
(the working sets of Massias, Gramfort & Salmon, ICML 2018). A dual point is one of all columns: the
bound of the gap counts those that were left out, and names them.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from skl_softmax._kernels import residual
from skl_softmax._optimum._centred_rows import CentredRows
from skl_softmax._parameters import Parameters
from skl_softmax._penalties import Penalty
from skl_softmax._rows import Rows
from skl_softmax._softmax import Codes, Floats, scores

_NEAR = 0.8  # of l1: a gradient with which a weight may come yet
_DENSE_ENTRIES = 1 << 22  # of some columns of a CSR matrix, which are then read many times as soon
_PRECISE_ENTRIES = 1 << 18  # in float64: barriers of a perfect fit rest 10 times too high else
_BLOCK_ENTRIES = 1 << 17  # of X, in float64 at a time


class Candidates(NamedTuple):
    """Columns that have weights or may come to, what has to be first."""

    columns: Codes
    moves: Codes  # how many weights of each would move now

    @classmethod
    def of(cls, may: Codes, excess: Floats, moving: Any) -> "Candidates":
        """Those that ``may``, by what is the larger ``excess`` of each column."""
        columns = may[np.argsort(-excess[may], kind="stable")]
        return cls(columns, np.count_nonzero(moving[columns], axis=1))

    def first(self, n: int) -> "Candidates":
        """So many at most."""
        return Candidates(self.columns[:n], self.moves[:n])


class SomeColumns(CentredRows):
    """Products of some ``columns`` of the rows, and what bounds need of all.

    Attributes
    ----------
    left_out : `Candidates` whose gradient exceeded l1 at the last dual point
    """

    def __init__(self, data: Rows, columns: Codes, l1: float, fit_intercept: bool) -> None:
        X = data.X[:, columns]
        if sparse.issparse(X) and X.shape[0] * X.shape[1] <= max(data.X.size, _DENSE_ENTRIES):
            X = X.toarray()
        weight = data.weight
        if X.shape[0] * X.shape[1] <= _PRECISE_ENTRIES:
            X, weight = X.astype(np.float64), weight.astype(np.float64)
        super().__init__(X, data.y, weight, data.rows, fit_intercept)
        self._data, self._l1, self.columns = data, l1, columns
        self.left_out = Candidates(np.empty(0, np.intp), np.empty(0, np.intp))

    def into(self, params: Parameters) -> Parameters:
        """The parameters of these columns."""
        return Parameters(params.coef[self.columns], params.intercept)

    def back(self, params: Parameters, dtype: np.dtype[np.floating]) -> Parameters:
        """Those of all columns."""
        return Parameters(self.of_all(params.coef).astype(dtype), params.intercept.astype(dtype))

    def of_all(self, W: Floats) -> Floats:
        """Weights of all columns."""
        found: Floats = np.zeros((self._data.X.shape[1], W.shape[1]), W.dtype)
        found[self.columns] = W
        return found

    def gradient_of_all(self, R: Floats) -> Floats:
        """``X^T R / n`` of all columns, where R balances."""
        G = product(self._data, R) / self.n
        size = np.abs(G)
        size[self.columns] = 0
        largest = size.max(axis=1)
        exceed = np.flatnonzero(largest > self._l1)
        self.left_out = Candidates.of(exceed, largest, size > self._l1)
        return G


def to_move(data: Rows, params: Parameters, penalty: Penalty, fit_intercept: bool) -> Candidates:
    """Columns that have a weight, these first, or may come to, one at least."""
    Z: Floats = scores(data.X, params.coef, params.intercept)
    R = np.ascontiguousarray(Z if data.whole else Z[data.rows])
    s = data.weight[data.rows]
    residual(R, data.y[data.rows], s)
    R = R.astype(np.float64)
    if fit_intercept:
        R -= np.outer(s, R.mean(axis=0))  # as intercepts would see to, nearly
    size = np.abs(product(data, R)) / len(R)
    known, largest = params.coef != 0, size.max(axis=1)
    near = largest > min(_NEAR * penalty.l1, largest.max() * (1 - 1e-15))
    largest[known.any(axis=1)] = np.inf
    near |= largest == np.inf
    return Candidates.of(np.flatnonzero(near), largest, known | (size > penalty.l1))


def product(data: Rows, R: Floats) -> Floats:
    """``X^T R`` of the rows that count, in float64."""
    X: Any = data.X
    whole = data.whole
    if sparse.issparse(X):
        all_rows = R.astype(np.float64, copy=False)
        if not whole:
            all_rows = np.zeros((X.shape[0], R.shape[1]))
            all_rows[data.rows] = R
        return np.asarray(X.T @ all_rows)
    found: Floats = np.zeros((X.shape[1], R.shape[1]))
    size = max(1, _BLOCK_ENTRIES // X.shape[1])
    for start in range(0, len(R), size):
        block = slice(start, start + size)
        B = X[block] if whole else X[data.rows[block]]
        found += B.astype(np.float64, copy=False).T @ R[block]
    return found
