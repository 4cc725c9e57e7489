"""Damped Newton-CG on rows whose width allows a full metric: the end of a fit without knobs.

    W <- W - t (H + damping C)^-1 (gradient + l2 W)

One move (`_newton_move`) an epoch, in a metric of each class's own curvature (`_metric`). The
damping, of C, the covariance of the rows, goes up where a move keeps little of what its model
promised and down where it keeps most, as in Levenberg-Marquardt. A move is kept only if the
objective fell, so it never rises, and how well the models foretell it tells how far the optimum is.
Where l1 asks for exact zeros, the move is proximal Newton's (`_proximal_move`). Where all rows
fit into one batch this is the whole fit: nothing in it is random, and weights equal repetitions to
rounding.

Memory beyond X: 6 n K numbers for scores and residuals, before and after a move, and the change;
K d^2 for the metrics and 2 d^2 for C and a factor; a few d K and a few n.
"""

import numpy as np

from skl_softmax._optimum._centred_rows import CentredRows
from skl_softmax._optimum._certificate import Foretold, can_be_bound, duality_gap
from skl_softmax._optimum._class_shares import balanced_intercepts
from skl_softmax._optimum._metric import Curvature, Metric
from skl_softmax._optimum._newton_move import Objective, System, newton
from skl_softmax._optimum._proximal_move import ProximalNewton, least_shift
from skl_softmax._parameters import Parameters
from skl_softmax._penalties import Penalty
from skl_softmax._softmax import Floats

_FIRST_DAMPING = 1e-3  # of C; goes up and down by 4 from there on
_MOST_DAMPING = 1e6
_WARM_DAMPING = 1e-5  # the same from a fitted model, which may already be the optimum
# Of C, by the mean curvature: in the metric of a class that hardly any row is undecided about.
_FLOOR = 1e-4
_POOR, _GOOD = 0.25, 0.75  # share of a promise kept, at which damping goes up and down
# Where rows are outlying, and after moves whose models could not be believed, models that can be
# believed are luck until there are more of them, and then still too small for some moves: 4 of 300
# fits of digits with a row 1e6 times as long stopped 15 tol above the optimum, raw kdd99 12 tol.
_SETTLED = 5  # believed in a row: enough, whatever there was before
_CAUTION = 10.0  # times the estimate meanwhile
_PRODUCTS_A_METRIC = 12  # after so many with the Hessian the curvature is another
# In tol F: an estimate sees no further. 323 x 1 in 300 classes gained little for a hundred moves
# and had 3e-5 tol left where an estimate said 2e-7.
_FINEST = 1e-3
_NEAR = 0.05  # share of F gained by a full step, below which moves need no damping
_LAST, _LEFT = 3.0, 0.05  # in tol F: a promise that may be the last, what CG may leave then
_LOOSE = 4.0  # times the true gap, about
_SAMPLE = 4096  # rows whose optimum is a start, where there are 4 times as many
_SAMPLE_GAP = 1e-2  # how near it is near enough: about what the sample itself is off
_SAMPLE_EPOCHS = 10


