"""What learns, an epoch at a time: a textbook solver, or the engine without knobs."""

from dataclasses import replace
from typing import Protocol

import numpy as np

from skl_softmax._penalties import Penalty
from skl_softmax._solvers import DualAscent, Newton, Parameters, Slots
from skl_softmax._solvers._preconditioner import FULL_WIDTH
from skl_softmax._solvers._rows import CentredRows
from skl_softmax._stream import Method, Rows, State, learn_smoothness, present, run_pass

_SLOWEST = 1e-6  # "adaptive" ends when its step falls below
_SHARE_LEFT = 0.4  # of the gap by a Newton move, about
_MOVE_COST, _METRIC_COST = 2.0, 0.5  # of a move, in epochs of dual ascent: 2 + .5 d^2 / n
_LONGEST_WAIT = 50  # epochs for which none is made, whatever it costs
_FEW_WEIGHTS = 128  # with fewer a visit is mostly overhead: elec2, 6 x 2, took 3 times as long


class Engine(Protocol):
    """A fit in the making."""

    @property
    def t(self) -> int:
        """Updates made."""

    @property
    def objective(self) -> float:
        """The objective met in the last epoch."""

    @property
    def gap(self) -> float | None:
        """Estimate of how far that is above the optimum, relative to it; None: no estimate."""

    def epoch(self) -> None:
        """Visit every row, or do about as much work."""

    def near_optimum(self, tol: float) -> bool:
        """Whether there is an estimate, and it says that the fit may end."""

    def slow_down(self) -> bool:
        """Whether there is a shorter step to try, now that this one brings nothing any more."""

    def parameters(self) -> Parameters:
        """What the user would get now."""

    def kept(self) -> tuple[Parameters, State]:
        """A copy of that and of what `partial_fit` would go on from."""


class TextbookEngine:
    """Passes of a solver over the rows; owns and changes ``params`` and ``state``."""

    gap = None

    def __init__(self, params: Parameters, state: State, method: Method, data: Rows) -> None:
        self._params, self._state, self._method, self._data = params, state, method, data
        self.objective = np.inf
        learn_smoothness(state, method, data)

    @property
    def t(self) -> int:
        return self._state.t

    def epoch(self) -> None:
        self.objective = run_pass(self._params, self._state, self._method, self._data)

    def near_optimum(self, tol: float) -> bool:
        return False

    def slow_down(self) -> bool:
        """Whether "adaptive" divides its step by 5: not once that is below 1e-6."""
        eta = self._method.steps.eta0 * self._state.slowdown
        if self._method.schedule != "adaptive" or eta <= _SLOWEST:
            return False
        self._state.slowdown /= 5
        return True

    def parameters(self) -> Parameters:
        solver = self._method.solver
        return solver.presented(self._params, self._state.slots, self._data.features)

    def kept(self) -> tuple[Parameters, State]:
        params, state = self._params.copy(), self._state.copy()
        return present(params, state, self._method.solver, self._data), state


class AutoEngine:
    """No knobs: dual ascent row by row, then Newton's method where that has become slow.

    Rows that fit into one batch and models of few weights are Newton's from the start, the latter
    from the optimum of a random sample; more features than its metric takes are left to dual
    ascent.
    """

    def __init__(self, params: Parameters, state: State, method: Method, data: Rows) -> None:
        self._state, self._solver, self._data = state, method.solver, _canonical(data)
        cost = _MOVE_COST + _METRIC_COST * data.X.shape[1] ** 2 / len(data.rows)
        self._wait = min(round(cost), _LONGEST_WAIT)
        self._may_hand_over = data.X.shape[1] <= FULL_WIDTH
        self._t = 0  # updates of an engine before this one
        self._doubted = False  # dual ascent says that it is done, but Newton's method shall see
        self._engine: DualAscent | Newton
        if len(data.rows) <= method.batch_size:
            self._engine = self._newton(params)
        elif params.coef.size <= _FEW_WEIGHTS:
            self._engine = self._newton(params, from_sample=True)
        else:
            self._engine = self._dual_ascent(params)

    def _dual_ascent(self, params: Parameters) -> DualAscent:
        data, solver = self._data, self._solver
        return DualAscent(
            data.X, data.y, data.weight, data.rows,
            solver.penalty, solver.fit_intercept, params, self._state.rng,
        )  # fmt: skip

    def _newton(self, params: Parameters, from_sample: bool = False) -> Newton:
        data, solver = self._data, self._solver
        rows = CentredRows(data.X, data.y, data.weight, data.rows, solver.fit_intercept)
        return Newton(rows, solver.penalty, params, self._state.rng, from_sample)

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
            params = self._engine.parameters()
            self._t += self._engine.t
            self._doubted = False
            del self._engine  # the memory of both would be too much
            self._engine = self._newton(params)
        self._engine.epoch()

    def _is_slow(self) -> bool:
        """Whether Newton's method is to check the gap, or would have closed more of it meanwhile.

        Dual ascent has as much time as a Newton move takes, so the wrong choice costs twice the
        time of the right one at most.
        """
        if isinstance(self._engine, Newton) or not self._may_hand_over:
            return False
        gaps = self._engine.gaps[-self._wait - 1 :]
        slow = len(gaps) > self._wait and gaps[-1] > _SHARE_LEFT * gaps[0]
        return slow or self._doubted

    def near_optimum(self, tol: float) -> bool:
        """Whether the gap is at most ``tol``.

        Without a penalty the objective of separable classes has no minimum, but tends to 0: there
        it is near when it is below ``tol`` itself.
        """
        if not self._below(tol):
            return False
        self._engine.parameters()  # objective and gap were met on the way: now they are exact
        return self._below(tol) and (self._engine.certain or not self._check_again())

    def _check_again(self) -> bool:
        """Give the next epoch to another look at the optimum; returns whether one is possible."""
        if isinstance(self._engine, Newton):
            self._engine.renew_metric()
            return True
        self._doubted = self._may_hand_over
        return self._doubted

    def _below(self, tol: float) -> bool:
        unpenalised = self._solver.penalty == Penalty()
        return self.gap <= tol or (unpenalised and self.objective < tol)

    def slow_down(self) -> bool:
        return False

    def parameters(self) -> Parameters:
        return self._engine.parameters()

    def kept(self) -> tuple[Parameters, State]:
        params = self._engine.parameters()
        return params, replace(self._state, slots=Slots({}), t=self.t)


def _canonical(data: Rows) -> Rows:
    """The same rows, each entry of a CSR matrix in one part: its square is no sum of squares."""
    if isinstance(data.X, np.ndarray) or data.X.has_canonical_format:
        return data
    X = data.X.copy()
    X.sum_duplicates()
    return replace(data, X=X)
