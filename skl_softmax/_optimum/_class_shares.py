"""The shares of the classes: what moves targets, or intercepts, for the classes to have them.

At an optimum with an intercept the mean probability of every class is its weighted share of the
rows. The distributions of a dual point must have that too, ``sum_i s_i (q_i - y_i) = 0``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from skl_softmax._softmax import Codes, Floats

# The q of so many rows are moved for the classes to have their shares: of few, since numbers cost
# time, but of some for each class.
_SOME, _SOME_ENTRIES, _SOME_PER_CLASS = 512, 1 << 13, 4
_FEW, _SOME_OF_RARE = 2, 8  # rows more of a class that has fewer than so many among them
_TILTS = 20  # steps to balanced q, at most
_FALL = 0.1  # of an imbalance, that a step may leave for the next to have its matrix
# Of the weights: to rounding, and near enough if that is all. What is off counts intercepts times:
# with 1e-13 a bound was 2e-8 of F too high where one row of 42 had a class, and its intercept 88.
_BALANCED, _NEARLY = 1e-15, 1e4
_SHARE_OFF = 1e-2  # of a class's share, that its mean probability may be
_NEWTON_STEPS, _SHORTER = 10, 15  # to balanced intercepts, at most: mostly 1 to 3, none shorter
_ALL_ROWS = 64  # classes up to which products of all rows cost about as much as two steps
_LEAST_CURVATURE = 1e-3  # of a class, beside that of the rows that stand for all
_BLOCK_ROWS = 1 << 12
_CANCELLED = 0.1  # of the larger term: a difference that has lost digits, or all of them
_APART = 50.0  # intercepts, at most: a probability that is 0 in float32 is one of e^-80 or less


@dataclass
class Balanced:
    """Rows whose q have moved, by how much their ``s q`` have, and the growth of ``s KL``."""

    at: Codes
    change: Floats
    grown: float


def balance(
    targets: Callable[[Codes], Floats],
    scores: Floats,
    y: Codes,
    weight: Floats,
    missing: Floats,
    at_most_some: bool = False,
    among: Codes | None = None,
) -> Balanced | None:
    """Move ``sum_i s_i q_i`` by ``missing``: the q of some rows, or if they cannot be, of all.

    All are those at ``among``, if that is given.
    """
    some = _some(y if among is None else y[among], scores.shape[1])
    everyone = np.arange(len(y)) if among is None else among
    some = some if among is None else among[some]
    for at in (some,) if at_most_some or len(some) == len(everyone) else (some, everyone):
        Q, s = targets(at), weight[at].astype(np.float64)
        Q /= Q.sum(axis=1, keepdims=True)
        found = _tilted(Q, s, missing)
        if found is not None:
            moved, c, log_total = found
            logs = np.log(np.maximum(Q, 1e-300))
            logs -= scores[at]  # a constant for each row is lost: the sums of rows are the same
            grown = float(s @ (moved @ c - log_total))
            moved -= Q
            moved *= s[:, None]
            return Balanced(at, moved, grown + float(np.vdot(moved, logs)))
    return None


def _some(y: Codes, K: int) -> Codes:
    """Rows that can make up for the others: every so many-th, and some of the rarest classes."""
    n = len(y)
    rows = max(min(_SOME_ENTRIES // K, _SOME), _SOME_PER_CLASS * K)
    at = np.arange(0, n, max(1, -(-n // rows)))
    rare = np.bincount(y[at], minlength=K) < _FEW
    if len(at) == n or not rare.any():
        return at
    others = np.flatnonzero(rare[y])
    others = others[np.argsort(y[others], kind="stable")]
    first = np.searchsorted(y[others], y[others])  # of the same class
    few = np.arange(len(others)) - first < _SOME_OF_RARE
    return np.union1d(at, others[few])


def _tilted(Q: Floats, s: Floats, missing: Floats) -> tuple[Floats, Floats, Floats] | None:
    """The ``q e^c / total`` for which ``sum_i s_i q_i`` has moved by ``missing``, c, log total.

    They are the nearest, in the mean of ``s KL(new || q)``, which Newton's method minimises in c.
    Its matrix is kept while that brings an imbalance down tenfold at least. None: it has failed.
    """
    ones, found = np.ones(Q.shape[1]), s @ Q
    goal = found + (missing - missing.mean())  # rows keep their sums; what is left is rounding
    c, moved, total, away = np.zeros(len(ones)), Q, np.ones(len(Q)), goal - found
    off, enough = np.abs(away).max(), _BALANCED * s.sum()
    inverse: Floats | None = None
    step: Floats | None = None
    for _ in range(_TILTS):
        if off <= enough:
            break
        inverse = _inverse(_curvature(moved, s)) if inverse is None else inverse
        step = inverse @ away if step is None else step / 4
        with np.errstate(all="ignore"):  # what overflows is no nearer
            further = Q * np.exp(c + step)
            sums = further @ ones
            further /= sums[:, None]
        left = goal - s @ further
        tried = np.abs(left).max()
        if tried < off:
            c, moved, total, away = c + step, further, sums, left
            inverse, step, off = (inverse if tried <= _FALL * off else None), None, tried
        elif off <= _NEARLY * enough:
            break
    return (moved, c, np.log(total)) if off <= _NEARLY * enough else None


def _curvature(Q: Floats, s: Floats) -> Floats:
    """``sum_i s_i (diag q_i - q_i q_i^T)``, and what fixes the mean of c, that moves nothing."""
    found = s @ Q
    J = np.diag(found) - (Q * s[:, None]).T @ Q
    J += found.mean() / len(found)
    return J


def balanced_intercepts(
    residual: Floats, y: Codes, weight: Floats, share: Floats
) -> tuple[Floats, float]:
    """What to add to the intercepts for every class to have its share of the probability.

    Newton's method on the mean loss in the intercepts alone, which at its minimum has that, from
    the residuals at a point; zeros where all shares are met. Returns also by how much the loss
    changes.
    """
    n, K = residual.shape
    mean = np.ones(n, residual.dtype) @ residual / n
    b: Floats = np.zeros(K)
    loss = 0.0
    if (np.abs(mean) <= _SHARE_OFF * share).all():
        return b, loss
    rounding = float(np.finfo(residual.dtype).eps)  # of a loss of at most about 1 more or less
    mean += share
    J = _curvature_of_all(residual, y, weight, mean)
    J += 1 / K**2 * J.trace()  # which does not see a shift of all
    for _ in range(_NEWTON_STEPS):
        with np.errstate(all="ignore"):  # what overflows is not taken
            step = _inverse(J) @ (share - mean)
            step -= step.mean()
        for _ in range(_SHORTER):
            if np.ptp(b + step) <= _APART:
                found, there = _moved(residual, y, weight, b + step)
                found -= float(share @ (b + step))
                if found <= loss + rounding:
                    break
            step = step / 4
        else:
            break
        met, foretold = there - mean, J @ step
        b, loss, mean = b + step, found, there
        balanced = (np.abs(mean - share) <= _SHARE_OFF * share).all()
        if balanced or not (met @ step > 0 and step @ foretold > 0):
            break
        J += np.outer(met, met) / (met @ step) - np.outer(foretold, foretold) / (step @ foretold)
    return b, loss


def _moved(residual: Floats, y: Codes, weight: Floats, b: Floats) -> tuple[float, Floats]:
    """Mean of ``s log(sum_k p_k e^b_k)``, and of ``s p`` once b is added to the intercepts.

    Where the residuals do not say how small a label's probability is, it counts as the largest that
    they allow, so that the mean is never below the true one.
    """
    n, K = residual.shape
    f = np.exp(b).astype(residual.dtype)
    total, loss = np.zeros(K), 0.0
    for start in range(0, n, _BLOCK_ROWS):  # sums of few rows: some classes have hardly more
        block = slice(start, start + _BLOCK_ROWS)
        R, labels, s = residual[block], y[block], weight[block]
        sums = R @ f / s + f[labels]
        lost = np.flatnonzero(sums < _CANCELLED * f[labels])
        if len(lost):
            P = R[lost] / s[lost, None]
            own = np.arange(len(lost)), labels[lost]
            P[own] = np.maximum(P[own] + 1, 0) + np.finfo(P.dtype).eps
            sums[lost] = P @ f
        loss += float(s @ np.log(sums))
        total += 1 / sums @ R
        total += np.bincount(labels, s / sums, K)
    return loss / n, f * total / n


def _curvature_of_all(residual: Floats, y: Codes, weight: Floats, mean: Floats) -> Floats:
    """The curvature of the mean loss in the intercepts, ``mean_i s_i (diag p_i - p_i p_i^T)``.

    From ``s (p - y)``. Of many classes that would take long: there how often two of them meet is as
    in some rows, but for each class the sum is that of all.
    """
    n, K = residual.shape
    if K > _ALL_ROWS:
        return _curvature_of_some(residual, y, weight, mean)
    products: Floats = np.zeros((K, K))
    for start in range(0, n, _BLOCK_ROWS):  # that stay in the cache
        R = residual[start : start + _BLOCK_ROWS]
        products += R.T @ (R / weight[start : start + _BLOCK_ROWS, None])
    own = sparse.csr_array((np.ones(n, residual.dtype), y, np.arange(n + 1)), shape=(n, K))
    of_labels = own.T @ residual
    products += of_labels
    products += of_labels.T
    products[np.diag_indices(K)] += np.bincount(y, weight, K)
    return np.asarray(np.diag(mean) - products / n)


def _curvature_of_some(residual: Floats, y: Codes, weight: Floats, mean: Floats) -> Floats:
    n, K = residual.shape
    undecided = 1 - _squares(residual, y, weight) / (n * np.maximum(mean, 1e-300))
    held = np.maximum(undecided, 0) * mean
    some = _some(y, K)
    s = weight[some].astype(np.float64)
    Q = residual[some] / s[:, None]
    Q[np.arange(len(Q)), y[some]] += 1
    W = (Q * s[:, None]).T @ Q / s.sum()
    np.fill_diagonal(W, 0)
    often = np.sqrt(np.maximum(held / np.maximum(W.sum(axis=0), 1e-300), _LEAST_CURVATURE))
    W *= often * often[:, None]
    return np.asarray(np.diag(np.maximum(held, W.sum(axis=0))) - W)


def _squares(residual: Floats, y: Codes, weight: Floats) -> Floats:
    """``sum_i s_i p_i^2``, from ``s (p - y)``, a few rows at a time."""
    n, K = residual.shape
    found: Floats = np.zeros(K)
    found += np.bincount(y, 2 * residual[np.arange(n), y] + weight, K)
    for start in range(0, n, _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        found += 1 / weight[block] @ residual[block] ** 2
    return found


def _inverse(J: Floats) -> Floats:
    """``J^-1``; NaN where J is singular."""
    try:
        return np.asarray(np.linalg.inv(J))
    except np.linalg.LinAlgError:
        return np.full_like(J, np.nan)
