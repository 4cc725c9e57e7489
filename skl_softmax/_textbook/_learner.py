"""A textbook method as what `fit` and `partial_fit` drive: epochs of it, or a pass over a chunk.

Between calls its state holds the solver's memory, by the names of its arrays, the iterate where the
user sees an average instead, and some numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from skl_softmax._parameters import Parameters, lift, with_mean
from skl_softmax._rows import Rows
from skl_softmax._softmax import Codes
from skl_softmax._state import Learnt, State
from skl_softmax._textbook._divergence import check_descent
from skl_softmax._textbook._pass import Method, Pace, run_pass
from skl_softmax._textbook._solver import Iterate, Memory

_SLOWEST = 1e-6  # "adaptive" ends when its step falls below
_ITERATE, _NORMS = ("iterate", "iterate_intercept"), ("square", "absolute")


class TextbookFit:
    """Passes of a method over the same rows; owns and changes ``state`` and what ``start`` makes.

    At the end of a fit that rose ``start`` is called again, to see from where.
    """

    gap = None

    def __init__(
        self, method: Method, start: Callable[[], Parameters], state: State, data: Rows
    ) -> None:
        self._method, self._start, self._state, self._data = method, start, state, data
        self._iterate, self._memory, self._pace = _taken_up(method, start(), state)
        if not method.solver.fit_intercept:
            self._forget_intercept()
        self.objective, self._highest = np.inf, -np.inf
        self._pace.learn(method, data)

    @property
    def t(self) -> int:
        return self._state.t

    def epoch(self) -> None:
        self.objective = run_pass(
            self._iterate, self._memory, self._state, self._pace, self._method, self._data
        )
        self._highest = max(self._highest, self.objective)

    def near_optimum(self, tol: float) -> bool:
        return False

    def slow_down(self) -> bool:
        """Whether "adaptive" divides its step by 5: not once that is below 1e-6."""
        eta = self._method.steps.eta0 * self._pace.slowdown
        if self._method.schedule != "adaptive" or eta <= _SLOWEST:
            return False
        self._pace.slowdown /= 5
        return True

    def parameters(self) -> Parameters:
        return self._method.solver.shown(self._iterate, self._memory, self._data.features)

    def kept(self) -> tuple[Parameters, State]:
        state = replace(self._state)
        return self._stored(self._iterate.copy(), self._memory.copy(), state), state

    def finished(self) -> tuple[Parameters, State]:
        """The same, without a copy: the end of this learner."""
        return self._stored(self._iterate, self._memory, self._state), self._state

    def check(self, params: Parameters) -> None:
        """Raise an error if steps were so long that the objective rose.

        In an epoch of one batch, or of hardly more, less than half of the rows have met what it did
        to the parameters.
        """
        met = self._highest if len(self._data.rows) >= 2 * self._method.batch_size else np.inf
        check_descent(params, met, self._start, self._method.solver.penalty, self._data)

    def _stored(self, iterate: Iterate, memory: Memory, state: State) -> Parameters:
        """Put everything into the state; returns what the user sees."""
        shown = self._method.solver.shown(iterate, memory, self._data.features)
        state.arrays, state.numbers = dict(memory.arrays), _numbers(memory, self._pace)
        if shown is not iterate:
            state.arrays |= zip(_ITERATE, (iterate.coef, iterate.intercept), strict=True)
            norms = zip(_NORMS, (iterate.square, iterate.absolute), strict=True)
            state.numbers |= {name: norm for name, norm in norms if norm is not None}
        return shown

    def _forget_intercept(self) -> None:
        """The user may have turned the intercept off in mid-stream."""
        memory = self._memory.arrays
        for array in (self._iterate.intercept, *(memory[n] for n in memory if "_intercept" in n)):
            array[...] = 0


@dataclass(frozen=True)
class TextbookStream:
    """One pass of a method over each chunk."""

    method: Method

    def learn(self, params: Parameters, state: State, data: Rows) -> Learnt:
        learner = TextbookFit(self.method, lambda: params, state.copy(), data)
        learner.epoch()
        return Learnt(*learner.finished(), learner.objective)

    def with_classes(
        self, params: Parameters, state: State, position: Codes
    ) -> tuple[Parameters, State]:
        iterate, memory, pace = _taken_up(self.method, params, state)
        lower = lift(len(params.intercept), state.n_rows, self.method.solver.fit_intercept)
        arrays = {name: with_mean(array, position) for name, array in memory.arrays.items()}
        if memory.n_averaged:
            arrays["total_intercept"][position] += memory.n_averaged * lower
        if _ITERATE[0] in state.arrays:
            grown = iterate.with_classes(position, lower)
            arrays |= zip(_ITERATE, (grown.coef, grown.intercept), strict=True)
        state = replace(state, arrays=arrays, numbers=_numbers(memory, pace))
        return params.with_classes(position, lower), state


def _taken_up(method: Method, params: Parameters, state: State) -> tuple[Iterate, Memory, Pace]:
    """What a state holds; an empty memory if that is of another solver."""
    numbers, arrays = state.numbers, dict(state.arrays)
    pace = Pace(numbers.get("smoothness", 0.0), numbers.get("slowdown", 1.0))
    iterate = Iterate(params.coef, params.intercept)
    if _ITERATE[0] in arrays:
        coef, intercept = (arrays.pop(name) for name in _ITERATE)
        iterate = Iterate(coef, intercept)
        iterate.square, iterate.absolute = (numbers.get(name) for name in _NORMS)
    if method.solver.remembers(arrays):
        memory = Memory(arrays, int(numbers.get("t", 0)), int(numbers.get("n_averaged", 0)))
    else:
        memory = method.solver.start(iterate)
    return iterate, memory, pace


def _numbers(memory: Memory, pace: Pace) -> dict[str, float]:
    return {
        "t": memory.t,
        "n_averaged": memory.n_averaged,
        "smoothness": pace.smoothness,
        "slowdown": pace.slowdown,
    }