class Newton:
    """Newton moves on ``F(W, b)``, one at each call of `epoch`.

    Parameters
    ----------
    rows : `CentredRows`
    penalty : `Penalty`
    start : `Parameters` to begin at
    rng : choice of rows for metrics
    from_sample : whether to begin near the optimum of some rows where ``start`` is zero
    damping : of the last move with l1, where there was one

    Attributes
    ----------
    t : parameter updates made
    objective : F at the best point found, the last
    gap : ``objective`` minus its minimum; an estimate until `parameters` makes it a bound, if there
        is a penalty; never above ``objective``, which bounds it
    """

    def __init__(
        self,
        rows: CentredRows,
        penalty: Penalty,
        start: Parameters,
        rng: np.random.RandomState,
        tol: float,
        from_sample: bool = False,
        damping: float | None = None,
    ) -> None:
        self.t = 0
        self._tol = tol
        self._bound = 0.0  # F* is at least so much
        self._dtype = start.coef.dtype
        self._rows, self._rng = rows, rng
        self._outlying = bool(rows.trust.min() < 1)
        self._objective = Objective(rows, penalty)
        self._bounded = can_be_bound(penalty, rows.deviation, rows.dtype)
        self._n_classes = start.coef.shape[1]
        self._curvature = Curvature(rows, self._n_classes, penalty.l2, not penalty.l1, rng)
        self._metric: Metric | None = None
        self._products = 0  # with the Hessian since the metric was built
        self._products_before = 0  # the same before the last move
        self._all_products = 0
        self._at_zero = not start.coef.any()
        untouched = self._at_zero and not start.intercept.any()
        may_sample = from_sample and untouched and rows.n >= 4 * _SAMPLE
        if not (may_sample and self._begin_at_optimum_of_sample(start)):
            # Moves leave the mean over the classes as it is, since the softmax does not see it.
            W = least_shift(start.coef.astype(np.float64), penalty.l2, penalty.l1)
            b = start.intercept + rows.centre @ W if rows.fit_intercept else np.zeros(W.shape[1])
            self._point = self._objective.at(W, b)
        self._proximal = (
            ProximalNewton(self._objective, self._curvature, not self._at_zero, rng, damping)
            if penalty.l1
            else None
        )
        self._damping = _FIRST_DAMPING if self._at_zero else _WARM_DAMPING
        self._near = False
        self._foretold: Foretold | None = None  # by the last move, while it says nothing yet of F*
        self._believed, self._doubted = _SETTLED, 0  # estimates in a row, the latest of each kind
        self.gap = self._point.F  # F is never below 0

    def _begin_at_optimum_of_sample(self, start: Parameters) -> bool:
        """Begin near the optimum of some rows, with their metric, if that is better than zero.

        They are drawn as for a metric: without the longest rows, which weigh most, the optimum of
        standardised elec2 was six moves away.
        """
        index, w = self._curvature.draw(self._rows.trusted, _SAMPLE)
        some = self._rows.some(index, w / w.mean())
        learner = Newton(some, self._objective.penalty, start, self._rng, tol=0.0)
        self._curvature.C = learner._curvature.C  # as the damping and the floor need it
        for _ in range(_SAMPLE_EPOCHS):
            learner.epoch()
            if learner.gap <= _SAMPLE_GAP * learner.objective:
                break
        self.t = learner.t
        self._point = self._objective.at(learner._point.W, learner._point.b)
        better = self.objective < float(np.log(self._n_classes))  # as it is at zero
        if better:
            if not self._curvature.of_all_rows:
                self._metric, self._products = learner._metric, learner._products
            self._at_zero = False
        return better

    @property
    def objective(self) -> float:
        return self._point.F

    @property
    def away(self) -> bool:
        """Whether moves are on their way from a worse point than the best, which rests."""
        return self._proximal is not None and self._proximal.is_away(self._point)

    @property
    def damping(self) -> float:
        """Of the next move."""
        return self._damping if self._proximal is None else self._proximal.damping

    @property
    def certain(self) -> bool:
        """Whether ``gap`` is a bound, or owes nothing to a metric of an earlier point.

        Along a direction in which hardly any row is undecided any longer that promises too little.
        """
        return self._bounded or self._products_before == 0

    @property
    def loose(self) -> bool:
        """Whether ``gap`` may be a bound that is many times the true gap.

        That is about half the energy of the gradient in the metric, as far as l1 has no part in it.
        """
        if not self._bounded:
            return False
        if self._proximal is not None or self._metric is None:
            return True
        point = self._point
        D, e = self._metric(point.G, point.g)
        return self.gap > _LOOSE * 0.5 * float(np.vdot(point.G, D) + point.g @ e)

    def know(self, F: float) -> None:
        """The objective of a better point than any found here."""
        self.gap = max(F - (self._point.F - self.gap), float(np.spacing(F)))
        self._point.F = F

    def renew_metric(self) -> None:
        """Let the next move have a metric of its own point."""
        self._metric = None

    def parameters(self) -> Parameters:
        """A copy of the parameters, in the dtype and the columns of X; makes ``gap`` exact."""
        self._certify()
        return self.now()

    def now(self) -> Parameters:
        """The same, without a bound of the gap."""
        W, b = self._point.W, self._point.b
        b = b - self._rows.centre @ W
        b -= b.mean()  # which the softmax does not see
        return Parameters(W.astype(self._dtype, order="C"), b.astype(self._dtype))

    def finish(self) -> None:
        """What is worth doing once, at the end."""
        if self._proximal is not None:
            self._point = self._proximal.finished(self._point)
            self._certify()

    def balance(self, share: Floats) -> None:
        """Give every class its share of the probability, by the intercepts alone."""
        point = self._point
        b, _ = balanced_intercepts(point.residual, self._rows.y, self._rows.weight, share)
        if b.any():
            Z = point.scores + b.astype(point.scores.dtype)
            moved = self._objective.known(point.W, point.b + b, Z, *self._objective.loss(Z))
            fell = point.F - moved.F
            if fell > 0:
                # An estimate does not fall: it may not have seen what there was to gain.
                gap = self.gap - fell if self._bounded else max(self.gap, 2 * fell)
                self.gap = min(max(gap, float(np.spacing(moved.F))), moved.F)
                self._point = moved

    def epoch(self) -> None:
        """One move."""
        self._foretold = None
        with np.errstate(all="ignore"):  # what overflows is not kept
            if self._proximal is not None:
                self._point, gap = self._proximal.move(self._point)
                self._bound = max(self._bound, self._point.F - gap)
                self.t += 1
            else:
                gap = self._newton()
        if self._bounded:
            self._set_gap(gap)
        else:
            F = self._point.F
            self.gap = min(max(self._cautious(gap), _FINEST * self._tol * F), F)

    def _set_gap(self, estimate: float = np.inf) -> None:
        F = self._point.F
        # 0 would be more than is known.
        self.gap = max(min(F - self._bound, estimate), float(np.spacing(F)))

    def _cautious(self, gap: float) -> float:
        """What an estimate is worth after those before it; trust returns as slowly as it left."""
        if gap < np.inf:
            self._believed += 1
        else:
            self._doubted = 1 if self._believed else self._doubted + 1
            self._believed = 0
        if self._believed <= min(self._doubted, _SETTLED - 1):
            return np.inf
        settled = self._believed >= _SETTLED and not self._outlying
        return gap if settled else _CAUTION * gap

    def _newton(self) -> float:
        """Move, and estimate the gap: what a bound may turn out to be, or without a penalty all."""
        before = self._point
        near = self._near and self._bounded
        damping = 0.0 if near else self._damping
        last, left = _LAST * self._tol * before.F, _LEFT * self._tol * before.F
        system = System(self._fresh_metric(), damping, last, left)
        self._products_before = self._products
        move = newton(self._objective, before, system)
        self._products += move.products
        self._all_products += move.products
        if self._curvature.afford(self._all_products):
            self._metric = None
        self._near = bool(move.gained < _NEAR * before.F and move.length == 1)
        self._foretold = move.foretold if self._bounded else None
        self._point = move.point
        self._at_zero = False
        if move.length:
            self.t += 1
        else:
            self._metric = None
        kept = move.gained / max(move.promised * (1 - move.damped), 1e-300)
        if kept < _POOR:
            self._damping = min(4 * self._damping, _MOST_DAMPING)
        elif kept > _GOOD:
            self._damping = max(self._damping / 4, 1e-12)
        return move.promised / _LAST if self._bounded else move.gap

    def _certify(self) -> None:
        """A bound from the full step of the last move, which may not be where it led."""
        if self._foretold is not None:
            with np.errstate(all="ignore"):
                gap = duality_gap(self._rows, self._objective.penalty, self._foretold)
            self._bound = max(self._bound, self._foretold.F - gap)
            self._foretold = None
        if self._bounded:
            self._set_gap()

    def _fresh_metric(self) -> Metric:
        """The metric of the classes' own curvature; an old one while it is good enough."""
        if self._metric is None or self._products >= _PRODUCTS_A_METRIC:
            self._metric = None  # before there are two of them
            if self._at_zero:
                self._metric = self._curvature.bound(1 / self._n_classes)
                self._products = _PRODUCTS_A_METRIC
            else:
                residual = self._point.residual
                self._metric = self._curvature.of_classes(residual, _FLOOR, self._damping)
                self._products = 0
        return self._metric
