"""The strength of the penalty: the alpha of the least loss on rows that were held out.

    alpha  ~  0.3 s0 / n,      s0 = tr(Cov X) / K

is the best one within a decade or so, for any number of rows and in any unit (without an intercept,
of second moments); with l1 a share of the alpha that empties the model. The search begins a decade
above, since strong alphas cost little, and goes on to weaker ones by tens as long as the loss
falls, or else to stronger ones. The answer is the vertex of the parabola through the last three, in
log10 alpha. Of few rows the loss is noisy: what is likely has a say, by a lognormal distribution.

Where columns have unlike units the loss has several minima: at one alpha only those of the largest
unit have weights, at a far weaker one the others too. There the search has a second start, from
what is likely for columns of the smallest unit, and the better of its two ends is the answer.

The search is a function of the rows as a set of weighted ones (`_distinct_rows`), and rows of equal
content are never apart, whatever their labels. A count n of rows is ``(sum s)^2 / sum s^2``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skl_softmax._distinct_rows import distinct
from skl_softmax._held_out import HeldOut, Part, Prepare, folds
from skl_softmax._leave_one_out import LeaveOneOut, affordable
from skl_softmax._optimum import RowSpace, much_smaller
from skl_softmax._penalties import Penalty
from skl_softmax._rows import Problem, Rows
from skl_softmax._softmax import Floats

DEFAULT = 1e-5  # where nothing is searched
# Times s0 / n; decades: so were the best alphas of 21 sets, 100 to 32000 rows, 2 to 205 classes.
_LIKELY, _SIGMA = 0.3, 1.0
_ALIKE = 0.1  # squares of units that are alike, times those of the columns that vary most
_LIKELY_SPARSE = 0.01  # times what empties the model: .003 to .05 were best on seven sets
_START = 10.0  # times the likely
_FEWEST = 10  # distinct rows to search with
_WORTH = 1e-3  # of the loss, that a weaker alpha must gain for another one to be tried
_FOLDS, _HELD_OUT = 5, 300  # and rows held out at least, by more folds than one if need be
# Medians of squared lengths: rows that say nothing of the others' variance, and errors, which are
# fitted as all are, but are no test.
_LONG, _OUTLYING = 10.0, 1e4
_ROUNDING = 1e-13  # of a mean square: a variance that is none
_BLOCK_ENTRIES, _BLOCK_ROWS = 1 << 17, 1 << 12  # of dense and sparse rows, in float64 at a time
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


@dataclass(frozen=True)
class Likely:
    """Where the best alpha is likely: at one strength, or in units so unlike that there are two."""

    strong: float  # for all columns together
    weak: float  # for those of the smallest unit, a decade above what is likely for them alone


def search(criterion: Criterion, likely: Likely, verbose: bool = False) -> Chosen:
    """The alpha of the least loss near what is likely."""
    losses: dict[int, float] = {}
    tried: dict[float, float] = {}
    strong, weak = np.log10(likely.strong), np.log10(likely.weak)
    start = strong + np.log10(_START)
    second = min(int(np.ceil(weak - start)), 0)

    def value(step: int) -> float:
        if step not in losses:
            x = start + step
            loss, given_up = criterion.loss(10.0**x)
            tried[10.0**x] = np.nan if given_up else loss
            if verbose:
                found = "given up at" if given_up else "held-out loss"
                print(f"alpha {10.0**x:.3g}: {found} {loss:.6g}")
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
    if second < best - 1:
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
    data, contents = distinct(problem.data, problem.exact_weight)
    n_classes, n = len(problem.classes), data.effective_count
    away = _away(data, fit_intercept)
    likely = _likely(_those(data, away <= _LONG), n, n_classes, fit_intercept, unit)
    if likely is None:
        return Chosen(DEFAULT)
    usual = away <= _OUTLYING
    criterion: Criterion
    data, given = _with_values(data, problem.validation, n_classes)
    if given is not None:
        given = replace(given, weight=given.weight.astype(problem.dtype))
        criterion = HeldOut([Part(data, given)], n, prepare)
    elif len(data.rows) < _FEWEST:
        return Chosen(likely.strong)
    elif not unit.l1 and affordable(len(data.rows), data.X.shape[1], n_classes):
        criterion = LeaveOneOut(data, contents, usual, n_classes, fit_intercept, penalty)
    else:
        if not unit.l1 and much_smaller(len(data.rows), data.X.shape[1], n_classes):
            _, data = RowSpace.of(data, fit_intercept)
        n_used = int(np.clip(np.ceil(_HELD_OUT * _FOLDS / n), 1, _FOLDS))
        criterion = HeldOut(folds(data, contents, usual, _FOLDS, n_used), n, prepare)
    return search(criterion, likely, verbose) if criterion.n else Chosen(likely.strong)


def _likely(
    data: Rows, n: float, n_classes: int, fit_intercept: bool, unit: Penalty
) -> Likely | None:
    """The alphas that are likely, by the penalty of alpha 1; none where no column varies."""
    variances, shares = _variances(data, fit_intercept)
    vary = variances > 0
    if not vary.any():
        return None
    small = min(_least_unit(variances[vary], shares[vary]) / _ALIKE, 1.0)
    found = np.inf
    if unit.l2:
        ridge = unit.l2 / (2 if n_classes == 2 else 1)
        found = _LIKELY * float(variances.sum()) / (n_classes * n * ridge)
    if unit.l1:
        found = min(found, _LIKELY_SPARSE * _emptying(data, n_classes, fit_intercept) / unit.l1)
        small = np.sqrt(small)  # a weight has the inverse unit, and l2 its square
    return Likely(found, found * small) if 0 < found * small < np.inf else None


def _least_unit(variances: Floats, shares: Floats) -> float:
    """The square of the smallest unit of a column, in that of those that vary most.

    A column may vary little since it is rare, which is no matter of units: in its own the variance
    of the rows that differ in it counts. One that varies as much as most has no small one.
    """
    squares = variances / shares
    of_most = float(variances @ squares) / variances.sum()
    return float(np.maximum(variances / variances.mean(), squares / of_most).min())


def _those(data: Rows, which: NDArray[np.bool_]) -> Rows:
    return replace(data, rows=data.rows[which])


def _with_values(data: Rows, given: Rows | None, n_classes: int) -> tuple[Rows, Rows | None]:
    """The rows, and those held out, without columns that have no value in the former.

    They get no weight, and take most of an epoch of rows that have fewer values than the model
    weights.
    """
    d = data.X.shape[1]
    if not data.dense and data.X.nnz < d * n_classes:
        some = np.flatnonzero(np.bincount(data.X.indices, minlength=d))
        if 0 < len(some) < d:
            data = replace(data, X=data.X[:, some])
            given = given and replace(given, X=given.X[:, some])
    return data, given


def _blocks(data: Rows, more: int = 0) -> Iterator[tuple[slice, Any]]:
    """Some of the rows at a time, in float64, and where they are among those that count."""
    size = max(2, _BLOCK_ENTRIES // data.X.shape[1]) if data.dense else _BLOCK_ROWS
    for start in range(0, max(len(data.rows) - more, 1), size):
        block = slice(start, start + size + more)
        yield block, data.X[data.rows[block]].astype(np.float64)


def _away(data: Rows, fit_intercept: bool) -> Floats:
    """How long rows are, in medians of all, squared; with an intercept from one to the next.

    That says little of a row whose neighbour is long, so the nearer of two counts. The order is
    that of their hashes, and so of no meaning.
    """
    found = []
    for _, B in _blocks(data, int(fit_intercept)):
        C = B[1:] - B[:-1] if fit_intercept else B
        found.append(np.einsum("ij,ij->i", C, C) if data.dense else (C * C).sum(axis=1))
    squares: Floats = np.concatenate(found)
    if fit_intercept:
        squares = np.minimum(np.append(squares, np.inf), np.insert(squares, 0, np.inf))
    median = float(np.median(squares))
    return squares / median if median else np.zeros(len(squares))


def _variances(data: Rows, fit_intercept: bool) -> tuple[Floats, Floats]:
    """Of the columns, mean squares without an intercept; shares of rows that differ in each.

    From the next, in the order of their hashes, or from 0 in sparse ones.
    """
    s = data.weight[data.rows].astype(np.float64)
    s /= s.sum()
    d = data.X.shape[1]
    first = np.zeros(d)
    if fit_intercept and data.dense:
        first = data.X[data.rows[0]].astype(np.float64)
    mean, square = np.zeros((2, d))
    differ = np.ones(d)  # of a column that varies one row does at least
    for block, B in _blocks(data):
        if data.dense:
            differ += np.count_nonzero(B[1:] != B[:-1], axis=0)
            B -= first
        else:
            differ += np.bincount(B.indices, minlength=d)
        mean += s[block] @ B
        square += s[block] @ (B * B)
    variances: Floats = square - mean * mean * fit_intercept
    shares = np.minimum(differ / len(s), 1)
    return np.where(variances > _ROUNDING * square, variances, 0), shares


def _emptying(data: Rows, n_classes: int, fit_intercept: bool) -> float:
    """The strength of l1 from which on all weights are 0."""
    s, y = data.weight[data.rows].astype(np.float64), data.y[data.rows]
    share: Floats = np.full(n_classes, 1 / n_classes)
    if fit_intercept:
        share = np.bincount(y, s, n_classes) / s.sum()
    R = -share * s[:, None]
    R[np.arange(len(s)), y] += s
    G: Floats = np.zeros((data.X.shape[1], n_classes))
    for block, B in _blocks(data):
        G += B.T @ R[block]
    return float(np.abs(G).max() / s.sum())
