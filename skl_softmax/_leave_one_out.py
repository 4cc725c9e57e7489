"""The loss of leaving one row out, for the price of one fit: by a Newton step from all rows.

At the optimum of all rows, where H is the Hessian of ``n F``, the row i leaves behind a gradient of
``-x_i r_i``, ``r_i = s_i (S(z_i) - y_i)``, and the Hessian without its own part, so that its score
by the others is nearly

    z_i + (I - A_i B_i)^-1 A_i r_i,     A_i = x_i^T H^-1 x_i,     B_i = s_i (diag p_i - p_i p_i^T)

(Beirami et al., NeurIPS 2017; Wang et al., ICML 2018). Blocks of H alone, one a class, would not
do, since classes compete. A shift of all scores changes nothing, so all is in K - 1 coordinates,
orthonormal contrasts of the classes. Rows of equal content leave together, as one with their mean
label: a copy with another label would tell what the row is tested on.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, helmert, solve_triangular

from skl_softmax._penalties import Penalty
from skl_softmax._rows import Rows
from skl_softmax._softmax import Codes, Floats, log_softmax

MOST_ROWS, _MOST_COST = 1500, 1e8  # n; n (K - 1) P^2 of P weights and intercepts
_NEAR = 1e-2  # of F, that a step promises: the last one
_MOST_STEPS, _SHORTEST, _ARMIJO = 50, 1e-6, 1e-4
_RIDGE = 1e-12  # of unit columns: without an intercept the last column is 0


def affordable(n: int, n_features: int, n_classes: int) -> bool:
    """Whether systems of all weights, one for each row, take some tens of milliseconds at most."""
    size = (n_features + 1) * (n_classes - 1)
    return n <= MOST_ROWS and n * (n_classes - 1) * size**2 <= _MOST_COST


@dataclass
class _Local:
    """What the rows tell of some weights, in contrasts."""

    F: float  # sum of s CE
    r: Floats  # (n, K - 1)
    B: Floats  # (n, K - 1, K - 1)


class LeaveOneOut:
    """Mean loss of rows that were left out, one content at a time; with l2 alone.

    Of those that are ``usual``. Fits begin where the last one ended.
    """

    def __init__(
        self,
        data: Rows,
        contents: Codes,
        usual: NDArray[np.bool_],
        n_classes: int,
        fit_intercept: bool,
        penalty: Callable[[float], Penalty],
    ) -> None:
        self._penalty = penalty
        y, s = data.y[data.rows], data.weight[data.rows].astype(np.float64)
        first = np.flatnonzero(np.diff(contents, prepend=-1))
        of_class = np.zeros((len(first), n_classes))
        np.add.at(of_class, (contents, y), s)
        self._weight = of_class.sum(axis=1)
        self._label = of_class / self._weight[:, None]
        X = data.X[data.rows[first]]
        X = (X if data.dense else X.toarray()).astype(np.float64)
        if fit_intercept:
            X -= self._weight @ X / self._weight.sum()
        deviation = np.sqrt(self._weight @ (X * X) / self._weight.sum())
        X /= np.where(deviation > 0, deviation, 1)
        # Of weights of unit columns; the intercepts, last, have none.
        self._penalised = np.append(1 / np.where(deviation > 0, deviation, 1) ** 2, 0)[:, None]
        self._X = np.column_stack([X, np.full(len(X), float(fit_intercept))])
        self._contrasts = helmert(n_classes).T  # (K, K - 1)
        products = self._contrasts[:, :, None] * self._contrasts[:, None, :]
        self._products = products.reshape(n_classes, -1)
        self._W = np.zeros((self._X.shape[1], n_classes - 1))
        # The only content of a class is never left out.
        alone = np.count_nonzero(of_class, axis=0) == 1
        self._counted = np.flatnonzero(usual[first] & ~of_class[:, alone].any(axis=1))
        s = self._weight[self._counted]
        self.n = float(s.sum() ** 2 / (s @ s)) if len(s) else 0.0

    def loss(self, alpha: float) -> tuple[float, bool]:
        """Mean loss, and whether it was given up, which it never is."""
        l2 = self._penalty(alpha).l2 * self._weight.sum()
        at, factor = self._fit(l2)
        X, some = self._X, self._counted
        k = at.B.shape[1]
        rows = np.einsum("ij,ab->jbia", X[some], np.eye(k)).reshape(self._W.size, -1)
        half = solve_triangular(factor, rows, lower=True, check_finite=False)
        half = half.reshape(self._W.size, len(some), k)
        A = np.einsum("pia,pib->iab", half, half)
        away = np.linalg.solve(np.eye(k) - A @ at.B[some], A @ at.r[some, :, None])
        Z = (X[some] @ self._W + away[:, :, 0]) @ self._contrasts.T
        losses = -np.sum(self._label[some] * log_softmax(Z), axis=1)
        return float(np.average(losses, weights=self._weight[some])), False

    def _fit(self, l2: float) -> tuple[_Local, Floats]:
        """Newton's method to the optimum; what is known there, and the Hessian's factor."""
        at = self._local(self._W)
        for _ in range(_MOST_STEPS):
            penalty = l2 * self._penalised * self._W
            G = self._X.T @ at.r + penalty
            factor = self._factor(at.B, l2)
            D = -cho_solve((factor, True), G.ravel(), check_finite=False).reshape(G.shape)
            F = at.F + 0.5 * float(np.vdot(penalty, self._W))
            promised, t = -float(np.vdot(G, D)), 1.0
            while t > _SHORTEST:
                W = self._W + t * D
                there = self._local(W)
                value = there.F + 0.5 * l2 * float(np.sum(self._penalised * W * W))
                if value <= F - _ARMIJO * t * promised:
                    self._W, at = W, there
                    break
                t /= 2
            if promised <= _NEAR * F or t <= _SHORTEST:
                break
        return at, self._factor(at.B, l2)

    def _local(self, W: Floats) -> _Local:
        Q, s = self._contrasts, self._weight
        logs = log_softmax(self._X @ W @ Q.T)
        P = np.exp(logs)
        F = -float(s @ np.sum(self._label * logs, axis=1))
        M = P @ Q
        B = (P @ self._products).reshape(*M.shape, -1) - M[:, :, None] * M[:, None, :]
        return _Local(F, s[:, None] * (P - self._label) @ Q, s[:, None, None] * B)

    def _factor(self, B: Floats, l2: float) -> Floats:
        """Cholesky's of the Hessian, weights of a column side by side."""
        X, k = self._X, B.shape[1]
        H = np.empty((X.shape[1], k, X.shape[1], k))
        for a in range(k):
            for b in range(a + 1):
                H[:, a, :, b] = H[:, b, :, a] = (X * B[:, a, b, None]).T @ X
        system: Floats = H.reshape(X.shape[1] * k, -1)
        diagonal = np.diag_indices(len(system))
        system[diagonal] += np.repeat(l2 * self._penalised, k) + _RIDGE * len(X)
        return np.asarray(cholesky(system, lower=True, check_finite=False))
