"""One pass of a textbook method over rows: the schedule's steps, the updates, what it met."""

from dataclasses import dataclass, replace

import numpy as np

from skl_softmax._parameters import OverflowedError
from skl_softmax._penalties import met_in_pass
from skl_softmax._rows import Rows
from skl_softmax._state import State
from skl_softmax._textbook._schedules import SCHEDULES, Steps, needs_smoothness
from skl_softmax._textbook._smoothness import smoothness
from skl_softmax._textbook._solver import Iterate, Memory, Solver, Visits


@dataclass(frozen=True)
class Method:
    """How rows become updates."""

    solver: Solver
    schedule: str
    steps: Steps
    batch_size: int
    shuffle: bool


@dataclass
class Pace:
    """What the steps have been found to need, besides the schedule."""

    smoothness: float = 0.0  # the largest met, so that the automatic step never grows
    slowdown: float = 1.0  # of the "adaptive" schedule

    def learn(self, method: Method, data: Rows) -> None:
        """Let the automatic step know these rows; costs a pass where the schedule needs it."""
        if needs_smoothness(method.schedule, method.steps.alpha):
            solver = method.solver
            found = smoothness(
                data.X,
                data.weight,
                data.rows,
                method.batch_size,
                solver.fit_intercept,
                solver.momentum,
            )
            self.smoothness = max(self.smoothness, float(found) + solver.penalty.l2)


def run_pass(
    iterate: Iterate, memory: Memory, state: State, pace: Pace, method: Method, data: Rows
) -> float:
    """Visit every row once, in place; returns the objective met on the way."""
    solver, size, penalty = method.solver, method.batch_size, method.solver.penalty
    rows = data.visits(state.rng, method.shuffle)
    n_updates = -(-len(rows) // size)
    t = np.arange(state.t + 1, state.t + n_updates + 1, dtype=np.float64)
    eta = SCHEDULES[method.schedule](t, replace(method.steps, smoothness=pace.smoothness))
    eta *= pace.slowdown
    eta[-1] *= (len(rows) - (n_updates - 1) * size) / size  # a short batch steps by its share
    visits = Visits(data.X, data.y, data.weight, rows, data.features, min(size, len(rows)), eta)
    before = penalty.value(*iterate.norms(need_absolute=penalty.l1 > 0))
    with np.errstate(over="ignore", invalid="ignore"):
        loss = solver.run(iterate, memory, visits)
        square, absolute = iterate.norms(need_absolute=penalty.l1 > 0)
    if not (np.isfinite(loss) and np.isfinite(square) and np.isfinite(iterate.intercept).all()):
        raise OverflowedError
    state.t += n_updates
    after = penalty.value(square, absolute)
    return met_in_pass(loss / data.total_weight, before, after, n_updates)
