"""The strength of the penalty: the alpha of the least loss on rows that were held out.

The search begins a decade above what is likely (`_likely`), since strong alphas cost little, and
goes on to weaker ones by tens as long as the loss falls, or else to stronger ones. Where the loss
may have a second minimum it begins again near that, and the better end counts. The answer is the
vertex of the parabola through the last three, in log10 alpha. Of few rows the loss is noisy: what
is likely has a say, by a lognormal distribution.

The search is a function of the rows as a set of weighted ones (`_distinct_rows`), and rows of equal
content are never apart, whatever their labels.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from skl_softmax._distinct_rows import distinct
from skl_softmax._held_out import HeldOut, Part, Prepare, folds
from skl_softmax._leave_one_out import MOST_ROWS, LeaveOneOut, affordable
from skl_softmax._likely import Likely, blocks, lengths_away, likely, usual
from skl_softmax._optimum import RowSpace, much_smaller
from skl_softmax._penalties import Penalty
from skl_softmax._rows import Problem, Rows

DEFAULT = 1e-5  # where nothing is searched
_START = 10.0  # times the likely
_DIGITS = 6  # of weights: the last ones are others in another order of the rows, or unit
_FEWEST = 10  # distinct rows to search with
_WORTH = 1e-3  # of the loss, that a weaker alpha must gain for another one to be tried
_FOLDS, _HELD_OUT = 5, 300  # and rows held out at least, by more folds than one if need be
_SIGMA = 1.0  # decades: so far were the best alphas of 21 sets from the likely
_WEAKER, _STRONGER = 9, 6  # steps at most: the loss of separable rows falls as long as alpha does


@dataclass
class Chosen:
    """An alpha, and those that were tried, from strong to weak, with their held-out losses."""

    alpha: float
    tried: dict[float, float] = field(default_factory=dict)  # losses by alpha; nan: given up


class Criterion(Protocol):
    """What tells the loss of an alpha."""

    @property
    def n(self) -> float:
        """How many rows of equal weight it is the loss of."""

    def loss(self, alpha: float) -> tuple[float, bool]:
        """Mean loss of rows that were held out, and whether it was given up while it rose."""


def search(criterion: Criterion, near: Likely, verbose: bool = False) -> Chosen:
    """The alpha of the least loss near what is likely."""
    losses: dict[int, float] = {}
    tried: dict[float, float] = {}
    strong, weak = np.log10(near.strong), np.log10(near.weak)
    start = strong + np.log10(_START)
    second = min(int(np.ceil(weak - start)), 0)

    def value(step: int) -> float:
        if step not in losses:
            x = start + step
            loss, given_up = criterion.loss(10.0**x)
            tried[10.0**x] = np.nan if given_up else loss
            if verbose:
                how = "given up at" if given_up else "held-out loss"
                print(f"alpha {10.0**x:.3g}: {how} {loss:.6g}")
            unlikely = max(x - strong, weak - x, 0.0) / _SIGMA
            losses[step] = loss + unlikely**2 / (2 * criterion.n)
        return losses[step]

    def downhill(begin: int) -> int:
        step = begin
        while step > second - _WEAKER and value(step - 1) < (1 - _WORTH) * value(step):
            step -= 1
        if step == begin:
            while step < _STRONGER and value(step + 1) < value(step):
                step += 1
        return step

    best = downhill(0)
    if second < min(best, 0) - 1:
        best = min(best, downhill(second), key=value)
    weaker, here, stronger = (value(best + i) for i in (-1, 0, 1))
    bent = weaker - 2 * here + stronger
    vertex = (weaker - stronger) / (2 * bent) if 0 < bent < np.inf else 0.0
    alpha = 10 ** (start + best + min(max(vertex, -1.0), 1.0))
    return Chosen(float(alpha), dict(sorted(tried.items(), reverse=True)))


def choose(
    problem: Problem,
    fit_intercept: bool,
    prepare: Prepare,
    penalty: Callable[[float], Penalty],
    verbose: bool = False,
) -> Chosen:
    """The alpha for the rows of a problem."""
    unit = penalty(1.0)
    if unit == Penalty():
        return Chosen(0.0)
    data, contents = distinct(problem.data, problem.exact_weight, _DIGITS)
    n_classes, n = len(problem.classes), data.effective_count
    away = lengths_away(data, fit_intercept)
    found = likely(data, away, n_classes, fit_intercept, unit)
    if found is None:
        return Chosen(DEFAULT)
    criterion: Criterion
    data, given = _with_values(data, problem.validation, n_classes)
    if given is not None:
        weight = given.weight / given.weight.max()
        given = replace(given, weight=weight.astype(problem.dtype))
        criterion = HeldOut([Part(data, given)], n, prepare)
    elif len(data.rows) < _FEWEST:
        return Chosen(found.strong)
    elif not unit.l1 and affordable(len(data.rows), data.X.shape[1], n_classes):
        criterion = LeaveOneOut(data, contents, usual(away), n_classes, fit_intercept, penalty)
    else:
        if not unit.l1 and much_smaller(len(data.rows), data.X.shape[1], n_classes):
            _, data = RowSpace.of(data, fit_intercept)
        n_used = int(np.clip(np.ceil(_HELD_OUT * _FOLDS / n), 1, _FOLDS))
        criterion = HeldOut(folds(data, contents, usual(away), _FOLDS, n_used), n, prepare)
    return search(criterion, found, verbose) if criterion.n else Chosen(found.strong)


def _with_values(data: Rows, given: Rows | None, n_classes: int) -> tuple[Rows, Rows | None]:
    """The rows, and those held out, without columns that have no value in the former.

    They get no weight, and take most of an epoch of rows that have fewer values than the model
    weights. Of rows that may be left out one by one they always go, so that no container decides.
    """
    d, few = data.X.shape[1], len(data.rows) <= MOST_ROWS
    found, n_values = np.zeros(d, bool), 0
    if data.dense and not few:
        return data, given
    for _, B in blocks(data):
        if data.dense:
            found |= (B != 0).any(axis=0)
        else:
            found[B.indices] = True
            n_values += B.nnz
    some = np.flatnonzero(found)
    if 0 < len(some) < d and (few or n_values < d * n_classes):
        data = data.copied()
        data = replace(data, X=data.X[:, some])
        given = given and replace(given, X=given.X[:, some])
    return data, given
