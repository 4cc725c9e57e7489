"""Dual ascent: the update with a remembered target in the place of the label, and its own step.

    e = S(x_i W + b) - q_i
    U_j <- U_j - theta s_i S_j x_ij e,    W = soft(U, t)        q_i <- q_i + theta e

``q_i``, at first the label ``y_i``, is a distribution that each row remembers: where the label's
residual would go on pushing for ever, ``e`` goes to zero, and with it the noise of visiting one row
at a time. No step is chosen: ``theta`` maximises a lower bound of the dual objective, so that every
visit raises it and nothing diverges. This is stochastic dual coordinate ascent (Shalev-Shwartz &
Zhang, arXiv:1209.1873, arXiv:1309.2375).

With the intercept as a feature that is 1 in every row and has no penalty, and with a metric ``M``
on the features (``kappa = M - l2 >= 0``), the minimum over W of

    F(W) + 1/2 sum_j kappa_j |W_j - C_j|^2

is the maximum over all q of a dual whose gap at ``W = soft(U, t)``, ``t = l1 / M``,
``U = (kappa C - G) / M``, ``G = 1/n sum_i s_i x_i^T (q_i - y_i)``, is the mean of
``s_i KL(q_i || p_i)``, ``p_i = S(x_i W + b)``. A step of theta along e raises the dual by at least

    s_i (theta KL + theta (1 - theta) c / 2 - theta^2 s_i lev_i |e|^2 / 2) / n
    c = max(sum_k e_k^2 / max(p_k, q_k), (sum_k |e_k|)^2),  lev_i = sum_j S_j x_ij^2,  S = 1 / (n M)

(strong convexity of the negative entropy on the way from q to p, and Pinsker's inequality).
Features with ``M_j = l2`` have no proximal term, and where all are such this gap is that of F.
The others' centres C move to W between passes (proximal point method, Rockafellar, SIAM J. Control
Optim. 14, 1976) with Nesterov's momentum; `_excess` estimates what F is away from its optimum on
their account.

With an intercept, x_i above stands for ``x_i - m`` and b for ``b + m W``, which is the same model:
``m`` holds the means of all columns of a dense X, and of the mostly non-zero ones of a CSR one.
Then columns far from 0 are as easy as others. Rows are centred as they are visited.
"""

from typing import Any

import numpy as np

from skl_softmax._kernels import residual
from skl_softmax._optimum import _kernels
from skl_softmax._optimum._centred_rows import LEAST_SQUARE
from skl_softmax._optimum._certificate import PRECISE, can_be_bound, feasible, measure, penalty_gap
from skl_softmax._optimum._class_shares import Balanced, balance, balanced_intercepts
from skl_softmax._optimum._columns import Columns
from skl_softmax._parameters import Parameters
from skl_softmax._penalties import Penalty
from skl_softmax._rows import Rows
from skl_softmax._softmax import Codes, Floats, scores

