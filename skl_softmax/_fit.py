"""The loop over epochs: learn, measure, keep the best, stop."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from skl_softmax._parameters import Parameters
from skl_softmax._rows import Rows
from skl_softmax._softmax import cross_entropy, scores
from skl_softmax._state import State
from skl_softmax._stopping import Patience


class Learner(Protocol):
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

    def finished(self) -> tuple[Parameters, State]:
        """The same at the end of a fit, after what is worth doing once."""

    def check(self, params: Parameters) -> None:
        """Raise an error if a fit that ends with these has failed."""


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
    gap: float | None = None  # as in `Learner`; an earlier epoch has none
    loss_curve: list[float] = field(default_factory=list)
    validation_loss_curve: list[float] = field(default_factory=list)
    best_loss: float = np.inf
    best_iter: int = 0


def fit(learner: Learner, validation: Rows | None, budget: Budget) -> Fitted:
    """Epochs of ``learner`` until it is near the optimum, `Patience` runs out or the budget ends.

    With ``budget.stop_on_validation`` the validation loss has its say too, and its best parameters
    are what is returned; otherwise the last are.
    """
    patience = Patience(budget.tol, budget.n_iter_no_change)
    fitted = Fitted()
    best: tuple[Parameters, State] | None = None
    for epoch in range(1, budget.max_iter + 1):
        t = learner.t
        learner.epoch()
        watched = learner.objective
        fitted.loss_curve.append(watched)
        if validation is not None:
            found = validation_loss(learner.parameters(), validation)
            fitted.validation_loss_curve.append(found)
            if found < fitted.best_loss:
                fitted.best_loss, fitted.best_iter = found, epoch
                if budget.stop_on_validation:
                    best = learner.kept()
            if budget.stop_on_validation:
                watched = found
        if budget.verbose:
            _report(epoch, learner, fitted)
        if _ends(learner, patience, budget, watched, learner.t - t):
            fitted.converged = True
            break
    fitted.params, fitted.state = best or learner.finished()
    learner.check(fitted.params)
    if best is None:
        fitted.gap = learner.gap
    return fitted


def _ends(
    learner: Learner, patience: Patience, budget: Budget, watched: float, n_updates: int
) -> bool:
    """Whether the epoch that brought the ``watched`` value was the last one needed."""
    if budget.tol is None:
        return False
    if learner.near_optimum(budget.tol):
        return True
    if learner.gap is not None and not budget.stop_on_validation:
        return False
    if not patience.runs_out(watched, n_updates):
        return False
    patience.renew()
    return not learner.slow_down()


def validation_loss(params: Parameters, validation: Rows) -> float:
    """Weighted mean cross-entropy of settled parameters, without the penalty."""
    found = cross_entropy(scores(validation.X, params.coef, params.intercept), validation.y)
    return float(np.average(found, weights=validation.weight.astype(np.float64)))


def _report(epoch: int, learner: Learner, fitted: Fitted) -> None:
    line = f"Epoch {epoch}: {learner.t} updates, objective {fitted.loss_curve[-1]:.6g}"
    if learner.gap is not None:
        line += f", gap {learner.gap:.2g}"
    if fitted.validation_loss_curve:
        line += f", validation loss {fitted.validation_loss_curve[-1]:.6g}"
    print(line)
