"""Dual ascent row by row, then Newton's method: when the one hands over to the other."""

from dataclasses import replace
from functools import cached_property

import numpy as np

from skl_softmax._objective import exact_objective
from skl_softmax._optimum._dual import DualAscent
from skl_softmax._optimum._interior_point import affordable
from skl_softmax._optimum._measured_rows import MeasuredRows
from skl_softmax._optimum._metric import FULL_WIDTH
from skl_softmax._optimum._newton import Newton
from skl_softmax._optimum._proximal_move import least_shift
from skl_softmax._optimum._row_space import RowSpace, much_smaller, smaller
from skl_softmax._optimum._some_columns import SomeColumns, to_move
from skl_softmax._parameters import OverflowedError, Parameters
from skl_softmax._penalties import Penalty
from skl_softmax._softmax import Codes, Floats
from skl_softmax._state import State

_SHARE_LEFT = 0.4  # of the gap by a Newton move, about
_MOVE_COST, _METRIC_COST = 2.0, 0.5  # of a move, in epochs of dual ascent: 2 + .5 d^2 / n
_PRODUCTS_COST = 12.0  # with one metric for all classes: more products
_LONGEST_WAIT = 50  # epochs for which none is made, whatever it costs
_DEAREST = 150.0  # epochs that a move with l1 may cost then
_PERFECT = 1e-3  # times tol: an objective with no more to gain
_CLOSE = 0.1  # times tol: a gap that need not be close to the true one
_CLOSER = 3  # epochs for a closer bound, at most
_SPARSE_WAIT = 5  # with l1, where what a move costs is not known yet
_CHEAP = 4.0  # epochs of dual ascent: as a Newton move, which is then the first
# Columns that have to be first where all are dear, and as many more at a time. With 64 the last of
# those of 257 x 20000 word counts were taken in one by one, and 256 cost no less.
_FIRST = 128
_LITTLE = 1e8  # products of a move, some 10 ms: of one batch nothing need be random then
_NEXT_LOOK = 3  # epochs after which another look is worth its pass, whatever the last one saw
_RESTED = 3  # epochs, without a fall beyond _ROUNDING, after which one below tol has none
# Of an objective that is small, by that of the scores. With 1e-6 in float32, 2000 x 900 separable
# rows in 80 classes of unlike columns gained 3e-4 in another 11 moves and 25 s, of which float32
# weights lost 1e-3.
_ROUNDING = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-5}
_TOL = 1e-3  # where the user asks for none: what a bound of the gap is computed for
_NARROW = 32  # d + d^2 / n up to which all of Newton's moves cost less than epochs
_FEW_WEIGHTS = 128  # with fewer a visit is mostly overhead: elec2, 6 x 2, took 3 times as long


