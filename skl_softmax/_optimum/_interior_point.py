"""The barrier move for l1: Newton's method on a smoothed absolute value, solved in the rows' space.

    |w|  <-  min_s l1 s - mu log(s^2 - w^2),    s = c + sqrt(c^2 + w^2),  c = mu / l1
    slope l1 w / s,   curvature theta = l1 c / (s sqrt(c^2 + w^2))

mu falls as its minimum is met, and with it what the smoothing costs, at most 2 mu a weight (Koh,
Kim & Boyd, J. Mach. Learn. Res. 8, 2007). No working set, and no trouble where columns are nearly
collinear: a proximal model then has many more weights to try than an optimum can have, one for each
row and class but one. Nor does a slope ever exceed l1, so the gap is that of an exact dual point.

With few rows the step costs little: the Hessian is ``X^T B B^T X + theta``, B of a block of K for
each row, so that by Woodbury's identity

    (theta + X^T B B^T X)^-1 = theta^-1 - theta^-1 X^T B M^-1 B^T X theta^-1
    M = 1 + B^T X theta^-1 X^T B

is a system of n K. A point of the barrier has no zeros. At the end, l1 alone, it is moved to one
that has as few weights as rows determine, with the same scores and no larger norm.
"""

import numpy as np
from scipy.linalg import cho_solve, qr

from skl_softmax._optimum._certificate import duality_gap
from skl_softmax._optimum._newton_move import Objective, Point, raised_cholesky
from skl_softmax._softmax import Floats

_FIRST, _LEAST = 0.1, 1e-12  # of F: what the smoothing may cost at first, and at last
_LESS = 0.2  # mu falls to this share of itself
# Of what the smoothing costs, that a step still promises before it does. With .3 a third of spectra
# at alpha 1e-7 took 200 moves and more, with .01 half as many, and fewer yet; steps get short else.
_CENTRED = 1e-3
_ROUNDING = 1e-12  # of F
_NO_PIVOT = 1e-11  # of the largest: what is left of a column that others span
_RIDGE = 1e-9  # of the intercepts, one shift of which has no curvature
_REFINED = 1  # times that a solution is refined: theta spans ten decimal powers and more
_SHORTEST, _ARMIJO = 1e-8, 1e-4
_MOST_SYSTEM = 1500  # n K: 1e9 operations a step
_MOST_PRODUCTS = 1e9  # n^2 d K


def affordable(n: int, d: int, n_classes: int) -> bool:
    """Whether a step costs some tenths of a second at most."""
    return n * n_classes <= _MOST_SYSTEM and n * n * d * n_classes <= _MOST_PRODUCTS


class InteriorPoint:
    """Moves on ``F(W, b)`` with l1 > 0; keeps a point of its own, that has no zeros, and mu."""

    def __init__(self, objective: Objective, scale: Floats, n_classes: int) -> None:
        self.objective = objective
        rows = objective.rows
        self._scale = scale[:, None]
        self._X = rows.centred(slice(0, rows.n)).astype(np.float64) * scale
        self._s = rows.weight.astype(np.float64)[:, None] / rows.n
        self._l1 = objective.penalty.l1 * self._scale * np.ones(n_classes)
        self._l2 = objective.penalty.l2 * self._scale**2
        # From zero: from weights of which some are 0 and others not, steps may be too short.
        self._W = np.zeros((rows.d, n_classes))
        self._here = self._point(self._W, np.zeros(n_classes))
        self._mu = _FIRST * self.F / (2 * self._W.size)

    @property
    def F(self) -> float:
        """At the point of its own."""
        return self._here.F

    def move(self, point: Point) -> tuple[Point, float]:
        """A step; the better of the point given and of where it led, and a bound of its gap."""
        here = self._here
        c = self._mu / self._l1
        root = np.sqrt(c * c + self._W**2)
        s = c + root
        slope = self._l1 * self._W / s
        theta = self._l1 * c / (s * root) + self._l2
        g = here.G * self._scale + slope
        D, e = self._solved(here, theta, -g, -here.g)
        if len(e) == 2:
            D[:, 1], e[1] = -D[:, 0], -e[0]
        promised = -float(np.vdot(g, D) + here.g @ e)
        U = self._X @ D + e
        t, value = 1.0, self._smoothed(here.scores, self._W)
        while t > _SHORTEST:
            found = self._smoothed(here.scores + t * U, self._W + t * D)
            if found <= value - _ARMIJO * t * promised:
                self._W = self._W + t * D
                self._here = self._point(self._W, here.b + t * e)
                break
            t /= 2
        there = self._here
        foretold = here.foretells(there, U.astype(here.scores.dtype))
        gap = duality_gap(self.objective.rows, self.objective.penalty, foretold)
        if promised <= _CENTRED * 2 * self._mu * self._W.size or t <= _SHORTEST:
            least = _LEAST * there.F / (2 * self._W.size)
            self._mu = max(_LESS * self._mu, least)
        best = there if there.F <= point.F else point
        return best, best.F - there.F + gap

    def finished(self, point: Point) -> Point:
        """The point with as few weights as rows determine, of the same objective to rounding."""
        if self.objective.penalty.l2:
            return point
        W = basic(self._X, point.W / self._scale, self._scale)
        new = self._point(W, point.b)
        return new if new.F <= point.F * (1 + _ROUNDING) else point

    def _point(self, W: Floats, b: Floats) -> Point:
        return self.objective.at(W * self._scale, b)

    def _smoothed(self, Z: Floats, W: Floats) -> float:
        """The objective with the smoothed penalty."""
        rows = self.objective.rows
        _, loss = self.objective.loss(Z.astype(rows.dtype, copy=False))
        c = self._mu / self._l1
        s = c + np.sqrt(c * c + W * W)
        penalty = float((self._l1 * s - self._mu * np.log(2 * c * s) + self._l2 / 2 * W * W).sum())
        return loss / rows.n + penalty

    def _solved(self, here: Point, theta: Floats, G: Floats, g: Floats) -> tuple[Floats, Floats]:
        """``(H + theta)^-1 (G, g)``, by Woodbury's identity, refined."""
        X, rows = self._X, self.objective.rows
        n, K = here.residual.shape
        P = here.probabilities(slice(0, n))
        root = np.sqrt(self._s * P)
        free = 1 / _RIDGE if rows.fit_intercept else 0.0
        B = root[:, :, None] * np.eye(K) - P[:, :, None] * root[:, None, :]
        M = np.zeros((n, K, n, K))
        for k in range(K):
            seen = (X / theta[:, k]) @ X.T + free
            for i in range(K):
                half = B[:, k, i, None] * seen
                for j in range(i + 1):
                    M[:, i, :, j] += half * B[:, k, j]
        for i in range(K):
            for j in range(i):
                M[:, j, :, i] = M[:, i, :, j].T
        system = M.reshape(n * K, n * K)
        system[np.diag_indices(n * K)] += 1
        unit = 1 / np.sqrt(np.diagonal(system))
        system *= unit
        system *= unit[:, None]
        factor = raised_cholesky(system)
        unit = unit.reshape(n, K)

        def solve(G: Floats, g: Floats) -> tuple[Floats, Floats]:
            u = X @ (G / theta) + free * g
            v = (unit * np.einsum("ika,ik->ia", B, u)).ravel()
            z = unit * cho_solve(factor, v, check_finite=False).reshape(n, K)
            r = np.einsum("ika,ia->ik", B, z)
            return (G - X.T @ r) / theta, free * (g - r.sum(axis=0))

        D, e = solve(G, g)
        for _ in range(_REFINED):
            U = X @ D + e
            U = self._s * P * (U - np.sum(P * U, axis=1, keepdims=True))
            more, more_e = solve(G - X.T @ U - theta * D, g - U.sum(axis=0) - e / max(free, 1e-300))
            D, e = D + more, e + (more_e if rows.fit_intercept else 0)
        return D, e


