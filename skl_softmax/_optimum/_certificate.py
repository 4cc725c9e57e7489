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
from typing import Any, Protocol

import numpy as np

from skl_softmax._optimum import _kernels
from skl_softmax._optimum._class_shares import balance
from skl_softmax._penalties import Penalty
from skl_softmax._softmax import Codes, Floats

_LEAST = 1e-3  # a linearised probability is at least so much of the one before
_SWEEPS = 3  # over the rows that outlie
_TOGETHER = 64  # rows whose numbers are in the nearest cache
# Times the mean square of a column: a weaker l2 leaves the bound to rounding, as 1e-30, 1e-12 did
# in columns of all scales.
_LEAST_L2 = {np.dtype(np.float64): 1e-28, np.dtype(np.float32): 1e-11}
PRECISE = 1e-3  # an objective below which rounding in float32 would be some of it


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

    def centred(self, block: slice | Codes) -> Floats:
        """Their differences from the centre."""

    def of_all(self, W: Floats) -> Floats:
        """Weights of all columns, also of those that have none."""

    def gradient_of_all(self, R: Floats) -> Floats:
        """``X^T R / n`` of all columns; any centre of X will do, where R balances."""


@dataclass
class Foretold:
    """A point, and the residuals that a quadratic model of another point foretells for a third."""

    W: Floats
    scores: Floats
    F: float
    residual: Floats  # where the model was made
    U: Floats  # change of the scores from there to the third, which may be the first


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
        moved = balance(targets, Z, y, s, -sums)
        if moved is None:
            return np.inf
        R[moved.at] += moved.change.astype(R.dtype)
        total += moved.grown
    W, left = rows.of_all(at.W), rows.gradient_of_all(R)
    left += penalty.l2 * W
    if not penalty.l1 and penalty_gap(penalty, W, left) > total / n and len(rows.outlying.at):
        total += _fit_long_rows(rows, at, targets, left)
    if penalty.l1 and not penalty.l2:
        tau = feasible(penalty, left)
        if tau < 1:
            left *= tau
            Q = targets(slice(None)) * tau
            Q[np.arange(n), y] += 1 - tau
            total = divergence(Q, Z, s)
    return penalty_gap(penalty, W, left) + total / n


def feasible(penalty: Penalty, G: Floats) -> float:
    """How far the q may be from the labels for no entry of G to exceed l1."""
    return min(1.0, penalty.l1 / max(float(np.abs(G).max()), 1e-300))


def penalty_gap(penalty: Penalty, W: Floats, left: Floats) -> float:
    """``R(W) + R*(-G) + <W, G>`` from ``left = G + l2 W``; without l2 no |G| may exceed l1."""
    if not penalty.l1:
        return float(np.vdot(left, left)) / (2 * penalty.l2)
    held = np.clip(penalty.l2 * W - left, -penalty.l1, penalty.l1)
    gap = penalty.l1 * float(np.abs(W).sum()) - float(np.vdot(held, W))
    if penalty.l2:
        held += left
        gap += float(np.vdot(held, held)) / (2 * penalty.l2)
    return gap


def _fit_long_rows(
    rows: WeightedRows, at: Foretold, targets: Callable[[Any], Floats], left: Floats
) -> float:
    """Move the q of rows that outlie, and ``G + l2 W`` in place, to where it is 0 along them.

    So long a row turns a rounding of its q into a large part of ``G + l2 W``: 1e-16 times 1e12.
    The q of other rows make up for it. Returns by how much the sum of ``s KL`` grows.
    """
    x = rows.outlying
    s = rows.weight[x.at].astype(np.float64)
    Z = at.scores[x.at].astype(np.float64)
    Q = targets(x.at)
    moved = -(s @ Q)
    squares = np.einsum("ij,ij->i", x.centred, x.centred)
    grown = -divergence(Q, Z, s)
    for _ in range(_SWEEPS):
        for q, row, square, weight in zip(Q, x.centred, squares, s / rows.n, strict=True):
            change = -(row @ left) / (weight * square)
            falls = change < 0
            share = min(1.0, float(np.min(-q / change, initial=1.0, where=falls)))
            q += share * change
            left += np.outer(weight * row, share * change)
    grown += divergence(Q, Z, s)
    moved += s @ Q
    if rows.fit_intercept:
        others = np.delete(np.arange(rows.n), x.at)
        made_up = balance(targets, at.scores, rows.y, rows.weight, -moved, among=others)
        if made_up is None:
            return np.inf
        left += rows.centred(made_up.at).T @ (made_up.change / rows.n)
        grown += made_up.grown
    return grown


def divergence(Q: Floats, scores: Floats, s: Floats) -> float:
    """Sum of ``s_i KL(q_i || S(z_i))``."""
    return measure(scores.copy(), Q, np.zeros(len(Q), np.intp), s)[1]


def measure(scores: Floats, Q: Floats, y: Codes, s: Floats) -> tuple[float, float]:
    """In place scores become residuals; the sums of ``s_i CE_i`` and ``s_i KL(q_i || S(z_i))``."""
    return _kernels.measure(scores, Q, y, s, _room(scores))


def _room(scores: Floats) -> Floats:
    return np.empty((2 * scores.shape[1] + 1, _TOGETHER), scores.dtype)
