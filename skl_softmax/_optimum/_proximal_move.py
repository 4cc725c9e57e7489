"""Proximal Newton, the deterministic move where l1 asks for exact zeros.

    D = argmin <G, D> + 1/2 <D, (H + damping) D> + l1 |W + D|_1,      W <- W + t D

with the Hessian H of the mean loss and l2, coupled over the classes, on a working set: the weights
that are not 0, those at 0 whose gradient exceeds l1, and the intercepts. The length t is found on
scores, without reading X again, by backtracking (Lee, Sun & Saunders, SIAM J. Optim. 24, 2014;
sufficient decrease of Tseng & Yun, Math. Program. 117, 2009), so the objective never rises. The
model is minimised by coordinate descent, and near the optimum by turns of it and Newton steps on
the support, in which weights that would change sign stop at exactly 0, together or one by one.
Then convergence is quadratic. A metric of one block a class converged in hundreds of moves where
few rows are undecided (digits at l1 = 1e-5), since it sees nothing of what two classes share.

Where the working set would be too large, a move takes a random part of it, and then polishes: a
Newton-CG step (`_newton_move.solve`) on the whole support with its signs held, in the metric of the
classes' own curvature (`_metric`) on that support.

Where the working set is larger than rows times classes, and these are few, a barrier move is sooner
(`_interior_point`).

Last, what the softmax does not see: a shift of a feature's weights, the same for all classes, to
the least penalty, which is a median.

Gap. The predictions of a solved model are a dual point (`_certificate`), with l1 alone shrunk to
where no entry of the gradient exceeds l1: a bound of first order in what one did.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import blas, cho_factor, cho_solve

from skl_softmax._optimum import _kernels
from skl_softmax._optimum._certificate import duality_gap
from skl_softmax._optimum._interior_point import InteriorPoint, affordable
from skl_softmax._optimum._metric import Curvature
from skl_softmax._optimum._newton_move import (
    Objective,
    Point,
    System,
    raised_cholesky,
    shorter,
    solve,
)
from skl_softmax._softmax import Codes, Floats

_FIRST_DAMPING = 1e-3  # of columns of deviation 1; divided or multiplied by 4 from there on
_RIDGE = {np.dtype(np.float64): 1e-15, np.dtype(np.float32): 1e-5}  # of H's diagonal
_FEW = 1000  # weights in a part of the working set; all are taken up to twice the support,
_MOST = 2500  # and so many: H takes 50 MB, as the metrics of 10 classes and 784 features do
_FLOAT64_COST = 2e9  # products n m^2 up to which H is computed in float64
_HESSIAN_ROWS = 16  # times m, at least, where every so-manieth row is Hessian enough: far off,
_LEAST_HESSIAN_ROWS = 4096
_NEAR = 0.05  # share of F gained below which the next model is solved in full
_SWEEPS, _SWEEP_TOL = 100, 1e-3  # else: a rough solution does not overshoot
_ROUNDS, _MOST_ROUNDS, _ROUND_SWEEPS, _ROUND_TOL = 8, 128, 20, 1e-2
_SOLVING_COST = 1e9  # numbers multiplied, about, in the systems of one round
_ARMIJO = 0.01  # share of the slope that a step must gain
_POOR, _GOOD = 0.25, 0.45  # share of the slope gained; a model that is exact gains half
_MOST_DAMPING = 1e6
_SOLVED = 0.05  # share of a promise that a model may have left; a damped one is easier
_ONWARD = 64  # divides the damping near the optimum, where it is all that slows a move down
_MAX_TRIALS = 40
_TO_COME = 5  # times what a turn of all parts of the working set gains at the last moves' rate
_STALE = 0.1  # share that F fell by since the metric for polishing was built
_FLOOR = 1e-3  # of C, by the mean curvature, in that metric


@dataclass
class Step:
    """A model's minimum: where it leads, and what it promises."""

    W: Floats
    e: Floats  # change of the intercepts
    promised: float
    rest: float  # what the model may still have to gain


