"""The shares of the classes: what moves targets, or intercepts, for the classes to have them.

At an optimum with an intercept the mean probability of every class is its weighted share of the
rows. The distributions of a dual point must have that too, ``sum_i s_i (q_i - y_i) = 0``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skl_softmax._softmax import Codes, Floats

# The q of so many rows are moved for the classes to have their shares: of few, since numbers cost
# time, but of some for each class.
_SOME, _SOME_ENTRIES, _SOME_PER_CLASS = 2048, 1 << 14, 4
_ROUNDS = 3  # each squares the imbalance
_BALANCED, _NEARLY = 1e-13, 1e2  # of the weights: to rounding, and near enough
_SHARE_OFF = 1e-2  # of a class's share, that its mean probability may be
_NEWTON_STEPS = 20
_LEAST_CURVATURE = 1e-3  # of a class, beside that of the rows that stand for all
_BLOCK_ROWS = 1 << 12


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
        if _rebalance(moved, s, missing):
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


def _rebalance(Q: Floats, s: Floats, missing: Floats) -> bool:
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
    return _solved(J, away)


def balanced_intercepts(residual: Floats, y: Codes, weight: Floats) -> tuple[Floats, float]:
    """What to add to the intercepts for every class to have its share of the probability.

    Newton's method on the mean loss in the intercepts alone, which at its minimum has that, from
    the residuals at a point, which are used up; zeros where all shares are met. Returns also by
    how much the loss changes.
    """
    n, K = residual.shape
    away = np.ones(n, residual.dtype) @ residual / n
    share = np.bincount(y, weight, K) / n
    b: Floats = np.zeros(K)
    step: Floats = np.zeros(K)
    loss = 0.0
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
        with np.errstate(all="ignore"):  # what overflows is no descent
            factor = np.exp(b + step)
            sums = P @ factor.astype(P.dtype)
            found = float(weight @ np.log(sums).astype(np.float64)) / n - float(share @ (b + step))
        if not found <= loss:
            step = step / 4
            continue
        b, loss = b + step, found
        mean = factor * (P.T @ (weight / sums)) / n
        if (np.abs(mean - share) <= 0.5 * _SHARE_OFF * share).all():
            break
        Q = P[some] * factor
        Q /= Q.sum(axis=1, keepdims=True)
        # Their curvature, but for each class that of all rows, about.
        J = np.diag(s @ Q) - (Q * s[:, None]).T @ Q
        held = np.maximum(np.diagonal(J), 1e-300)
        often = (mean - squares / n * factor**2) / held
        often = np.sqrt(np.maximum(often, _LEAST_CURVATURE))
        J *= often * often[:, None]
        J += mean.mean() / K / (often * often[:, None])  # which does not see a shift of all
        step = _solved(J, share - mean)
        if not np.isfinite(step).all():
            break
    return b, loss


def _solved(J: Floats, away: Floats) -> Floats:
    """``J^-1 away``; NaN where J is singular."""
    try:
        return np.asarray(np.linalg.solve(J, away))
    except np.linalg.LinAlgError:
        return np.full_like(away, np.nan)