# The constants were measured on 20newsgroups and clinc150, alpha from 1e-2 to 0, and on one-hot
# rows with noisy labels, with all penalties.
# Largest leverage of a row through its features: beyond it they get a proximal term. Text, which is
# nearly separable, is fastest at once with these: 20newsgroups at alpha 1e-6 needs 6 visits a row
# to a gap of 1e-2 with 1000, 12 with 100, 23 with 30; without l2 100 is better than 10 or 1000.
_LEVERAGE, _LEVERAGE_UNPENALISED = 1000.0, 100.0
# Mean leverage of dense rows. With a bound on the largest, a feature that has few large values, as
# standardised rare ones have, hardly moves (fashion_mnist standardised, alpha 1e-5, to a gap of
# 1e-2: 15 visits a row with a mean of 20; 44 or more with any bound from 1000 to 10). The mean of
# CSR rows is no measure: each has rare features of its own. 10 or 30 cost up to 1.5 times as much.
_LEVERAGE_DENSE = 20.0
# Rows with noisy labels are not: one-hot rows at alpha 1e-6 need over 100 visits with 1000, and 8
# with 3 or 1. So where a pass leaves more than this share of the KL, and that is most of the gap,
# leverages are cut down, until they are some units. Where it is less than this share of what the
# proximal terms cost, they are raised (20newsgroups at alpha 1e-8: 24 visits in place of 48), each
# time that they are cut down again after twice as many such passes: both undo what momentum has
# gained, and in turns they never end (l1 on 600 x 3000 word counts: 94 to 166 passes in place of
# 37 to over 2000 to a gap of 1e-7).
_SLOW, _IDLE = 0.5, 0.03
_FACTOR = 10.0
_LEAST_METRIC = 100.0  # mean squares of the smallest columns: however long, a step is a float
# S of the intercept, at least, and beside the mean leverage through the features. With 1 and .1 it
# is in such motion that letter is 1.5e-2 from the optimum after four passes, with these 4e-3; with
# a tenth of these digits and 20newsgroups are a few times as far after six.
_INTERCEPT_LEAST, _INTERCEPT_SHARE = 0.3, 0.03
_HOT_ROWS = 0.25  # rows above the mean KL are visited again while they are no more than this share
_LOOKS = 64  # at the KL of all rows that cost a pass: raw kdd99 had one hot row, and 494021 looks
_RECENTRE = 0.9  # when the gap is this much of that at the last time, or mostly excess
# Times the objective of the pass before, as they were met: momentum begins anew. Without, models of
# 20000 weights with l1 came within 2e-3 of the optimum after 60 passes, and 4e-3 after 120; with,
# 1e-5 and 1e-6. Not 1: near the optimum it would for rounding.
_RISEN = 1 + 1e-5
_REMAINING = 10.0  # how far the optimum is, in moves of the centre: 0 to 25 were met
_STIFF = 1e4  # times l2: up to there the moves that remain were at most _REMAINING
_START_SHARES = (1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.0)
_SAMPLE_ROWS = 1000  # give the entropy of all well enough to choose between these shares
_VISITED_TOGETHER = 12  # dense rows whose visits read and write the weights once; 8 to 24 are alike
_BLOCK_ROWS = 256  # of dense rows, multiplied at a time
_FAR_OFF = 0.1  # of F: a gap at which no bound is worth balancing all rows
_TINY = 1e-30  # makes 0 log 0 = 0


