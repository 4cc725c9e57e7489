"""Damped Newton-CG, the deterministic move: the update with all rows and their curvature.

    W <- W - t (H + damping C)^-1 (G + l2 W),      G = mean_i x_i^T s_i (S(z_i) - y_i)

The system is solved by conjugate gradients in the metric P to a tenth of its energy (an inexact
Newton method: Nocedal & Wright, Numerical Optimization, 2nd ed., ch. 7); H acts on a direction
``u = x V`` of scores as ``p (u - p u)``, the softmax's Jacobian, and may take a part of the rows
(Byrd et al., SIAM J. Optim. 21, 2011). The length t is found on scores, without reading X again,
by backtracking (Armijo), so the objective never rises.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import LinAlgError, cho_factor

from skl_softmax._kernels import residual
from skl_softmax._optimum._centred_rows import CentredRows
from skl_softmax._optimum._certificate import Foretold
from skl_softmax._penalties import Penalty
from skl_softmax._softmax import Floats

_FORCING = 0.1  # share of the energy r^T P r at which CG stops
_MAX_CG = 20
_MAX_CG_LAST = 100  # products, where what CG leaves decides what the gap is known to be
_LEAST_LEFT = 1e-9  # of what is to be left, by the metric where l2 does not tell
_UNSEEN = 1e-8  # of the curvature by the metric: a direction in which no row differs has none
_ARMIJO = 0.1  # share of the slope that a step must gain
_MAX_TRIALS = 30
_MOST_DAMPED = 0.1  # share of a promise that the damping may have taken for it to be believed
_MOST_DAMPED_AT_REST = 0.5  # the same where no step gained anything: at the optimum, to rounding
_LONGER = (1.5, 2.0, 3.0, 4.0)  # lengths tried where a full step gained more than it promised
_RAISED = 1e-15  # what a unit diagonal is raised by, at first
_MORE = 1.3  # by this factor; with 1, raw digits took 13 to 19 moves in place of 12 to 14


@dataclass
class Point:
    """Parameters in centred columns, and what one pass over the rows tells about them."""

    rows: CentredRows
    l2: float
    W: Floats  # (n_features, n_classes), float64
    b: Floats  # (n_classes,), float64
    scores: Floats  # (n, n_classes)
    residual: Floats  # (n, n_classes), s (S - y)
    F: float

    @cached_property
    def _gradient(self) -> tuple[Floats, Floats]:
        """One product with X, which the last point of a fit does not need."""
        return self.rows.gradient(self.residual)

    @cached_property
    def G(self) -> Floats:
        """Gradient of the smooth part in W."""
        return self._gradient[0] + self.l2 * self.W

    @property
    def g(self) -> Floats:
        """And in b."""
        return self._gradient[1]

    def probabilities(self, block: slice) -> Floats:
        """Those of some rows, in float64; of sum 1 to its rounding, for a Hessian that is one."""
        rows = self.rows
        P = self.residual[block] / rows.weight[block].astype(np.float64)[:, None]
        P[np.arange(len(P)), rows.y[block]] += 1
        np.clip(P, 0, 1, out=P)
        P /= P.sum(axis=1, keepdims=True)
        return P

    def foretells(self, new: "Point", U: Floats) -> Foretold:
        """What a model made here says of the residuals where the scores change by U, at ``new``.

        Which need not be there: of two points the better one gives the same bound more exactly.
        """
        return Foretold(new.W, new.scores, new.F, self.residual, U)


@dataclass(frozen=True)
class Objective:
    """``F(W, b) = mean_i s_i CE_i + l2/2 |W|^2 + l1 |W|_1``."""

    rows: CentredRows
    penalty: Penalty

    def penalised(self, loss: float, W: Floats) -> float:
        """From the sum of ``s CE`` over the rows."""
        return loss / self.rows.n + self.penalty.of(W)

    def at(self, W: Floats, b: Floats) -> Point:
        """The point (W, b): a product with X, and one more for its gradient."""
        Z = self.rows.all_scores(W, b)
        return self.known(W, b, Z, *self.loss(Z))

    def loss(self, Z: Floats) -> tuple[Floats, float]:
        """Residuals and sum of the loss at scores ``Z``."""
        R = Z.copy()
        return R, residual(R, self.rows.y, self.rows.weight)

    def known(self, W: Floats, b: Floats, Z: Floats, R: Floats, loss: float) -> Point:
        """The point whose scores and residuals are known."""
        return Point(self.rows, self.penalty.l2, W, b, Z, R, self.penalised(loss, W))


@dataclass(frozen=True)
class System:
    """The damped quadratic model at a point, and the metric to solve it in."""

    metric: Callable[[Floats, Floats], tuple[Floats, Floats]]  # P, a projection times it
    damping: float
    last: float = 0.0  # a move that promises no more than this may be the last one needed:
    left: float = np.inf  # so CG goes on until |r|^2 / (2 l2) is below this


@dataclass
class Move:
    """What a move found."""

    point: Point  # where it led; where it began if it found no descent
    promised: float  # decrease of the quadratic model along the direction, without its damping
    rest: float  # what CG has left to gain: 1/2 r^T P r
    length: float  # t, or 0
    products: int  # with the Hessian
    gained: float = 0.0
    damped: float = 0.0  # share of the promise that the damping took
    foretold: Foretold | None = None  # by the model, of length 1

    @property
    def gap(self) -> float:
        """Estimate of F - F* at the new point, from how well the model foretold the decrease.

        A quadratic model that were exact would leave ``rest``. The factors make it err upwards: of
        the 49 fits that `benchmarks/bench_time_to_gap.py` saw converge at tol 1e-3, dual ascent's
        among them, none was more than .34 tol above the optimum. Where CG was cut off, what it
        found may be as little as what it has left to find. A model that is mostly damping foretells
        nothing.
        """
        most = _MOST_DAMPED if self.length else _MOST_DAMPED_AT_REST
        if self.damped > most:
            return np.inf
        found = self.promised if self.products == _MAX_CG else 0.1 * self.gained
        return max(5 * abs(self.promised - self.gained), 5 * self.rest, 5 * found)


def newton(objective: Objective, point: Point, system: System) -> Move:
    """One move on a smooth objective."""
    rows = objective.rows
    D, e, promised, rest, products = solve(objective, point, point.G, system)
    slope = float(np.vdot(point.G, D) + point.g @ e)
    if not (slope < 0 and promised > 0):  # at the optimum
        still = point.foretells(point, np.zeros_like(point.scores))
        return Move(point, promised, rest, 0.0, products, foretold=still)
    U = rows.all_scores(D, e)
    R = np.empty_like(U)
    # Of the model's energy at its minimum, which is what it promises, the damping's part is no
    # property of the objective; without it the minimum along D would lie so much lower.
    damped = 0.5 * system.damping * float((rows.trusted @ (U * U)).sum()) / rows.n
    damped = min(damped / promised, 1 - 1e-9)
    promised /= 1 - damped

    def objective_at(t: float) -> tuple[float, float]:
        """F and loss at length t; leaves the residuals in R."""
        np.multiply(U, U.dtype.type(t), out=R)
        np.add(R, point.scores, out=R)
        loss = residual(R, rows.y, rows.weight)
        return objective.penalised(loss, point.W + t * D), loss

    t, found = 1.0, objective_at(1.0)
    for _ in range(_MAX_TRIALS):
        if found[0] <= point.F + _ARMIJO * t * slope and found[0] < point.F:
            break
        t = shorter(t, slope, point.F - found[0])
        found = objective_at(t)
    else:
        foretold = point.foretells(point, U)
        return Move(point, promised, rest, 0.0, products, damped=damped, foretold=foretold)
    if t == 1 and point.F - found[0] > _MORE * promised * (1 - damped):
        for longer in _LONGER:
            tried = objective_at(longer)
            if not tried[0] < found[0]:
                objective_at(t)
                break
            t, found = longer, tried
    Z = point.scores + U.dtype.type(t) * U
    new = objective.known(point.W + t * D, point.b + t * e, Z, R, found[1])
    foretold = point.foretells(new, U)
    return Move(new, promised, rest, t, products, point.F - new.F, damped, foretold)


def shorter(t: float, slope: float, gained: float) -> float:
    """The minimum of the parabola through slope and value, within a tenth and a half of t."""
    above = -gained - slope * t  # the tangent; at an optimum both may be 0
    curved = -slope * t * t / (2 * above) if np.isfinite(gained) and above > 0 else 0.0
    return min(max(curved, 0.1 * t), 0.5 * t)


def solve(
    objective: Objective, point: Point, G: Floats, system: System
) -> tuple[Floats, Floats, float, float, int]:
    """CG on ``(H + damping C + l2) (D, e) = -(G, g)``, in the range of the metric.

    Returns D, e, the model's decrease, half the energy of what is left, and the products made.
    """
    R, c = -G, -point.g
    D, e = np.zeros_like(R), np.zeros_like(c)
    Y, z = system.metric(R, c)
    V, v = Y, z
    energy = first = float(np.vdot(R, Y) + c @ z)
    promised, products, l2 = 0.0, 0, objective.penalty.l2

    def goes_on() -> bool:
        if products < _MAX_CG and energy > _FORCING * first:
            return True
        may_be_last = 0 < promised <= system.last and products < _MAX_CG_LAST
        if not may_be_last or l2:
            return may_be_last and float(np.vdot(R, R)) > 2 * l2 * system.left
        return energy > _LEAST_LEFT * system.left

    while energy > 0 and goes_on():
        H, h = objective.rows.curvature(point.residual, V, v, system.damping)
        H += objective.penalty.l2 * V
        curved = float(np.vdot(V, H) + v @ h)
        products += 1
        if not curved > _UNSEEN * energy:
            break
        a = energy / curved
        promised += 0.5 * a * energy
        D, e, R, c = D + a * V, e + a * v, R - a * H, c - a * h
        Y, z = system.metric(R, c)
        before, energy = energy, float(np.vdot(R, Y) + c @ z)
        V, v = Y + energy / before * V, z + energy / before * v
    return D, e, promised, 0.5 * energy, products


def raised_cholesky(A: Floats) -> tuple[Floats, bool]:
    """The factor of a matrix of unit diagonal, which is raised in place until there is one."""
    extra = 0.0
    while True:
        A[np.diag_indices(len(A))] = 1 + extra
        try:
            found: tuple[Floats, bool] = cho_factor(A, lower=True, check_finite=False)
        except LinAlgError:
            extra = 10 * extra or _RAISED
        else:
            return found
