"""One pass over rows, and the state that goes from one pass to the next.

`fit` makes many passes over the same rows, `partial_fit` one over each chunk that it is given;
between passes everything that the next one needs is in `State`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from skl_softmax._schedules import SCHEDULES, Steps, needs_smoothness
from skl_softmax._smoothness import smoothness
from skl_softmax._softmax import Codes, Floats
from skl_softmax._solvers import Parameters, Pass, Slots, Solver


@dataclass(frozen=True)
class Rows:
    """Weighted, labelled rows: ``rows`` are the positions in ``X`` that count."""

    X: Any  # (n_samples, n_features), ndarray or CSR, float32 or float64
    y: Codes  # (n_samples,)
    weight: Floats  # (n_samples,), dtype of X
    rows: Codes
    from_zero: bool = False  # whether features without a non-zero in X have no weight either

    @cached_property
    def total_weight(self) -> float:
        return float(self.weight[self.rows].sum(dtype=np.float64))

    @cached_property
    def features(self) -> Codes:
        """Those that may have a non-zero in X or a weight."""
        d = self.X.shape[1]
        if isinstance(self.X, np.ndarray) or not self.from_zero:
            return np.arange(d)
        return np.flatnonzero(np.bincount(self.X.indices, minlength=d))


@dataclass(frozen=True)
class Method:
    """How rows become updates."""

    solver: Solver
    schedule: str
    steps: Steps
    batch_size: int
    shuffle: bool


@dataclass
class State:
    """What one pass leaves for the next: O(n_features * n_classes), whatever the rows seen."""

    slots: Slots
    rng: np.random.RandomState  # one generator, never seeded again
    t: int = 0  # updates made
    smoothness: float = 0.0  # the largest met, so that the automatic step never grows
    slowdown: float = 1.0  # of the "adaptive" schedule
    iterate: Parameters | None = None  # where the user sees an average instead
    n_rows: int = 0  # rows learnt, those of a fit once
    class_counts: Floats = field(default_factory=lambda: np.empty(0))  # sums of sample weights
    parameters: tuple[Any, ...] = ()  # of the estimator, when they were last found valid

    def copy(self) -> "State":
        """A copy to work on, so that a failed pass changes nothing (but see `rng`)."""
        iterate = self.iterate and self.iterate.copy()
        return replace(self, slots=self.slots.copy(), iterate=iterate)


@contextmanager
def rewound_on_failure(rng: np.random.RandomState) -> Iterator[None]:
    """Take back what a failing block drew from the generator."""
    before = rng.get_state()
    try:
        yield
    except BaseException:
        rng.set_state(before)
        raise


class OverflowedError(ArithmeticError):
    """The parameters left the range of floating-point numbers."""


def learn_smoothness(state: State, method: Method, data: Rows) -> None:
    """Let the automatic step know these rows; costs a pass where the schedule needs it."""
    if needs_smoothness(method.schedule, method.steps.alpha):
        solver = method.solver
        found = smoothness(
            data.X, data.weight, data.rows, method.batch_size, solver.fit_intercept, solver.momentum
        )
        state.smoothness = max(state.smoothness, found + solver.penalty.l2)


def run_pass(params: Parameters, state: State, method: Method, data: Rows) -> float:
    """Visit every row once, in place; returns the objective met on the way.

    That is the mean loss that the rows had when their batch was visited, plus the mean penalty of
    the iterates that they were visited with, between its values before and after the pass. Where
    all rows are one batch, it is the objective before the update.
    """
    rows, size, penalty = data.rows, method.batch_size, method.solver.penalty
    if method.shuffle:
        rows = rows[state.rng.permutation(len(rows))]
    n_updates = -(-len(rows) // size)
    t = np.arange(state.t + 1, state.t + n_updates + 1, dtype=np.float64)
    eta = SCHEDULES[method.schedule](t, replace(method.steps, smoothness=state.smoothness))
    eta *= state.slowdown
    eta[-1] *= (len(rows) - (n_updates - 1) * size) / size  # a short batch steps by its share
    visits = Pass(data.X, data.y, data.weight, rows, data.features, min(size, len(rows)), eta)
    before = penalty.value(*params.norms(need_absolute=penalty.l1 > 0))
    with np.errstate(over="ignore", invalid="ignore"):
        loss = method.solver.run(params, state.slots, visits)
        square, absolute = params.norms(need_absolute=penalty.l1 > 0)
    if not (np.isfinite(loss) and np.isfinite(square) and np.isfinite(params.intercept).all()):
        raise OverflowedError
    state.t += method.solver.updates(state.slots, visits)
    grown = penalty.value(square, absolute) - before
    return loss / data.total_weight + before + grown * (n_updates - 1) / (2 * n_updates)


def partial_pass(
    params: Parameters, state: State, method: Method, data: Rows
) -> tuple[Parameters, State, float]:
    """One pass over one chunk: what the user sees, the state to keep, the objective.

    Changes ``params``, which the caller gives away, and a copy of ``state``.
    """
    with rewound_on_failure(state.rng):
        state = state.copy()
        if not method.solver.remembers(state.slots):
            state.slots = method.solver.start(params)
        iterate = params if state.iterate is None else state.iterate
        state.n_rows += len(data.rows)
        if not method.solver.fit_intercept:
            _forget_intercept(iterate, state.slots)
        learn_smoothness(state, method, data)
        value = run_pass(iterate, state, method, data)
    return present(iterate, state, method.solver, data), state, value


def with_classes(
    params: Parameters, state: State, method: Method, position: Codes
) -> tuple[Parameters, State]:
    """The same with one more class at each ``position``, for `partial_pass` to go on from."""
    if not method.solver.remembers(state.slots):
        state = replace(state, slots=method.solver.start(params))
    iterate = params if state.iterate is None else state.iterate
    iterate, slots = method.solver.with_class(iterate, state.slots, position, state.n_rows)
    return iterate, replace(state, slots=slots, iterate=state.iterate and iterate)


def raise_interrupt(state: State) -> None:
    """Raise what ended the last pass early, now that the batches learnt until then are kept."""
    interrupt, state.slots.interrupt = state.slots.interrupt, None
    if interrupt is not None:
        raise interrupt


def _forget_intercept(params: Parameters, slots: Slots) -> None:
    """The user has turned the intercept off in mid-stream."""
    for array in (params.intercept, *(a for n, a in slots.arrays.items() if "_intercept" in n)):
        array[...] = 0


def present(iterate: Parameters, state: State, solver: Solver, data: Rows) -> Parameters:
    """What the user sees of the iterate; the state keeps the iterate itself where that differs."""
    shown = solver.presented(iterate, state.slots, data.features)
    state.iterate = None if shown is iterate else iterate
    return shown