class ProximalNewton:
    """Moves on ``F(W, b)`` with l1 > 0; keeps damping, and the metric for polishing."""

    def __init__(
        self,
        objective: Objective,
        curvature: Curvature,
        near: bool,
        rng: np.random.RandomState,
        damping: float | None = None,
    ) -> None:
        self.objective, self.curvature, self.rng = objective, curvature, rng
        self._scale = curvature.scale
        self.damping = damping or _FIRST_DAMPING
        self._polish_damping = _FIRST_DAMPING
        self._near = near  # the optimum, by what the last move gained
        self._rounds = _ROUNDS  # to solve a model in; more where it was not solved
        self._gained = 0.0  # by the last moves on parts of the working set, the older the less
        self._blocks: list[tuple[Floats, Floats, float]] = []
        self._built_at = np.inf  # F there
        self._interior: InteriorPoint | None = None

    def move(self, point: Point) -> tuple[Point, float]:
        """One move; the new point and a bound of its gap."""
        if self._interior is not None:
            return self._interior.move(point)
        features, classes, share = self._working_set(point)
        n, K = point.residual.shape
        if len(features) / share >= n * K and affordable(n, len(point.W), K):
            self._interior = InteriorPoint(self.objective, self._scale, K)
            return self._interior.move(point)
        precise = self._near
        step = self._step(point, features, classes, precise)
        new, t, slope, U = self._line(point, step)
        gap = self._gap(point, new, U) if precise else np.inf
        gained = point.F - new.F
        unsolved = precise and step.rest > _SOLVED * step.promised
        most = min(_MOST_ROUNDS, int(_SOLVING_COST // (1 + len(features)) ** 3))
        if unsolved and self._rounds < most:
            self._rounds, unsolved = 2 * self._rounds, False
        if t == 1 and gained > _GOOD * slope and not unsolved:
            self.damping /= _ONWARD if precise else 4
        elif slope and (unsolved or t < 0.5 or gained < _POOR * slope):
            self.damping = min(4 * self.damping, _MOST_DAMPING)
        if share < 1:
            new, gap = self._polish(new)
            gained = point.F - new.F
        self._near = gained < _NEAR * point.F
        return new, gap

    def is_away(self, point: Point) -> bool:
        """Whether moves are on their way from a worse point than this."""
        return self._interior is not None and self._interior.F > point.F

    def finished(self, point: Point) -> Point:
        """The point with its zeros, where moves have none."""
        return point if self._interior is None else self._interior.finished(point)

    def _gap(self, point: Point, new: Point, U: Floats) -> float:
        """By the predictions of the full step's model, also where a shorter one was taken."""
        foretold = point.foretells(new, U)
        return duality_gap(self.objective.rows, self.objective.penalty, foretold)

    def _working_set(self, point: Point) -> tuple[Codes, Codes, float]:
        """Features and classes of the weights to move, by class, and their share of all such."""
        K = len(point.b)
        support = point.W != 0
        excess = (np.abs(point.G) - self.objective.penalty.l1) * self._scale[:, None]
        found = (support | (excess > 0))[:, : 1 if K == 2 else K].T
        classes, features = np.nonzero(found)
        most = min(max(_FEW, 2 * int(np.count_nonzero(support))), _MOST)
        if len(features) <= most:
            return features, classes, 1.0
        if support.any():
            chosen = self.rng.permutation(len(features))[:_FEW]
        else:
            chosen = np.argsort(-excess[features, classes], kind="stable")[:_FEW]
        chosen = np.sort(chosen)
        return features[chosen], classes[chosen], _FEW / len(features)

    def _step(self, point: Point, features: Codes, classes: Codes, precise: bool) -> Step:
        rows, penalty = self.objective.rows, self.objective.penalty
        H = self._hessian(point, features, classes)
        scale, m = self._scale[features], len(features)
        free = np.zeros(len(H) - m)  # one for each class with an intercept
        w = np.concatenate([point.W[features, classes] / scale, free])
        g = np.concatenate([point.G[features, classes] * scale, point.g[: len(free)]])
        reach = np.concatenate([penalty.l1 * scale, free])
        at = np.diag_indices(len(H))
        H[at] *= 1 + _RIDGE[rows.dtype]
        H[at] += self.damping + 1e-15
        H[:m, :m][np.diag_indices(m)] += penalty.l2 * scale**2
        if len(point.b) > 2:
            _hold_shifts(H, features, classes, len(point.b))
        promised, rest = minimise(H, reach, w, g, self._rounds if precise else 0)
        W, e = point.W.copy(), np.zeros_like(point.b)
        W[features, classes] = w[:m] * scale
        e[: len(free)] = w[m:]
        return Step(W, e, promised, rest)

    def _hessian(self, point: Point, features: Codes, classes: Codes) -> Floats:
        """``mean_i s_i (p_ik [k = l] - p_ik p_il) x_ij x_ih`` of the working set and intercepts.

        In columns of deviation 1. For two classes that of the first, of twice the curvature since
        the other mirrors it.
        """
        rows, n_classes = self.objective.rows, len(point.b)
        held = range(1 if n_classes == 2 else n_classes)
        columns = [features[classes == k] for k in held]
        ends = np.cumsum([0] + [len(c) for c in columns])
        m, bias = len(features), int(rows.fit_intercept)
        at = [np.append(np.arange(ends[k], ends[k + 1]), np.full(bias, m + k)) for k in held]
        size = m + bias * len(held)
        dtype = np.dtype(np.float64) if rows.n * size**2 < _FLOAT64_COST else rows.dtype
        syrk = blas.get_blas_funcs("syrk", dtype=dtype)
        scale = self._scale.astype(dtype)
        cross = np.zeros((size, size), dtype, order="F")
        own = [np.zeros((len(a), len(a)), dtype, order="F") for a in at]
        stride = (
            1 if self._near else max(1, rows.n // max(_HESSIAN_ROWS * size, _LEAST_HESSIAN_ROWS))
        )
        for block in rows.blocks(None, stride):
            B = rows.centred(block).astype(dtype, copy=False)
            B *= scale
            s = rows.weight[block].astype(dtype)
            P = point.probabilities(block).astype(dtype, copy=False)
            M = np.empty((len(P), size if n_classes > 2 else 0), dtype, order="F")
            for k in held:
                if len(at[k]) == 0:
                    continue
                p = P[:, k]
                V = np.ones((len(P), len(at[k])), dtype, order="F")
                V[:, : len(columns[k])] = B[:, columns[k]]
                if n_classes > 2:
                    M[:, at[k]] = V * (np.sqrt(s) * p)[:, None]
                V *= np.sqrt(s * p * (1 - p) * (2 if n_classes == 2 else 1))[:, None]
                own[k] = syrk(1.0, V, beta=1.0, c=own[k], trans=1, lower=1, overwrite_c=1)
            if n_classes > 2 and size:
                cross = syrk(-1.0, M, beta=1.0, c=cross, trans=1, lower=1, overwrite_c=1)
        H = np.tril(cross).astype(np.float64)
        for k in held:
            H[np.ix_(at[k], at[k])] = np.tril(own[k])
        H += np.tril(H, -1).T
        H *= stride / rows.n
        return H

    def _line(self, point: Point, step: Step) -> tuple[Point, float, float, Floats]:
        """The point that backtracking finds, the length, minus the slope, the change of scores.

        That is the one of the full step.
        """
        penalty, e = self.objective.penalty, step.e
        if len(e) == 2:
            step.W[:, 1], e[1] = -step.W[:, 0], -e[0]
        D = step.W - point.W
        slope = float(np.vdot(point.G, D) + point.g @ e)
        slope += penalty.l1 * float(np.abs(step.W).sum() - np.abs(point.W).sum())
        if not slope < 0:
            return point, 0.0, 0.0, np.zeros_like(point.scores)
        U = self.objective.rows.all_scores(D, e)
        t = 1.0
        for _ in range(_MAX_TRIALS):
            Z = point.scores + U.dtype.type(t) * U
            R, loss = self.objective.loss(Z)
            W = step.W if t == 1 else point.W + t * D
            gained = point.F - self.objective.penalised(loss, W)
            if gained > 0 and gained >= -_ARMIJO * t * slope:
                W = least_shift(W, penalty.l2, penalty.l1)
                return self.objective.known(W, point.b + t * e, Z, R, loss), t, -slope, U
            t = shorter(t, slope, gained)
        return point, 0.0, -slope, U

    def _polish(self, point: Point) -> tuple[Point, float]:
        """A damped Newton-CG step on the support, and the gap that it foretells there."""
        sign = np.sign(point.W)
        metric = self._metric_on(point, sign)
        G = point.G + self.objective.penalty.l1 * sign
        D, e, promised, rest, _ = solve(
            self.objective, point, G, System(metric, self._polish_damping)
        )
        W = point.W + D
        W[W * sign < 0] = 0
        step = Step(W, e, promised, rest)
        new, _, _, U = self._line(point, step)
        gained = point.F - new.F
        if gained > 0.75 * promised:
            self._polish_damping /= 4
        elif gained < 0.25 * promised:
            self._polish_damping = min(4 * self._polish_damping, _MOST_DAMPING)
        return new, self._gap(point, new, U)

    def _metric_on(
        self, point: Point, sign: Floats
    ) -> Callable[[Floats, Floats], tuple[Floats, Floats]]:
        """``P`` of the weights whose sign is not 0."""
        curvature, K = self.curvature, len(point.b)
        if not self._blocks or point.F / self._built_at < 1 - _STALE:
            self._blocks = list(curvature.blocks(point.residual, _FLOOR))
            self._built_at = point.F
        scale = self._scale
        factors: list[tuple[Codes, Any]] = []  # a Cholesky factor, or a diagonal
        for k, (H, _, _) in enumerate(self._blocks):
            S = np.flatnonzero(sign[:, k])
            if curvature.full:
                A = np.tril(H[np.ix_(S, S)]).astype(np.float64)
                A[np.diag_indices(len(S))] *= 1 + _RIDGE[np.dtype(np.float32)]
                A[np.diag_indices(len(S))] += curvature.ridge[S] + 1e-12
                factors.append((S, cho_factor(A, lower=True) if len(S) else None))
            else:
                factors.append((S, H[S] + curvature.ridge[S] + 1e-12))

        def metric(G: Floats, g: Floats) -> tuple[Floats, Floats]:
            D, e = np.zeros_like(G), np.zeros_like(g)
            for k in range(K):
                at = k if len(factors) > 1 else 0
                (S, factor), (_, mean, h) = factors[at], self._blocks[at]
                A = scale[S] * G[S, k] - mean[S] * g[k]
                if len(S):
                    A = cho_solve(factor, A) if curvature.full else A / factor
                D[S, k] = scale[S] * A
                e[k] = g[k] / h - mean[S] @ A if curvature.rows.fit_intercept else 0.0
            return D, e

        return metric


def minimise(H: Floats, reach: Floats, w: Floats, g: Floats, rounds: int) -> tuple[float, float]:
    """Minimise ``<g, D> + 1/2 D^T H D + reach |w + D|``; in place, w becomes w + D, g its gradient.

    Roughly, or in up to so many rounds. Returns the decrease, and about what is left of it.
    """
    first_g, first_w = g.copy(), w.copy()

    def decrease() -> float:
        change = 0.5 * float((first_g + g) @ (w - first_w))
        return -change - float(reach @ (np.abs(w) - np.abs(first_w)))

    if not rounds:
        _kernels.descend(H, reach, w, g, _SWEEPS, _SWEEP_TOL)
        return decrease(), np.inf
    now = last = 0.0
    for _ in range(rounds):
        _kernels.descend(H, reach, w, g, _ROUND_SWEEPS, _SWEEP_TOL)
        settled = _newton_on_support(H, reach, w, g)
        last, now = now, decrease()
        if settled and now - last <= _ROUND_TOL * now:
            break
    return now, now - last


def _newton_on_support(H: Floats, reach: Floats, w: Floats, g: Floats) -> bool:
    """Newton's step with signs held, in place; whether it could be taken as it is.

    Weights that would change sign stop at 0, all together if that is a descent, else one by one:
    up to where the first does the model falls (Lee, Battle, Raina & Ng, NeurIPS 2006).
    """
    first = True
    for _ in range(1 + int(_SOLVING_COST // (1 + int(np.count_nonzero(w))) ** 3)):
        S = np.flatnonzero((w != 0) | (reach == 0))
        if len(S) == 0:
            return first
        sign = np.where(reach[S] > 0, np.sign(w[S]), 0)
        step = _solved(H[np.ix_(S, S)], g[S] + reach[S] * sign)
        new = w[S] - step
        crossed = np.flatnonzero(new * sign < 0)
        new[crossed] = 0
        if _moves(H, reach, w, g, S, new):
            return first and len(crossed) == 0
        if len(crossed) == 0:  # at the minimum, to rounding
            return first
        lengths = w[S[crossed]] / step[crossed]
        new = w[S] - lengths.min() * step
        new[crossed[lengths.argmin()]] = 0
        if not _moves(H, reach, w, g, S, new):
            break
        first = False
    return False


def _moves(H: Floats, reach: Floats, w: Floats, g: Floats, S: Codes, new: Floats) -> bool:
    """Give w the ``new`` values at S, in place with g, if that is a descent."""
    D = np.zeros_like(w)
    D[S] = new - w[S]
    curved = H @ D
    fell = -float(g @ D + 0.5 * D @ curved + reach[S] @ (np.abs(new) - np.abs(w[S])))
    if fell > 0:
        w[S] = new
        g += curved
    return fell > 0


def _solved(A: Floats, b: Floats) -> Floats:
    """``A^-1 b`` by Cholesky of unit diagonal; the unit raised until it succeeds."""
    unit = 1 / np.sqrt(np.diagonal(A))
    factor = raised_cholesky(A * unit * unit[:, None])
    return np.asarray(unit * cho_solve(factor, unit * b))


def _hold_shifts(H: Floats, features: Codes, classes: Codes, n_classes: int) -> None:
    """Give H curvature, in place, where a feature's or the intercepts' weights all shift alike.

    The softmax does not see that. `least_shift` finds the shift afterwards.
    """
    m = len(features)
    at = np.full((features.max(initial=0) + 1, n_classes), -1)
    at[features, classes] = np.arange(m)
    groups = at[(at >= 0).all(axis=1)]
    if len(H) > m:
        groups = np.vstack([groups, np.arange(m, len(H))])
    size = H[groups, groups].mean(axis=1)
    H[groups[:, :, None], groups[:, None, :]] += size[:, None, None]


def least_shift(W: Floats, l2: float, l1: float) -> Floats:
    """Each row less the shift c that makes ``l2/2 |w - c|^2 + l1 |w - c|_1`` least.

    c is where ``l2 (K c - sum w) + l1 (number of w below c - above c)`` changes sign: the median of
    the w and of the zeros of this line for each number. Two classes keep their sum of zero.
    """
    K = W.shape[1]
    if K == 2:
        return W
    if l2:
        zeros = W.mean(axis=1, keepdims=True) - l1 / (l2 * K) * (2 * np.arange(K + 1) - K)
    else:  # of an even K any c between the middle two; the nearest to 0
        zeros = np.zeros((len(W), (K + 1) % 2))
    c = np.median(np.concatenate([W, zeros], axis=1), axis=1, keepdims=True)
    return np.asarray(W - c)
