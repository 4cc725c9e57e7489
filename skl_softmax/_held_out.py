"""The loss of rows that were held out from a fit, and how rows are dealt into folds.

Folds are a function of the content of the rows: rows of equal content share one whatever their
labels, since a copy with another label would tell the model what it is tested on. Contents are
dealt out in turn, class by class, so that every fold has its share of each.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from skl_softmax._fit import Learner
from skl_softmax._objective import exact_objective
from skl_softmax._parameters import Parameters
from skl_softmax._penalties import Penalty
from skl_softmax._rows import Rows
from skl_softmax._softmax import Codes

_ROUGH = 3e-2  # gap of a fit that tells one alpha from another
_MOST_EPOCHS = 50
_FEW_ENTRIES = 1 << 20  # of X, 8 MB at most, of which a copy is read in order
_RISEN, _RISING = 1.02, 1.002  # times the least held-out loss, and that before: given up
_TELLING = 300  # rows; the loss of fewer goes up and down: 1000 texts got 1e-8 for 1e-10


class Rough(Learner, Protocol):
    """A learner that tells what it has at any time."""

    def now(self) -> Parameters:
        """The parameters of now, for as little time as that takes."""


# What is known of rows whatever the alpha, and then a learner for each.
Prepare = Callable[[Rows], Callable[[float], Rough]]


@dataclass
class Part:
    """Rows to fit, and rows to see how well."""

    fitted: Rows
    held_out: Rows


class HeldOut:
    """Mean loss of held-out rows, of models fitted roughly to the others.

    Alphas are for ``n`` rows: a part of them has one that is stronger by what it has fewer.
    """

    def __init__(self, parts: list[Part], n: float, prepare: Prepare) -> None:
        self._parts, self._learners = parts, [prepare(part.fitted) for part in parts]
        self._weights = [part.held_out.total_weight for part in parts]
        self._scale = [n / part.fitted.effective_count for part in parts]
        self._least = [np.inf] * len(parts)
        self.n = sum(part.held_out.effective_count for part in parts)

    def loss(self, alpha: float) -> tuple[float, bool]:
        """Mean held-out loss, and whether a fit was given up while it rose."""
        losses, given_up = [], False
        for i in range(len(self._parts)):
            loss, up = self._loss_of_part(i, alpha)
            losses.append(loss)
            given_up |= up
        return float(np.average(losses, weights=self._weights)), given_up

    def _loss_of_part(self, i: int, alpha: float) -> tuple[float, bool]:
        part, least = self._parts[i], self._least[i]
        learner = self._learners[i](alpha * self._scale[i])
        may_give_up = part.held_out.effective_count >= _TELLING
        last = np.inf
        for epoch in count(1):
            learner.epoch()
            loss = exact_objective(learner.now(), Penalty(), part.held_out)
            near = learner.gap is not None and learner.gap <= _ROUGH
            if near or epoch == _MOST_EPOCHS:
                break
            if may_give_up and loss > _RISEN * least and loss > _RISING * last:
                return loss, True
            last = loss
        self._least[i] = min(loss, least)
        return loss, False


def folds(
    data: Rows, contents: Codes, usual: NDArray[np.bool_], n_folds: int, n_used: int
) -> list[Part]:
    """Parts of distinct rows whose ``contents`` have a number each; others than the usual go."""
    y, s = data.y[data.rows], data.weight[data.rows]
    order = np.lexsort((y, -s, contents))
    heaviest = y[order[np.flatnonzero(np.diff(contents[order], prepend=-1))]]
    fold = np.empty(len(heaviest), np.intp)
    fold[np.argsort(heaviest, kind="stable")] = np.arange(len(heaviest)) % n_folds
    n_of_class = np.bincount(y)
    parts = []
    for k in range(n_used):
        held = (fold == k)[contents]
        # A class that would have no row left keeps all of its own.
        lost = np.bincount(y[held], minlength=len(n_of_class)) == n_of_class
        held &= ~np.isin(contents, contents[lost[y]])
        tested = held & usual
        if tested.any() and not held.all():
            parts.append(Part(_some(data, ~held), _near(replace(data, rows=data.rows[tested]))))
    return parts


def _some(data: Rows, which: NDArray[np.bool_]) -> Rows:
    """Some of the rows, with weights of mean 1."""
    rows = data.rows[which]
    weight = np.zeros(len(data.weight), data.weight.dtype)
    own = data.weight[rows]
    weight[rows] = own / own.mean(dtype=np.float64)
    return _near(replace(data, rows=rows, weight=weight))


def _near(data: Rows) -> Rows:
    """The same rows, side by side where that takes little memory."""
    return data.copied() if data.X.size <= _FEW_ENTRIES else data
