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

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from skl_softmax._kernels import residual
from skl_softmax._penalties import Penalty
from skl_softmax._softmax import Codes, Floats

_LEAST = 1e-3  # a linearised probability is at least so much of the one before
_ROUNDS = 3  # each squares the imbalance
_SWEEPS = 3
_BLOCK_ROWS = 1 << 12
_NEWTON_STEPS = 20
_SHARE_OFF = 1e-2  # of a class's share, that its mean probability may be
_BALANCED, _NEARLY = 1e-14, 1e3  # of the weights: to rounding, and near enough


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


def linearised(residual: Floats, U: Floats, y: Codes, weight: Floats) -> Floats:
    """``q`` in float64 from the residuals at a point and the change U of the scores."""
    every = np.arange(len(y))
    P = residual / weight.astype(np.float64)[:, None]
    P[every, y] += 1
    np.clip(P, 0, 1, out=P)
    away = U - np.einsum("ik,ik->i", P, U)[:, None]
    P *= np.maximum(1 + away, _LEAST)
    P /= P.sum(axis=1, keepdims=True)
    return P


def duality_gap(
    rows: WeightedRows, penalty: Penalty, W: Floats, scores: Floats, Q: Floats
) -> float:
    """The bound at the point (W, b) of these scores; ``Q`` is used up, inf if it has no use."""
    y, s = rows.y, rows.weight.astype(np.float64)
    every = np.arange(rows.n)
    if rows.fit_intercept:
        share = np.bincount(y, s, Q.shape[1])
        if not rebalance(Q, s, share - s @ Q):
            return np.inf
    R = s[:, None] * Q
    R[every, y] -= s
    G, _ = rows.gradient(R)
    del R
    if penalty.l2 and not penalty.l1:
        _fit_long_rows(rows, penalty.l2, W, Q, G)
    if penalty.l1 and not penalty.l2:
        tau = feasible(penalty, G)
        G *= tau
        Q *= tau
        Q[every, y] += 1 - tau
    return penalty_gap(penalty, W, G) + divergence(Q, scores, s) / rows.n


def feasible(penalty: Penalty, G: Floats) -> float:
    """How far the q may be from the labels for no entry of G to exceed l1."""
    return min(1.0, penalty.l1 / max(float(np.abs(G).max()), 1e-300))


def penalty_gap(penalty: Penalty, W: Floats, G: Floats) -> float:
    """``R(W) + R*(-G) + <W, G>``; without l2 no entry of G may exceed l1."""
    held = np.clip(-G, -penalty.l1, penalty.l1)
    gap = penalty.l1 * float(np.abs(W).sum()) - float(np.vdot(held, W))
    if penalty.l2:
        held += G
        held += penalty.l2 * W
        gap += float(np.vdot(held, held)) / (2 * penalty.l2)
    return gap


def _fit_long_rows(rows: WeightedRows, l2: float, W: Floats, Q: Floats, G: Floats) -> None:
    """Move the q of rows that outlie, in place with G, to where the rows' part of G fits l2 W.

    So long a row turns a rounding of its q into a large part of ``G + l2 W``: 1e-16 times 1e12.
    """
    x = rows.outlying
    squares = np.einsum("ij,ij->i", x.centred, x.centred)
    for _ in range(_SWEEPS):
        for i, row, square in zip(x.at, x.centred, squares, strict=True):
            s = float(rows.weight[i]) / rows.n
            change = -(row @ (G + l2 * W)) / (s * square)
            falls = change < 0
            share = min(1.0, float(np.min(-Q[i] / change, initial=1.0, where=falls)))
            Q[i] += share * change
            G += np.outer(s * row, share * change)


def divergence(Q: Floats, scores: Floats, s: Floats) -> float:
    """Sum of ``s_i KL(q_i || p_i)``."""
    total = 0.0
    for start in range(0, len(Q), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        q, Z = Q[block], scores[block].astype(np.float64)
        Z -= Z.max(axis=1, keepdims=True)
        P = np.exp(Z)
        sums = P.sum(axis=1, keepdims=True)
        P /= sums
        Z -= np.log(sums)
        np.subtract(np.log(q, out=np.zeros_like(q), where=q > 0), Z, out=Z)
        Z *= q
        Z -= q
        Z += P  # the sums are equal; so each term is exactly 0 where q = p
        total += float(s[block] @ np.maximum(Z.sum(axis=1), 0))
    return total


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


def shares_are_met(away: Floats, y: Codes, weight: Floats) -> bool:
    """Whether mean probabilities, ``away`` from the shares of the classes, are near enough."""
    share = np.bincount(y, weight, len(away)) / len(y)
    return bool((np.abs(away) <= _SHARE_OFF * share).all())


def balanced_intercepts(scores: Floats, y: Codes, weight: Floats) -> Floats:
    """What to add to the intercepts for every class to have its share of the probability.

    Newton's method on the mean loss in the intercepts alone, which at its minimum has that.
    """
    s = weight.astype(np.float64)
    n, K = float(s.sum()), scores.shape[1]
    share = np.bincount(y, s, K) / n
    Z = scores.astype(np.float64)
    b, step, loss = np.zeros(K), np.zeros(K), np.inf
    for _ in range(_NEWTON_STEPS):
        R = Z + (b + step)
        found = residual(R, y, s) / n
        if found <= loss:
            b, loss = b + step, found
            away = R.sum(axis=0) / n
            if (np.abs(away) <= 0.1 * _SHARE_OFF * share).all():
                break
            P = R / s[:, None]
            P[np.arange(len(y)), y] += 1
            J = np.diag(share + away) - (P * s[:, None]).T @ P / n
            step = -np.linalg.lstsq(J, away, rcond=None)[0]
        else:
            step = step / 4
    return b
