"""A gap that is a bound: the dual objective at a distribution for each row.

For any distributions ``q_i`` that balance, ``sum_i s_i (q_i - y_i) = 0`` (without an intercept they
need not), and any (W, b), Fenchel duality gives

    F(W, b) - F*  <=  mean_i s_i KL(q_i || p_i) + sum [R(W) + R*(-G) + W G]
    G = mean_i s_i x_i^T (q_i - y_i)

with p_i the predictions at (W, b) and R the penalty. With ``u = soft(-G, l1)`` its part is

    sum (u - l2 W)^2 / (2 l2) + l1 |W| - clip(-G, l1) W

and both terms are sums of what is not negative; without l2, u must be 0. So the bound is as good as
the q are: ``q = p`` is useless where l2 is small. A Newton step (S, t) hands over far better ones,

    q_ik = p_ik (1 + z_ik - sum_l p_il z_il),   z = x S + t

the predictions at its end as the quadratic model has them: there ``G + l2 (W + S)`` is what is left
of the linear system, and the KL is of third order in the step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from skl_softmax._optimum import _kernels
from skl_softmax._penalties import Penalty
from skl_softmax._softmax import Codes, Floats

_LEAST = 1e-3  # a linearised probability is at least so much of the one before
_ROUNDS = 3  # each squares the imbalance
_SWEEPS = 3
_TOGETHER = 64  # rows whose numbers are in the nearest cache
_BLOCK_ROWS = 1 << 12
# The q of so many rows are moved for the classes to have their shares: of few, since numbers cost
# time, but of some for each class.
_SOME, _SOME_ENTRIES, _SOME_PER_CLASS = 2048, 1 << 14, 4
_NEWTON_STEPS = 20
# Times the mean square of a column: a weaker l2 leaves the bound to rounding, as 1e-30, 1e-12 did
# in columns of all scales.
_LEAST_L2 = {np.dtype(np.float64): 1e-28, np.dtype(np.float32): 1e-11}
PRECISE = 1e-3  # an objective below which rounding in float32 would be some of it
_SHARE_OFF = 1e-2  # of a class's share, that its mean probability may be
_BALANCED, _NEARLY = 1e-13, 1e2  # of the weights: to rounding, and near enough


@dataclass(frozen=True)
class Outlying:
    """Some rows that are much longer than the others."""

    at: Codes
    centred: Floats  # (len(at), n_features), float64


class WeightedRows(Protocol):
    """What is asked of the data."""

    y: Codes
    weight: Floats  # of mean 1
    fit_intercept: bool

    @property
    def n(self) -> int:
        """Number of rows."""

    @property
    def outlying(self) -> Outlying:
        """Rows that are moved one by one."""

    def gradient(self, R: Floats) -> tuple[Floats, Floats]:
        """``X^T R / n`` and ``1^T R / n``; any centre of X will do, where R balances."""


@dataclass
class Foretold:
    """A point, and what a quadratic model of another point foretells of the residuals there."""

    W: Floats
    scores: Floats
    F: float
    residual: Floats  # where the model was made
    U: Floats  # change of the scores from there to here


def can_be_bound(penalty: Penalty, deviation: Floats, dtype: np.dtype[np.floating]) -> bool:
    """Whether rounding allows a bound of the gap, in columns of these deviations."""
    return bool(penalty.l1 or penalty.l2 > _LEAST_L2[dtype] * float(deviation.max()) ** 2)


def duality_gap(rows: WeightedRows, penalty: Penalty, at: Foretold) -> float:
    """The bound at a point; ``at.U`` is used up, inf if it has no use."""
    y, n = rows.y, rows.n
    # With l1 what |G| exceeds it by, by rounding too, counts in the first order.
    dtype = np.dtype(np.float64) if penalty.l1 or at.F < PRECISE else at.U.dtype
    R, residual, Z, s = (
        a.astype(dtype, copy=False) for a in (at.U, at.residual, at.scores, rows.weight)
    )
    sums = np.zeros(Z.shape[1])
    total = _kernels.foretell(R, residual, Z, y, s, _LEAST, sums, _room(Z))

    def targets(some: slice | Codes) -> Floats:
        Q = R[some] / s[some].astype(np.float64)[:, None]
        Q[np.arange(len(Q)), y[some]] += 1
        return Q

    if rows.fit_intercept:
        moved = balance(targets, Z, s, -sums)
        if moved is None:
            return np.inf
        R[moved.at] += moved.change.astype(R.dtype)
        total += moved.grown
    G, _ = rows.gradient(R)
    if not penalty.l1 and penalty_gap(penalty, at.W, G) > total / n and len(rows.outlying.at):
        total += _fit_long_rows(rows, penalty.l2, at, targets(rows.outlying.at), G)
    if penalty.l1 and not penalty.l2:
        tau = feasible(penalty, G)
        if tau < 1:
            G *= tau
            Q = targets(slice(None)) * tau
            Q[np.arange(n), y] += 1 - tau
            total = divergence(Q, Z, s)
    return penalty_gap(penalty, at.W, G) + total / n


def feasible(penalty: Penalty, G: Floats) -> float:
    """How far the q may be from the labels for no entry of G to exceed l1."""
    return min(1.0, penalty.l1 / max(float(np.abs(G).max()), 1e-300))


def penalty_gap(penalty: Penalty, W: Floats, G: Floats) -> float:
    """``R(W) + R*(-G) + <W, G>``; without l2 no entry of G may exceed l1."""
    if not penalty.l1:
        away = G + penalty.l2 * W
        return float(np.vdot(away, away)) / (2 * penalty.l2)
    held = np.clip(-G, -penalty.l1, penalty.l1)
    gap = penalty.l1 * float(np.abs(W).sum()) - float(np.vdot(held, W))
    if penalty.l2:
        held += G
        held += penalty.l2 * W
        gap += float(np.vdot(held, held)) / (2 * penalty.l2)
    return gap


def _fit_long_rows(rows: WeightedRows, l2: float, at: Foretold, Q: Floats, G: Floats) -> float:
    """Move the q of rows that outlie, and G in place, to where the rows' part of G fits l2 W.

    So long a row turns a rounding of its q into a large part of ``G + l2 W``: 1e-16 times 1e12.
    Returns by how much the sum of ``s KL`` grows.
    """
    x = rows.outlying
    s = rows.weight[x.at].astype(np.float64)
    Z = at.scores[x.at].astype(np.float64)
    squares = np.einsum("ij,ij->i", x.centred, x.centred)
    before = divergence(Q, Z, s)
    for _ in range(_SWEEPS):
        for q, row, square, weight in zip(Q, x.centred, squares, s / rows.n, strict=True):
            change = -(row @ (G + l2 * at.W)) / (weight * square)
            falls = change < 0
            share = min(1.0, float(np.min(-q / change, initial=1.0, where=falls)))
            q += share * change
            G += np.outer(weight * row, share * change)
    return divergence(Q, Z, s) - before


def divergence(Q: Floats, scores: Floats, s: Floats) -> float:
    """Sum of ``s_i KL(q_i || S(z_i))``."""
    return measure(scores.copy(), Q, np.zeros(len(Q), np.intp), s)[1]


def measure(scores: Floats, Q: Floats, y: Codes, s: Floats) -> tuple[float, float]:
    """In place scores become residuals; the sums of ``s_i CE_i`` and ``s_i KL(q_i || S(z_i))``."""
    return _kernels.measure(scores, Q, y, s, _room(scores))


def _room(scores: Floats) -> Floats:
    return np.empty((2 * scores.shape[1] + 1, _TOGETHER), scores.dtype)


@dataclass
class Balanced:
    """Rows whose q have moved, by how much their ``s q`` have, and the growth of ``s KL``."""

    at: slice
    change: Floats
    grown: float


def balance(
    targets: Callable[[slice], Floats],
    scores: Floats,
    weight: Floats,
    missing: Floats,
    at_most_some: bool = False,
) -> Balanced | None:
    """Move ``sum_i s_i q_i`` by ``missing``: the q of some rows, or if they cannot be, of all."""
    some = _some(*scores.shape)
    for at in (some,) if at_most_some or some.step == 1 else (some, slice(None)):
        Q, s = targets(at), weight[at].astype(np.float64)
        Q /= Q.sum(axis=1, keepdims=True)
        moved = Q.copy()
        if rebalance(moved, s, missing):
            logs = np.log(np.maximum(Q, 1e-300))
            grown = np.log(np.maximum(moved, 1e-300))
            grown -= logs
            grown *= moved
            moved -= Q
            logs -= scores[at]  # a constant for each row is lost: the sums of rows are the same
            grown += moved * logs
            moved *= s[:, None]
            return Balanced(at, moved, float(s @ grown.sum(axis=1)))
    return None


def _some(n: int, K: int) -> slice:
    """Rows that can make up for the others."""
    rows = max(min(_SOME_ENTRIES // K, _SOME), _SOME_PER_CLASS * K)
    return slice(None, None, max(1, n // rows))


def rebalance(Q: Floats, s: Floats, missing: Floats) -> bool:
    """Move ``sum_i s_i q_i`` by ``missing``, in place, by one factor a class; whether it worked."""
    total = s.sum()
    goal = s @ Q + (missing - missing.mean())  # rows keep their sums; what is left is rounding
    for _ in range(_ROUNDS):
        away = goal - s @ Q
        if np.abs(away).max() <= _BALANCED * total:
            return True
        with np.errstate(all="ignore"):
            c = _tilt(Q, s, away)
        if not np.isfinite(c).all():
            return False
        Q *= 1 + c - (Q @ c)[:, None]
        if not Q.min() >= 0:
            return False
    return bool(np.abs(goal - s @ Q).max() <= _NEARLY * _BALANCED * total)


def _tilt(Q: Floats, s: Floats, away: Floats) -> Floats:
    """``c`` with ``sum_i s_i q_i (c - q_i c) = away``."""
    found = s @ Q
    J = np.diag(found) - (Q * s[:, None]).T @ Q
    J += found.mean() / len(found)  # which fixes the mean of c, that moves nothing
    try:
        c: Floats = np.linalg.solve(J, away)
    except np.linalg.LinAlgError:
        return np.full_like(away, np.nan)
    return c


def balanced_intercepts(residual: Floats, y: Codes, weight: Floats) -> tuple[Floats, float]:
    """What to add to the intercepts for every class to have its share of the probability.

    Newton's method on the mean loss in the intercepts alone, which at its minimum has that, from
    the residuals at a point, which are used up; zeros where all shares are met. Returns also by
    how much the loss changes.
    """
    n, K = residual.shape
    away = np.ones(n, residual.dtype) @ residual / n
    share = np.bincount(y, weight, K) / n
    b, step, loss = np.zeros(K), np.zeros(K), 0.0
    if (np.abs(away) <= _SHARE_OFF * share).all():
        return b, loss
    P = np.divide(residual, weight[:, None], out=residual)
    P[np.arange(n), y] += 1
    some = _some(n, K)
    s = weight[some] / weight[some].sum(dtype=np.float64)
    squares = np.zeros(K)
    for start in range(0, n, _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        squares += weight[block] @ P[block] ** 2
    for _ in range(_NEWTON_STEPS):
        factor = np.exp(b + step)
        sums = P @ factor.astype(P.dtype)
        found = float(weight @ np.log(sums).astype(np.float64)) / n - float(share @ (b + step))
        if found <= loss:
            b, loss = b + step, found
            mean = factor * (P.T @ (weight / sums)) / n
            if (np.abs(mean - share) <= 0.5 * _SHARE_OFF * share).all():
                break
            Q = P[some] * factor
            Q /= Q.sum(axis=1, keepdims=True)
            # Their curvature, but for each class that of all rows, about.
            J = np.diag(s @ Q) - (Q * s[:, None]).T @ Q
            held = np.maximum(np.diagonal(J), 1e-300)
            often = np.sqrt(np.maximum((mean - squares / n * factor**2) / held, _LEAST))
            J *= often * often[:, None]
            J += mean.mean() / K / (often * often[:, None])  # which does not see a shift of all
            step = np.linalg.solve(J, share - mean)
        else:
            step = step / 4
    return b, loss