class DualAscent:
    """The fit of rows, `epoch` by `epoch`, each O(nnz K + d K), or O(n d K) if X is dense.

    Memory: ``q``, ``U``, the best point and a copy of one of the last two, (n K + 3 d K) numbers;
    the features with a proximal term (all without l2, else few) take 2 K each more, and the scores
    of all rows n K where the gap is made a bound.

    Parameters
    ----------
    data : the rows, with weights of mean 1; the indices of CSR sorted, none twice
    columns : what was measured of them
    penalty : what is added to the mean loss
    fit_intercept : whether there is an intercept; else it is 0
    start : parameters to start from
    rng : draws the order of the visits

    Attributes
    ----------
    t : int
        Visits made.
    objective : float
        Mean loss plus penalty: that met on the way after `epoch`, exact after `parameters`.
    gap : float
        Estimate of how much ``objective`` is above the optimum; likewise.
    gaps : list of float
        The same after each `epoch` since leverages were last cut down: how fast this goes.
    """

    def __init__(
        self,
        data: Rows,
        columns: Columns,
        penalty: Penalty,
        fit_intercept: bool,
        start: Parameters,
        rng: np.random.RandomState,
    ) -> None:
        X, rows = data.X, data.rows
        self._X, self._y, self._weight, self._rows = X, data.y, data.weight, rows
        self._whole = data.whole
        self._penalty, self._rng = penalty, rng
        self._fit_intercept = fit_intercept
        self._dense = data.dense
        self._columns, self._mean = columns, columns.mean
        leverage = _LEVERAGE if penalty.l2 else _LEVERAGE_UNPENALISED
        self._set_metric(_LEVERAGE_DENSE if self._dense else leverage)
        intercept = start.intercept + self._shift(start.coef)
        self._best = np.zeros((len(start.coef) + 1, len(intercept)), X.dtype)
        if start.coef.any():
            self._best[:-1] = start.coef
        if fit_intercept:
            self._best[-1] = intercept
        self._prepare_room(self._best.shape[1])
        self._kl = np.zeros(X.shape[0], X.dtype)
        self._centre = self._previous = self._best[self._drawn]
        self._momentum, self._recentred_at = 1.0, np.inf
        self.objective = self._objective_before = np.inf  # as they were met
        self.gaps: list[float] = []
        self.t, self._slow, self._divergence = 0, False, np.inf
        self._idle, self._patience, self._raised = 0, 1, False  # passes; for how many; leverages
        deviation = np.sqrt(self._columns.squares / len(rows))
        self._bounded = can_be_bound(penalty, deviation, X.dtype)
        self._bound = 0.0  # F* is at least so much
        self._measured_at = -1
        self._residual: Floats | None = None  # of the best point, where it is known
        self._take_up_start()

    def epoch(self) -> None:
        """Visit the rows that are far off, move the centres, then visit every row and measure."""
        self._residual = None
        if self._slow and self._leverage >= _FACTOR:
            self._change_leverage(1 / _FACTOR)
            self._patience *= 2 if self._raised else 1
            self._idle = 0
            self.gaps.clear()
        elif self._idle >= self._patience:  # the proximal terms are all that is left to wait for
            self._change_leverage(_FACTOR)
            self._raised, self._idle = True, 0
        else:
            self._visit_hot_rows()
            self._recentre()
        n = len(self._rows)
        loss, divergence = self._visit(self._rows[self._rng.permutation(n)])
        before, self._divergence = self._divergence, divergence / n
        excess = self._excess()
        self._slow = self._divergence > max(_SLOW * before, excess)
        self._idle = self._idle + 1 if self._divergence < _IDLE * excess else 0
        self._objective_before = self.objective
        self.objective = loss / n + self._penalty.of(self._weights()[:-1])
        self.gap = min(self._divergence + excess, self.objective)  # F is never below 0
        self.gaps.append(self.gap)

    @property
    def certain(self) -> bool:
        """Whether ``gap`` is (nearly) a certificate: no proximal term is much above the penalty.

        Where one is, by an outlying row say, W may creep, and its last move says nothing.
        """
        if self._bounded:
            return self._measured_at == self.t
        drawn = self._kappa[self._drawn < len(self._U) - 1]  # but the intercept's
        return not len(drawn) or float(drawn.max()) <= _STIFF * self._penalty.l2

    loose = False  # its bound and its objective come near the optimum together

    def parameters(self) -> Parameters:
        """The best of now, earlier calls and the start; makes ``objective`` and ``gap`` exact."""
        if self._measured_at != self.t:
            self._measured_at = self.t
            if self._bounded:
                self._certify()
            else:
                self._measure()
        return self._parameters_of(self._best)

    def now(self) -> Parameters:
        """The parameters of now, for which nothing is measured."""
        return self._parameters_of(self._weights())

    def _parameters_of(self, weights: Floats) -> Parameters:
        intercept = weights[-1] - self._shift(weights[:-1])
        coef = np.array(weights[:-1], order="C")
        return Parameters(coef, intercept.astype(weights.dtype))

    def _shift(self, coef: Floats) -> Floats:
        """``m W``, by which the intercept of centred rows is above that of the rows."""
        if not self._mean.any():
            return np.zeros(coef.shape[1])
        found: Floats = self._mean.astype(np.float64) @ coef
        return found

    def finish(self) -> None:
        """Nothing that is worth doing once, at the end."""

    def know(self, F: float) -> None:
        """The objective of a better point than any found here."""
        self.gap = max(F - (self.objective - self.gap), float(np.spacing(F)))
        self.objective = F

    def balance(self, share: Floats) -> None:
        """Give every class its share of the probability, by the intercepts alone."""
        params, X, rows = self.parameters(), self._X, self._rows
        y, s, R = self._y[rows], self._weight[rows], self._residual
        if R is None:
            R = scores(X, params.coef, params.intercept)[rows]
            residual(R, y, s)
        self._residual = None
        b, change = balanced_intercepts(R, y, s, share)
        if change < 0:  # else it is rounding that would make the best point worse
            self._best[-1] += b.astype(X.dtype)
            self.objective += change
            self._best_objective = self.objective
            # An estimate does not fall: it may not have seen what there was to gain.
            gap = self.gap + change if self._bounded else max(self.gap, -2 * change)
            self.gap = min(max(gap, float(np.spacing(self.objective))), self.objective)

    def _certify(self) -> None:
        """Exact objective, and the dual objective at the targets, once they balance: a bound."""
        X, rows, penalty, n = self._X, self._rows, self._penalty, len(self._rows)
        weights = self._weights()
        W = weights[:-1]
        Z = X @ W
        Z += (weights[-1] - self._shift(W)).astype(X.dtype)
        Z = Z if self._whole else Z[rows]
        y, s = self._y[rows], self._weight[rows]
        Q = self._q if self._whole else self._q[rows]
        pull = self._kappa[:, None] * (self._centre - weights[self._drawn])
        moved, grown = None, 0.0
        if self._fit_intercept:
            far = self.gap > _FAR_OFF * self.objective
            missing = -n * pull[self._drawn == len(W)].sum(axis=0)
            moved = balance(lambda at: Q[at].astype(np.float64), Z, y, s, missing, far)
            grown = moved.grown if moved else np.inf
        if self.objective < PRECISE:
            Z, Q, s = Z.astype(np.float64), Q.astype(np.float64), s.astype(np.float64)
        loss, total = measure(Z, Q, y, s)
        total += grown
        W = W.astype(np.float64)
        objective = loss / n + penalty.of(W)
        self._residual = None
        if objective < self._best_objective:
            self._best, self._best_objective = weights.copy(), objective
            self._residual = Z.astype(X.dtype, copy=False)
        self.objective = self._best_objective
        gap = total / n
        left = self._left(weights, pull, moved)
        if not penalty.l2:
            tau = feasible(penalty, left)
            left *= tau
            gap = tau * gap + (1 - tau) * loss / n  # KL is convex in q
        gap += penalty_gap(penalty, W, left)
        self._bound = max(self._bound, objective - gap)
        self.gap = max(self.objective - self._bound, float(np.spacing(self.objective)))

    def _left(self, weights: Floats, pull: Floats, moved: Balanced | None) -> Floats:
        """``G + l2 W`` of the features: from U, and from the rows whose targets have moved."""
        n_features = len(weights) - 1
        left: Floats = np.zeros((n_features, weights.shape[1]))
        if moved is not None:
            left = self._product(self._rows[moved.at], moved.change / len(self._rows))
        features = self._drawn < n_features
        left[self._drawn[features]] += pull[features]
        if self._penalty.l1:  # what the soft threshold has taken, M (U - W)
            reach = self._reach[:-1, None]
            taken = np.divide(
                self._U[:-1] - weights[:-1], reach, out=np.zeros_like(left), where=reach > 0
            )
            left -= self._penalty.l1 * taken
        return left

    def _product(self, rows: Codes, R: Floats) -> Floats:
        """``(X - m)^T R`` of some rows, dense ones a few at a time."""
        size = _BLOCK_ROWS if self._dense else len(rows)
        blocks = [slice(start, start + size) for start in range(0, len(rows), size)]
        found: Floats = self._X[rows[blocks[0]]].T @ R[blocks[0]]
        for block in blocks[1:]:
            found += self._X[rows[block]].T @ R[block]
        if self._mean.any():
            found -= np.outer(self._mean, R.sum(axis=0))
        return found

    def _prepare_room(self, n_classes: int) -> None:
        """What the kernels write into: scores and moves of a row, or of a block of dense rows.

        Dense visits to a block share a Gram matrix, but not where a soft threshold lies between U
        and the weights: then a block is one row.
        """
        X, size = self._X, _VISITED_TOGETHER if self._dense and not self._penalty.l1 else 1
        self._room = [np.empty((size, n_classes), X.dtype) for _ in range(2)]
        if not self._dense:
            self._room += self._columns.row
        else:
            self._room += [
                np.empty((size, size), X.dtype),
                np.arange(size),
                *(np.empty((size, X.shape[1]), X.dtype) for _ in range(2)),
            ]

    def _set_metric(self, leverage: float) -> None:
        """``S``, ``t``, ``kappa``, and which features have a proximal term."""
        penalty, n, dtype = self._penalty, len(self._rows), self._X.dtype
        squares, leverages = self._columns.squares, self._columns.leverages
        least = _LEAST_METRIC * LEAST_SQUARE[dtype] * (leverages > 0)
        metric = np.maximum(penalty.l2, np.maximum(leverages / leverage, least) / n)
        pace = np.divide(1 / n, metric, out=np.zeros_like(metric), where=metric > 0)
        intercept = max(_INTERCEPT_LEAST, _INTERCEPT_SHARE * float(pace @ squares) / n)
        intercept *= self._fit_intercept
        with np.errstate(over="ignore"):
            reach = np.minimum(n * penalty.l1 * pace, np.finfo(dtype).max)
        reach = np.append(reach, 0) if penalty.l1 else np.empty(0)
        kappa = np.append(metric - penalty.l2, 1 / (n * intercept) if intercept else 0)
        pace = np.append(pace, intercept)
        self._leverage = leverage
        self._drawn = np.flatnonzero(kappa > 0)
        self._kappa = kappa[self._drawn]
        self._pull = (n * self._kappa * pace[self._drawn]).astype(dtype)[:, None]  # kappa / M
        self._pace, self._reach = pace.astype(dtype), reach.astype(dtype)

    def _change_leverage(self, factor: float) -> None:
        """A metric for other leverages, with all centres at W and G as it is."""
        W, U, n = self._weights(), self._U, len(self._rows)
        drawn, pace, pulled = self._drawn, self._pace, self._kappa[:, None] * self._centre
        self._set_metric(self._leverage * factor)
        self._centre = self._previous = W[self._drawn]
        U *= np.divide(self._pace, pace, out=np.ones_like(pace), where=pace > 0)[:, None]
        U[drawn] -= (n * pulled * self._pace[drawn, None]).astype(U.dtype)
        U[self._drawn] += self._pull * self._centre
        self._momentum, self._recentred_at, self._divergence = 1.0, np.inf, np.inf

    def _take_up_start(self) -> None:
        """``q = y + share (p - y)``, p the predictions at the start, where the dual is highest.

        At an optimum ``q = p`` gives ``W = soft(U, t)`` back; at other points it may be too bold.
        """
        X, y, rows, n = self._X, self._y, self._rows, len(self._rows)
        order: Any = "F" if self._dense else "C"  # what is side by side is read together
        self._U = np.zeros(self._best.shape, X.dtype, order=order)
        self._q = np.zeros((X.shape[0], self._best.shape[1]), X.dtype)
        self._q[rows, y[rows]] = 1
        if not self._best.any():
            self.objective = self.gap = self._best_objective = float(np.log(self._best.shape[1]))
            return
        loss, _ = self._visit(rows, step=1.0, coef=self._best)
        self._best_objective = loss / n + self._penalty.of(self._best[:-1])
        moved, sample = self._U.copy(), rows[:: max(1, n // _SAMPLE_ROWS)]
        values = []
        for share in _START_SHARES:
            self._mix(share, moved)
            q = share * self._q[sample]
            q[np.arange(len(sample)), y[sample]] += 1 - share
            entropy = -np.sum(q * np.log(q + _TINY), axis=1)
            values.append(float(np.average(entropy, weights=self._weight[sample])) - self._drop())
        share = _START_SHARES[int(np.argmax(values))]
        self._mix(share, moved)
        self._q *= X.dtype.type(share)
        self._q[rows, y[rows]] += X.dtype.type(1 - share)
        self._measure()

    def _mix(self, share: float, moved: Floats) -> None:
        """``U`` for a ``share`` of the displacement ``moved``, and the pull of the centres."""
        np.multiply(moved, self._U.dtype.type(share), out=self._U)
        self._U[self._drawn] += self._pull * self._centre

    def _drop(self) -> float:
        """``1/2 sum_j M_j |W_j|^2``, the dual's part that depends on U."""
        square = np.einsum("jk,jk->j", *2 * (self._weights(),))
        stiff = np.divide(1, self._pace, out=np.zeros_like(self._pace), where=self._pace > 0)
        return float(square @ stiff) / (2 * len(self._rows))

    def _measure(self) -> None:
        """Exact objective and gap of the best point, now that a look at every row is worth it."""
        n = len(self._rows)
        loss, divergence = self._visit(self._rows, step=0.0)
        weights = self._weights()
        objective = loss / n + self._penalty.of(weights[:-1])
        bound = objective - divergence / n - self._excess()
        if objective < self._best_objective:
            self._best, self._best_objective = weights.copy(), objective
        self.objective = self._best_objective
        self.gap = self.objective - min(max(bound, 0.0), self.objective)

    def _visit(
        self, rows: Codes, step: float = -1.0, coef: Floats | None = None
    ) -> tuple[float, float]:
        """Sums of ``s CE`` and ``s KL`` met; ``step`` 1 takes up predictions, 0 only looks."""
        X = self._X
        self.t += len(rows) if step < 0 else 0
        reach = self._reach if coef is None else self._reach[:0]
        coef = self._U if coef is None else coef
        if self._dense:
            coef = np.ascontiguousarray(coef.T)
            weights = np.empty(coef.shape if len(reach) else (0, 0), X.dtype)
            return _kernels.dual_dense(
                X, self._mean, self._y, self._weight, rows, step, coef, reach, self._pace,
                self._U.T, self._q, self._kl, weights, *self._room,
            )  # fmt: skip
        return _kernels.dual_csr(
            X.data, X.indices, X.indptr, *self._columns.centring, self._y, self._weight, rows, step,
            coef, reach, self._pace, self._U, self._q, self._kl, *self._room,
        )  # fmt: skip

    def _visit_hot_rows(self) -> None:
        """Visits to rows above the mean KL while they are few, about one pass's at most."""
        budget = len(self._rows)
        while budget > 0:
            kl = self._kl[self._rows]
            hot = self._rows[kl > kl.mean(dtype=np.float64)]
            if not 0 < len(hot) <= _HOT_ROWS * len(self._rows):
                break
            self._visit(hot[self._rng.permutation(len(hot))])
            budget -= len(hot) + len(self._rows) // _LOOKS

    def _weights(self, at: Any = slice(None)) -> Floats:
        """``soft(U, t)`` of some features; perhaps a view."""
        U = self._U[at]
        if not len(self._reach):
            return U
        reach = self._reach[at, None]
        return U - np.clip(U, -reach, reach)

    def _excess(self) -> float:
        """What F may be above its optimum on account of the proximal terms.

        ``-kappa D``, ``D = W - C``, is a subgradient at W of what remains without them, so the
        excess is at most its product with the way to the optimum. That is taken as a multiple of
        the last move, or of half D where momentum carried the centre past W.
        """
        W = self._weights(self._drawn)
        away = W - self._centre
        product = max(
            float(np.einsum("jk,jk->j", away, way) @ self._kappa)
            for way in (W - self._previous, away / 2)
        )
        return _REMAINING * product

    def _recentre(self) -> None:
        """Move the centres to W and beyond, when the gap is closed enough for it."""
        if self.gap > _RECENTRE * self._recentred_at and self._divergence > self.gap / 2:
            if self.gap > self._recentred_at:
                self._momentum = 1.0
            return
        W = self._weights(self._drawn)
        moved = W - self._previous
        too_far = float(np.einsum("jk,jk->j", self._centre - W, moved) @ self._kappa) > 0
        if too_far or self.objective > self._objective_before * _RISEN:
            self._momentum = 1.0  # O'Donoghue & Candes (2015)
        last, self._momentum = self._momentum, (1 + (1 + 4 * self._momentum**2) ** 0.5) / 2
        ahead = W + W.dtype.type((last - 1) / self._momentum) * moved
        self._U[self._drawn] += self._pull * (ahead - self._centre)
        self._centre, self._previous, self._recentred_at = ahead, W, self.gap