def basic(X: Floats, W: Floats, cost: Floats) -> Floats:
    """Weights of the same scores, up to a shift of a row, and of no larger ``sum cost |W|``.

    Of each class no more than there are rows, then of all no more than rows times classes but one.
    """
    K = W.shape[1]
    if K == 2:
        w = W[:, 0].copy()
        _drop(X, w, cost[:, 0])
        return np.column_stack([w, -w])
    W = W.copy()
    for k in range(K):
        _drop(X, W[:, k], cost[:, 0])
    at = np.flatnonzero(W.ravel())
    features, classes = at // K, at % K
    # Scores less those of the last class, class by class.
    blocks = np.where(classes == K - 1, -1.0, np.arange(K - 1)[:, None] == classes)
    A = (blocks[:, None, :] * X[:, features]).reshape(-1, len(at))
    w = W[features, classes]
    _drop(A, w, cost[features, 0])
    W[features, classes] = w
    return W


def _drop(A: Floats, w: Floats, cost: Floats) -> None:
    """Set weights to 0, in place, while the columns of A that have one are dependent."""
    kept = np.empty(0, np.intp)
    more = np.flatnonzero(w)
    while len(more):  # as many columns at a time as there are rows: a product of two such at most
        S, more = np.append(kept, more[: len(A)]), more[len(A) :]
        w[S] = _independent(A[:, S], w[S], cost[S])
        kept = S[w[S] != 0]


def _independent(A: Floats, w: Floats, cost: Floats) -> Floats:
    """The same ``A w`` with columns that are independent, and no larger ``cost |w|``.

    Along a dependence the cost is linear up to where the first weight is 0: one way it falls.
    """
    if len(w) < 2:
        return w
    Q, R, _ = qr(A.T, pivoting=True, check_finite=False)
    pivots = np.abs(np.diagonal(R))
    N = np.asfortranarray(Q[:, np.count_nonzero(pivots > _NO_PIVOT * pivots[0]) :])
    for left in range(N.shape[1], 0, -1):
        along = N[:, left - 1]
        along = along if cost @ (np.sign(w) * along) <= 0 else -along
        towards = np.flatnonzero(w * along < 0)
        if not len(towards):
            continue
        lengths = -w[towards] / along[towards]
        i = towards[lengths.argmin()]
        w = w + lengths.min() * along
        w[i] = 0
        # A reflection after which only the last dependence has an entry there, and is dropped.
        u = N[i, :left].copy()
        u[-1] += np.copysign(np.linalg.norm(u), u[-1])
        u /= np.linalg.norm(u)
        N[:, :left] -= 2 * np.outer(N[:, :left] @ u, u)
        N[i, : left - 1] = 0
    return w
