"""The loop over epochs: learn, measure, keep the best, stop."""

from dataclasses import dataclass, field

import numpy as np

from skl_softmax._engines import Engine
from skl_softmax._softmax import cross_entropy, scores
from skl_softmax._solvers import Parameters
from skl_softmax._stopping import Patience
from skl_softmax._stream import Rows, State


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

    params: Parameters = field(init=False)
    state: State = field(init=False)
    converged: bool = False
    gap: float | None = None  # as in `Engine`; an earlier epoch has none
    loss_curve: list[float] = field(default_factory=list)
    validation_loss_curve: list[float] = field(default_factory=list)
    best_loss: float = np.inf
    best_iter: int = 0


def fit(engine: Engine, validation: Rows | None, budget: Budget) -> Fitted:
    """Epochs of ``engine`` until it is near the optimum, `Patience` runs out or the budget ends.

    With ``budget.stop_on_validation`` the validation loss has its say too, and its best parameters
    are what is returned; otherwise the last are.
    """
    patience = Patience(budget.tol, budget.n_iter_no_change)
    fitted = Fitted()
    best: tuple[Parameters, State] | None = None
    for epoch in range(1, budget.max_iter + 1):
        t = engine.t
        engine.epoch()
        watched = engine.objective
        fitted.loss_curve.append(watched)
        if validation is not None:
            found = validation_loss(engine.parameters(), validation)
            fitted.validation_loss_curve.append(found)
            if found < fitted.best_loss:
                fitted.best_loss, fitted.best_iter = found, epoch
                if budget.stop_on_validation:
                    best = engine.kept()
            if budget.stop_on_validation:
                watched = found
        if budget.verbose:
            _report(epoch, engine, fitted)
        if _ends(engine, patience, budget, watched, engine.t - t):
            fitted.converged = True
            break
    fitted.params, fitted.state = best or engine.kept()
    if best is None:
        fitted.gap = engine.gap
    return fitted


def _ends(
    engine: Engine, patience: Patience, budget: Budget, watched: float, n_updates: int
) -> bool:
    """Whether the epoch that brought the ``watched`` value was the last one needed."""
    if budget.tol is None:
        return False
    if engine.near_optimum(budget.tol):
        return True
    if engine.gap is not None and not budget.stop_on_validation:
        return False
    if not patience.runs_out(watched, n_updates):
        return False
    patience.renew()
    return not engine.slow_down()


def validation_loss(params: Parameters, validation: Rows) -> float:
    """Weighted mean cross-entropy of settled parameters, without the penalty."""
    found = cross_entropy(scores(validation.X, params.coef, params.intercept), validation.y)
    return float(np.average(found, weights=validation.weight.astype(np.float64)))


def _report(epoch: int, engine: Engine, fitted: Fitted) -> None:
    line = f"Epoch {epoch}: {engine.t} updates, objective {fitted.loss_curve[-1]:.6g}"
    if engine.gap is not None:
        line += f", gap {engine.gap:.2g}"
    if fitted.validation_loss_curve:
        line += f", validation loss {fitted.validation_loss_curve[-1]:.6g}"
    print(line)
