"""Damped Newton-CG on rows whose width allows a full metric: the end of a fit without knobs.

    W <- W - t (H + damping C)^-1 (gradient + l2 W)

One move (`_newton`) an epoch, in a metric of each class's own curvature (`_preconditioner`). The
damping, of C, the covariance of the rows, goes up where a move keeps little of what its model
promised and down where it keeps most, as in Levenberg-Marquardt. A move is kept only if the
objective fell, so it never rises, and how well the models foretell it tells how far the optimum is.
Where l1 asks for exact zeros, the move is proximal Newton's (`_proximal_newton`). Where all rows
fit into one batch this is the whole fit: nothing in it is random, and weights equal repetitions to
rounding.

Memory beyond X: 4 n K numbers for scores, residuals, a direction's scores and a trial's residuals;
K d^2 for the metrics and 2 d^2 for C and a factor; a few d K and a few n.
"""

from typing import Any

import numpy as np

from skl_softmax._penalties import Penalty
from skl_softmax._softmax import Codes, Floats
from skl_softmax._solvers._newton import Move, Objective, System, newton
from skl_softmax._solvers._preconditioner import Curvature, Metric
from skl_softmax._solvers._proximal_newton import ProximalNewton
from skl_softmax._solvers._rows import CentredRows
from skl_softmax._solvers._solver import Parameters

_FIRST_DAMPING = 1e-3  # of C; goes up and down by 4 from there on
_WARM_DAMPING = 1e-5  # the same from a fitted model, which may already be the optimum
_FLOOR = 1e-4  # of C / K, in the metric of a class that hardly any row is undecided about
_POOR, _GOOD = 0.25, 0.75  # share of a promise kept, at which damping goes up and down
_CAUTION = 10.0  # times the estimate where rows are outlying: without it 4 of 300 fits of digits
# with a row 1e6 times as long stopped 15 tol above the optimum
_PRODUCTS_A_METRIC = 12  # after so many with the Hessian the curvature is another


class Newton:
    """Newton moves on ``F(W, b)``, one at each call of `epoch`.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features), float32 or float64
    y : class codes, (n_samples,)
    weight : (n_samples,), mean 1 over ``rows``, dtype of X
    rows : positions of the rows that count
    penalty : `Penalty`
    fit_intercept : whether the intercept moves from 0
    start : `Parameters` to begin at
    rng : choice of rows for metrics

    Attributes
    ----------
    t : parameter updates made
    objective : F at the best point found, the last
    gap : estimate of ``objective`` minus its minimum; never above ``objective``, which bounds it
    """

    def __init__(
        self,
        X: Any,
        y: Codes,
        weight: Floats,
        rows: Codes,
        penalty: Penalty,
        fit_intercept: bool,
        start: Parameters,
        rng: np.random.RandomState,
    ) -> None:
        self._dtype = X.dtype
        self._rows = CentredRows(X, y, weight, rows, fit_intercept)
        self._outlying = bool((self._rows.trust < 1).any())
        self._caution = _CAUTION if self._outlying else 1.0
        self._objective = Objective(self._rows, penalty)
        self._n_classes = start.coef.shape[1]
        self._curvature = Curvature(self._rows, self._n_classes, penalty.l2, not penalty.l1, rng)
        W = start.coef.astype(np.float64) * start.scale
        b = start.intercept + self._rows.centre @ W if fit_intercept else np.zeros(self._n_classes)
        self._point = self._objective.at(W, b)
        self._at_zero = not W.any()
        self._proximal = (
            ProximalNewton(self._objective, self._curvature, not self._at_zero, rng)
            if penalty.l1
            else None
        )
        self._metric: Metric | None = None
        self._products = 0  # with the Hessian since the metric was built
        self._products_before = 0  # the same before the last move
        self._damping = _FIRST_DAMPING if self._at_zero else _WARM_DAMPING
        self._believed = True  # the last estimate
        self.t = 0
        self.gap = self._point.F

    @property
    def objective(self) -> float:
        return self._point.F

    @property
    def certain(self) -> bool:
        """Whether ``gap`` owes nothing to a metric of an earlier point where that may be far off.

        The curvature of an outlying row goes from all to nothing when the row is fitted.
        """
        return self._products_before == 0 or not self._outlying

    def renew_metric(self) -> None:
        """Let the next move have a metric of its own point."""
        self._metric = None

    def parameters(self) -> Parameters:
        """A copy of the parameters, in the dtype and the columns of X."""
        W, b = self._point.W, self._point.b
        b = b - self._rows.centre @ W
        b -= b.mean()  # which the softmax does not see
        return Parameters(W.astype(self._dtype, order="C"), b.astype(self._dtype))

    def epoch(self) -> None:
        """One move."""
        with np.errstate(all="ignore"):  # what overflows is not kept
            if self._proximal is not None:
                self._point, gap = self._proximal.move(self._point)
                self.t += 1
            else:
                gap = self._newton().gap
        # One model that can be believed after one that could not may have been luck.
        believed, self._believed = self._believed, gap < np.inf
        self.gap = min(self._caution * gap if believed else np.inf, self._point.F)

    def _newton(self) -> Move:
        system = System(self._fresh_metric(), self._damping)
        self._products_before = self._products
        move = newton(self._objective, self._point, system)
        self._products += move.products
        self._point = move.point
        self._at_zero = False
        if move.length:
            self.t += 1
        else:
            self._metric = None
        kept = move.gained / max(move.promised * (1 - move.damped), 1e-300)
        if kept < _POOR:
            self._damping *= 4
        elif kept > _GOOD:
            self._damping = max(self._damping / 4, 1e-12)
        return move

    def _fresh_metric(self) -> Metric:
        """The metric of the classes' own curvature; an old one while it is good enough."""
        if self._metric is None or self._products >= _PRODUCTS_A_METRIC:
            self._metric = None  # before there are two of them
            if self._at_zero:
                self._metric = self._curvature.bound(1 / self._n_classes)
                self._products = _PRODUCTS_A_METRIC
            else:
                floor = self._damping + _FLOOR / self._n_classes
                self._metric = self._curvature.of_classes(self._point.residual, floor)
                self._products = 0
        return self._metric