class OptimumFit:
    """Dual ascent, then Newton's method where that has become slow.

    Models of few weights are Newton's from the start, from the optimum of a random sample if there
    are many rows, and so are rows of one batch, where its moves cost less than epochs. With l2 rows
    fewer than features are given to it in their own coordinates, and very few to either. With l1
    it has the columns that may have weights, from the start while these are few. More features than
    its metric takes are left to dual ascent.
    """

    def __init__(
        self,
        rows: MeasuredRows,
        penalty: Penalty,
        params: Parameters,
        state: State,
        tol: float | None,
    ) -> None:
        self._tol = tol or _TOL
        self._rows, self._data, self._fit_intercept = rows, rows.data, rows.fit_intercept
        self._penalty, self._state = penalty, state
        self._dtype = rows.data.X.dtype
        self._space: RowSpace | SomeColumns | None = None
        self._n_classes = params.coef.shape[1]
        params = self._begin(params)
        one_batch, l2_alone = rows.one_batch, bool(penalty.l2) and not penalty.l1
        n, d = len(self._data.rows), self._data.X.shape[1]
        self._may_reduce = l2_alone and smaller(n, d)
        if self._may_reduce and much_smaller(n, d, self._n_classes):
            params = self._reduced(params)
            d = len(params.coef)
        width = n if self._may_reduce else d
        metric = width**3 / (n * d)
        of_all = width**2 * (width + n) / (4 * n * d * self._n_classes)
        cost = min(_MOVE_COST + _METRIC_COST * metric, _PRODUCTS_COST + of_all)
        self._wait = _SPARSE_WAIT if penalty.l1 else min(round(cost), _LONGEST_WAIT)
        self._may_hand_over = bool(penalty.l1) or width <= FULL_WIDTH
        self._t = 0  # updates of an engine before this one
        self._balanced_at = -1
        self._at_rest, self._lowest = 0, np.inf  # epochs without a fall of the objective
        self._times_estimate = 1.0  # gap of dual ascent, as it was at the last look
        self._one_batch = one_batch
        self._waited = False  # dual ascent was slow: a move may cost more than some epochs of it
        self._epochs = self._since_look = 0  # of the engine; in all
        self._next_count = 0  # epochs after which weights that would move are counted again
        self._doubted = False  # dual ascent says that it is done, but Newton's method shall see
        self._before, self._closer = np.inf, 0  # objective; epochs made for a closer bound
        self._engine: DualAscent | Newton
        if params.coef.size <= _FEW_WEIGHTS:
            self._engine = self._newton(params, from_sample=not one_batch)
        elif penalty.l1:
            found = to_move(self._data, params, penalty, self._fit_intercept)
            # Of more weights than rows times classes most are 0.
            if found.moves.sum() > n * self._n_classes:
                found = found.first(max(_FIRST, int(params.coef.any(axis=1).sum())))
            if self._is_cheap(int(found.moves.sum()), len(found.columns)):
                self._engine = self._on_columns(params, found.columns)
            else:
                self._engine = self._dual_ascent(params)
        elif one_batch and (d + d * d / n <= _NARROW or not l2_alone):
            self._engine = self._newton(params)
        else:
            self._engine = self._dual_ascent(params)

    def _begin(self, params: Parameters) -> Parameters:
        """The parameters to start from, or zeros if they are better."""
        if not (params.coef.any() or params.intercept.any()):
            return params
        penalty, dtype = self._penalty, params.coef.dtype
        if penalty != Penalty():
            with np.errstate(all="ignore"):
                coef = least_shift(params.coef.astype(np.float64), penalty.l2, penalty.l1)
            params = Parameters(coef.astype(dtype), params.intercept)
        F = exact_objective(params, penalty, self._data)
        if not np.isfinite(F):
            raise OverflowedError
        if np.log(len(params.intercept)) < F:
            return Parameters(np.zeros_like(params.coef), np.zeros_like(params.intercept))
        return params

    def _reduced(self, params: Parameters) -> Parameters:
        """Go on in the rows' own coordinates."""
        self._space, self._data = RowSpace.of(self._data, self._fit_intercept)
        self._rows = replace(self._rows, data=self._data)
        self._may_reduce = False
        return self._space.into(params)

    def _dual_ascent(self, params: Parameters) -> DualAscent:
        rows = self._rows
        return DualAscent(
            rows.data, rows.columns, self._penalty, rows.fit_intercept, params, self._state.rng
        )

    def _newton(self, params: Parameters, from_sample: bool = False) -> Newton:
        rng = self._state.rng
        return Newton(self._rows.centred, self._penalty, params, rng, self._tol, from_sample)

    def _on_columns(
        self, params: Parameters, columns: Codes, damping: float | None = None
    ) -> Newton:
        """Newton's method on some columns."""
        columns = np.sort(columns)
        self._space = SomeColumns(self._data, columns, self._penalty.l1, self._fit_intercept)
        params = self._space.into(params)
        rng = self._state.rng
        return Newton(self._space, self._penalty, params, rng, self._tol, damping=damping)

    @property
    def t(self) -> int:
        return self._t + self._engine.t

    @property
    def objective(self) -> float:
        return self._engine.objective

    @property
    def gap(self) -> float:
        return self._engine.gap / self.objective if self.objective else 0.0

    def epoch(self) -> None:
        if self._is_slow():
            self._hand_over()
        elif isinstance(self._space, SomeColumns) and len(self._space.left_out.columns):
            self._take_in(self._space)
        self._before = self.objective
        self._engine.epoch()
        self._epochs += 1
        self._since_look += 1

    def _hand_over(self) -> None:
        """To Newton's method; with l1 on columns that may have weights, if they are not many."""
        params = self._engine.parameters()
        if self._penalty.l1:
            columns = self._columns_worth(params)
            if columns is not None:
                self._waited = True
                self._leave_engine()
                self._engine = self._on_columns(params, columns)
            return
        self._leave_engine()
        if self._may_reduce:
            params = self._reduced(params)
        self._engine = self._newton(params)

    def _take_in(self, some: SomeColumns) -> None:
        """Go on with columns too that were left out and may have weights: as many again, or few.

        That is Newton's method until its moves would be dear; then dual ascent has its turn.
        """
        params = self.parameters()
        weights = np.count_nonzero(params.coef, axis=1)
        new = some.left_out.first(max(_FIRST, int((weights > 0).sum())))
        columns = np.union1d(some.columns, new.columns)
        moves = int(weights.sum() + new.moves.sum())
        damping = self._engine.damping if isinstance(self._engine, Newton) else None
        self._leave_engine()
        self._at_rest = 0
        if self._waited or self._is_cheap(moves, len(columns)):
            self._engine = self._on_columns(params, columns, damping)
        else:
            self._space = None
            self._engine = self._dual_ascent(params)

    def _columns_worth(self, params: Parameters) -> Codes | None:
        """Those that may have weights, once dual ascent has had as long as a move of them takes."""
        if self._epochs < self._next_count:
            return None
        columns, moves = to_move(self._data, params, self._penalty, self._fit_intercept)
        cost = self._sparse_cost(int(moves.sum()), len(columns))
        wait = min(cost, _LONGEST_WAIT)
        if wait <= self._epochs and cost <= _DEAREST and len(columns) <= FULL_WIDTH:
            return columns
        self._next_count = self._epochs + _SPARSE_WAIT
        self._may_hand_over = cost <= _DEAREST and len(columns) <= FULL_WIDTH
        self._wait = max(self._wait, round(wait))
        return None

    def _is_cheap(self, moves: int, n_columns: int) -> bool:
        """Whether a Newton move of so many weights takes no longer than some epochs."""
        little = self._one_batch and self._products(moves, n_columns) <= _LITTLE
        return little or self._sparse_cost(moves, n_columns) <= _CHEAP

    def _sparse_cost(self, moves: int, n_columns: int) -> float:
        """Of a Newton move of so many weights, in epochs of dual ascent."""
        X, n, K = self._data.X, len(self._data.rows), self._n_classes
        epoch = (20 * K * X.size / X.shape[0] + 1500) * n + 300 * X.shape[1] * K
        return _MOVE_COST + self._products(moves, n_columns) / epoch

    def _products(self, moves: int, n_columns: int) -> float:
        """Of such a move, by coordinate descent or in the rows' space."""
        n, K = len(self._data.rows), self._n_classes
        descent = (n + 300) * (moves / 2 if K == 2 else moves) ** 2
        barrier = (n * K) ** 3 + 4 * n * n * n_columns * K
        return min(descent, barrier) if affordable(n, n_columns, K) else descent

    def _leave_engine(self) -> None:
        """Forget it: the memory of two would be too much."""
        self._t += self._engine.t
        self._doubted, self._times_estimate = False, 1.0
        self._epochs = self._next_count = 0
        del self._engine

    def _is_slow(self) -> bool:
        """Whether Newton's method is to check the gap, or would have closed more of it meanwhile.

        Dual ascent has as much time as a Newton move takes, so the wrong choice costs twice the
        time of the right one at most.
        """
        if isinstance(self._engine, Newton) or not (self._may_hand_over or self._penalty.l1):
            return False
        gaps = self._engine.gaps[-self._wait - 1 :]
        slow = len(gaps) > self._wait and gaps[-1] > _SHARE_LEFT * gaps[0]
        return slow or self._doubted

    def near_optimum(self, tol: float) -> bool:
        """Whether the gap is known to be at most ``tol``.

        Without a penalty the objective of separable classes has no minimum, but tends to 0: there
        it is near when it is below ``tol`` itself. With one, it is where it is far below, or has
        come to rest below.
        """
        if tol == 0:  # all epochs, whatever is known
            return False
        engine, estimate = self._engine, self.gap
        too_soon = self._times_estimate * estimate > tol and self._since_look < _NEXT_LOOK
        if not self._below(tol) or too_soon:
            return self._rests(tol)
        self._since_look = 0
        engine.parameters()  # objective and gap were met on the way: now they are exact
        if self._below(tol):
            self._balance()
        if self._below(tol):
            if not engine.certain:
                return not self._check_again()
            return self.gap <= _CLOSE * tol or not self._look_closer()
        if isinstance(engine, DualAscent):
            self._look_later(engine, estimate, tol)
        return self._rests(tol)

    def _look_closer(self) -> bool:
        """Whether another epoch may show that the gap is much less than its bound."""
        at_rest = self.objective >= self._before * (1 - _ROUNDING[self._data.X.dtype])
        if at_rest or self._closer == _CLOSER or not self._engine.loose:
            return False
        self._closer += 1
        return True

    def _look_later(self, engine: DualAscent, estimate: float, tol: float) -> None:
        """Dual ascent's gap is above its estimate: give it as long as a Newton move takes, once."""
        known = self._times_estimate > 1
        self._times_estimate = max(self.gap / max(estimate, 1e-300), 1.0)
        gaps = engine.gaps[-self._wait - 1 :]
        closed = gaps[-1] / gaps[0] if len(gaps) > 1 else 1.0
        left = self.gap * closed ** (self._wait / max(len(gaps) - 1, 1))
        if known or left > tol:
            self._check_again()

    def _rests(self, tol: float) -> bool:
        """Whether a perfect fit has no more to gain."""
        if not self.objective < tol:
            return False
        self._engine.parameters()
        found = self.objective
        fell = found < self._lowest * (1 - _ROUNDING[self._data.X.dtype])
        away = isinstance(self._engine, Newton) and self._engine.away
        self._at_rest = 0 if fell or away else self._at_rest + 1
        self._lowest = min(found, self._lowest)
        if found < _PERFECT * tol:
            return True
        rests = found < tol and self._at_rest >= _RESTED
        if rests and isinstance(self._engine, DualAscent) and self._check_again():
            self._at_rest = 0
            return False
        return rests

    def _check_again(self) -> bool:
        """Give the next epoch to another look at the optimum; returns whether one is possible."""
        if isinstance(self._engine, Newton):
            self._engine.renew_metric()
            return True
        if self._penalty.l1:
            self._doubted = self._columns_worth(self._engine.parameters()) is not None
            return self._doubted or self._may_hand_over
        self._doubted = self._may_hand_over
        return self._doubted

    def _below(self, tol: float) -> bool:
        unpenalised = self._penalty == Penalty()
        return self.gap <= tol or (unpenalised and self.objective < tol)

    def slow_down(self) -> bool:
        return False

    def now(self) -> Parameters:
        """What `parameters` gives, without a bound of the gap, and perhaps not the best point."""
        return self._public(self._engine.now())

    def parameters(self) -> Parameters:
        return self._public(self._engine.parameters())

    def _public(self, params: Parameters) -> Parameters:
        return params if self._space is None else self._space.back(params, self._dtype)

    def kept(self) -> tuple[Parameters, State]:
        self._engine.finish()
        return self.parameters(), replace(self._state, t=self.t)

    def finished(self) -> tuple[Parameters, State]:
        self._engine.finish()
        self._engine.parameters()
        self._balance()
        if self._penalty == Penalty() and self.objective < self._tol < self.gap:
            self._engine.gap = self.objective  # of separable classes all may be had: no estimate
        return self._or_shares(self.parameters()), replace(self._state, t=self.t)

    def _balance(self) -> None:
        """Give every class its share by the intercepts, once after an epoch."""
        if self._fit_intercept and self._balanced_at != self.t:
            self._balanced_at = self.t
            self._engine.balance(self._share)

    @cached_property
    def _share(self) -> Floats:
        """Of the weight of the rows, each class's."""
        data = self._data
        y, weight = (a if data.whole else a[data.rows] for a in (data.y, data.weight))
        return np.bincount(y, weight, self._n_classes) / len(data.rows)

    def check(self, params: Parameters) -> None:
        """Raise an error if a number is none, as after an immense start."""
        known = np.isfinite(self.objective) and np.isfinite(self.gap)
        if not (known and np.isfinite(params.coef).all() and np.isfinite(params.intercept).all()):
            raise OverflowedError

    def _or_shares(self, params: Parameters) -> Parameters:
        """The class shares alone, by the intercepts, where nothing better was found.

        Without weights these are the best intercepts, to the last bit.
        """
        if not self._fit_intercept:
            return params
        share = self._share
        known = share[share > 0]
        entropy = -float(known @ np.log(known))
        if len(known) < len(share) or (entropy >= self.objective and params.coef.any()):
            return params
        self._engine.know(entropy)
        intercept = np.log(share)
        intercept -= intercept.mean()
        dtype = params.coef.dtype
        return Parameters(np.zeros_like(params.coef), intercept.astype(dtype))
