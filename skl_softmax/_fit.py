"""The loop over epochs: pass, measure, keep the best, stop."""

from dataclasses import dataclass, field

import numpy as np

from skl_softmax._softmax import cross_entropy, scores
from skl_softmax._solvers import Parameters
from skl_softmax._stopping import Patience
from skl_softmax._stream import Method, Rows, State, learn_smoothness, present, run_pass

_SLOWEST = 1e-6  # "adaptive" ends when its step falls below


@dataclass(frozen=True)
class Budget:
    """How long to go on."""

    max_iter: int
    tol: float | None
    n_iter_no_change: int
    stop_on_validation: bool
    verbose: int


@dataclass
class Fitted:
    """Everything a fit found out."""

    params: Parameters
    state: State
    converged: bool = False
    loss_curve: list[float] = field(default_factory=list)
    validation_loss_curve: list[float] = field(default_factory=list)
    best_loss: float = np.inf
    best_iter: int = 0


def fit(
    params: Parameters,
    state: State,
    method: Method,
    data: Rows,
    validation: Rows | None,
    budget: Budget,
) -> Fitted:
    """Passes over ``data`` until `Patience` runs out; owns and changes ``params`` and ``state``.

    With ``budget.stop_on_validation`` the validation loss decides and its best parameters are what
    is returned; otherwise the objective does, and the last parameters are.
    """
    solver = method.solver
    learn_smoothness(state, method, data)
    patience = Patience(budget.tol, budget.n_iter_no_change)
    fitted = Fitted(params, state)
    best: tuple[Parameters, State] | None = None
    for epoch in range(1, budget.max_iter + 1):
        t = state.t
        watched = run_pass(params, state, method, data)
        fitted.loss_curve.append(watched)
        if validation is not None:
            shown = solver.presented(params, state.slots, data.features)
            found = validation_loss(shown, validation)
            fitted.validation_loss_curve.append(found)
            if found < fitted.best_loss:
                fitted.best_loss, fitted.best_iter = found, epoch
                if budget.stop_on_validation:
                    best = params.copy(), state.copy()
            if budget.stop_on_validation:
                watched = found
        if budget.verbose:
            _report(epoch, state, fitted)
        if patience.runs_out(watched, state.t - t) and not _slowed_down(state, method, patience):
            fitted.converged = True
            break
    if best is not None:
        fitted.params, fitted.state = best
    fitted.params = present(fitted.params, fitted.state, solver, data)
    return fitted


def validation_loss(params: Parameters, validation: Rows) -> float:
    """Weighted mean cross-entropy of settled parameters, without the penalty."""
    found = cross_entropy(scores(validation.X, params.coef, params.intercept), validation.y)
    return float(np.average(found, weights=validation.weight.astype(np.float64)))


def _slowed_down(state: State, method: Method, patience: Patience) -> bool:
    """Whether "adaptive" goes on: divide the step by 5, unless it is too short already."""
    if method.schedule != "adaptive" or method.steps.eta0 * state.slowdown <= _SLOWEST:
        return False
    state.slowdown /= 5
    patience.renew()
    return True


def _report(epoch: int, state: State, fitted: Fitted) -> None:
    line = f"Epoch {epoch}: {state.t} updates, objective {fitted.loss_curve[-1]:.6g}"
    if fitted.validation_loss_curve:
        line += f", validation loss {fitted.validation_loss_curve[-1]:.6g}"
    print(line)
