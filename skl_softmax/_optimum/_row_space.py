"""The rows' own coordinates, in which a problem of few rows and many features is small.

    X - 1 m^T = A V^T,   V^T V = 1        W = V Omega,   |W| = |Omega|

With an l2 penalty the weights of an optimum are sums of the rows: any part orthogonal to them costs
and changes no score. So the rows A (n, r) with weights Omega are the same problem, r at most n. V
is the orthogonal factor of the centred rows, m their mean (0 without an intercept).
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.linalg import qr

from skl_softmax._parameters import Parameters
from skl_softmax._rows import Rows
from skl_softmax._softmax import Floats

# Rows a class, and in all, up to which finding their own coordinates costs 3 to 5 epochs.
_FEW_ROWS, _FEWEST_ROWS = 4, 16
_MOST_ENTRIES = 1 << 25  # of the rows, copied twice to find these coordinates: 512 MB
_NO_SIZE = 1e-14  # of the largest coordinate: rounding


def smaller(n: int, n_features: int) -> bool:
    """Whether so many rows have fewer coordinates of their own, that can be found."""
    return n < n_features and n * n_features <= _MOST_ENTRIES


def much_smaller(n: int, n_features: int, n_classes: int) -> bool:
    """Whether these coordinates are worth finding before any epoch."""
    return smaller(n, n_features) and n <= max(_FEW_ROWS * n_classes, _FEWEST_ROWS)


@dataclass(frozen=True)
class RowSpace:
    """The way from the features to these coordinates and back."""

    basis: Floats  # V, (n_features, r), float64
    centre: Floats  # m

    @classmethod
    def of(cls, data: Rows, fit_intercept: bool) -> tuple["RowSpace", Rows]:
        """Of the rows that count, which come out dense and in float64."""
        X = data.X[data.rows]
        X = (X.toarray() if sparse.issparse(X) else X).astype(np.float64)
        y, weight = data.y[data.rows], data.weight[data.rows].astype(np.float64)
        centre = np.zeros(X.shape[1])
        if fit_intercept:
            centre = X[0] + weight @ (X - X[0]) / weight.sum()
        X -= centre
        V, R = qr(X.T, mode="economic", overwrite_a=True, check_finite=False)
        size = np.sqrt(np.einsum("ij,ij->i", R, R))
        kept = size > _NO_SIZE * size.max()  # centred rows have one coordinate less
        kept[0] = True
        V, rows = V[:, kept], np.ascontiguousarray(R[kept].T)
        return cls(V, centre), replace(data, X=rows, y=y, weight=weight, rows=np.arange(len(y)))

    def into(self, params: Parameters) -> Parameters:
        """The parameters in these coordinates; what is orthogonal to the rows is left out."""
        if not params.coef.any():  # at the start of a fit: 7% of 250 x 1500 in 125 classes
            return Parameters(
                np.zeros((self.basis.shape[1], params.coef.shape[1])), params.intercept
            )
        W = params.coef.astype(np.float64)
        return Parameters(self.basis.T @ W, params.intercept + self.centre @ W)

    def back(self, params: Parameters, dtype: np.dtype[np.floating]) -> Parameters:
        """The parameters of the features."""
        W = self.basis @ params.coef
        intercept = params.intercept - self.centre @ W
        return Parameters(W.astype(dtype, order="C"), intercept.astype(dtype))
