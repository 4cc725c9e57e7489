"""One pass over a stream: Adagrad in coordinates that are standardised as the rows arrive.

    W_j <- W_j - h_j G_j,   h_j = 1 / (r^2 / 200 + sqrt(s_j + g_0) r / 2),
                            s_j <- s_j + mean_k G_jk^2
    A <- A + 4 / (t + 3) (W - A)

The rows come in blocks of at most 256. Before a block is learnt, the moments of its features are:
count, mean and spread of their non-zeros, merged with those so far (Chan, Golub & LeVeque, The
American Statistician 37, 1983). They say how a column x_j of X becomes one of the scaled rows:

- A column with non-zeros in over half of the rows is centred and divided by its standard deviation.
- Any other is not centred, and its root mean square (over the non-zeros) moves to the geometric
  mean of that of all such columns, by a factor of at most 4: enough for units, too little to undo
  tf-idf. As many of the non-zeros as are in such columns, so far are the first ones drawn to it.
- W, A stay where they are when a scale moves, so an outlier shrinks its column and nothing else;
  when a centre moves, the intercept takes it up.
- Rows with over 4 times the mean squared norm are weighted down to it.

A block is learnt in batches of 32 rows, whose gradient is G = (1/32) X^T s (S - y), also where they
are fewer. The intercept is one more column, of ones, and r^2 the mean squared norm of the rows with
it: a bound on the curvature, of which some part has to slow every step, or correlated columns would
overshoot (without it clinc150 .43 -> .56; 1/100 and 1/400 are worse on most streams). Adagrad's sum
s_j (Duchi, Hazan & Singer, JMLR 12, 2011) is one for all classes; ``g_0 = 2 (K - 1) / (32 K)^2``,
times the mean square of a non-zero, is about what a row adds to it, and bounds the first step.

A is the polynomial average of the iterates (Shamir & Zhang, ICML 2013, arXiv:1212.1824). The user
gets ``a W + b (A - W)``: the two factors learn from every row before W does, by Newton steps on the
loss with derivatives that are discounted over a quarter of the rows seen, at most 20000. So the
scores are as large as they should be, and a stream that drifts is shown by its last iterate.

With a half-life all sums, over rows and over updates, and r, grow by a factor of 2 each time that
it has passed: new rows count so much more. Only their ratios matter.

The penalty is that on the scaled coordinates, ``l2/2 ||W||_2^2 + l1 ||W||_1``: a unit in which a
feature is measured has no effect on it, and rare features keep what they have learnt (in the
coordinates of tf-idf rows, alpha = 1e-5 would take the most of it, 20newsgroups .42 -> .50). The
proxes of all updates since a column was last met are made when a block meets it again, as one of
their total length. With l1 the user gets an exact zero where W has one.

Parameters that are not zero when the stream begins, those of a fit, are a ``base``: the stream
learns what to add to them, and a and b begin at 0: nothing is added before it pays.

State, whatever the number of rows: ``(2 K itemsize + 64)`` bytes a feature, and K itemsize for a
base. A pass changes it in place, since a copy would cost more than many passes.
"""

from dataclasses import dataclass, replace
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from skl_softmax._online import _kernels
from skl_softmax._online._pass import AT, Pass
from skl_softmax._parameters import OverflowedError, Parameters, lift, with_mean
from skl_softmax._penalties import Penalty, met_in_pass
from skl_softmax._rows import Rows
from skl_softmax._softmax import Codes
from skl_softmax._state import Learnt, State

_WITHOUT_CLASSES = {"columns", "totals"}  # the arrays that know nothing of classes
# Of W in what the user sees, by which a new class divides where it is nearly 0: any small one.
_LEAST_FACTOR = 0.1
_FIRST_BLEND = 1.0, 0.5  # midway between the iterates; a base alone begins as it is

Arrays = dict[str, NDArray[np.floating]]


@dataclass(frozen=True)
class OnlineStream:
    """Learns the chunks of a stream; ``batch_size`` rows at most are standardised together."""

    penalty: Penalty
    fit_intercept: bool
    half_life: float | None
    batch_size: int
    shuffle: bool

    def learn(self, params: Parameters, state: State, data: Rows) -> Learnt:
        """One pass over a chunk; an interrupt ends it after a block, and what was learnt counts."""
        arrays = _taken_up(params, state)
        before = self.penalty.of(params.coef)
        visits = data.visits(state.rng, self.shuffle)
        chunk = Pass(arrays, data, self.penalty, self.fit_intercept, self.half_life)
        try:
            if not self.fit_intercept:
                _forget_intercept(arrays)
            with np.errstate(over="ignore", invalid="ignore"):
                interrupt = chunk.learn(visits, self.batch_size)
                finite = self._show(params, arrays)
                after = self.penalty.of(params.coef)
            if not (finite and isfinite(chunk.mean_loss) and isfinite(after)):
                raise OverflowedError
        except BaseException:
            chunk.put_back()
            raise
        state = replace(state, t=state.t + chunk.n_updates, arrays=arrays)
        n_batches = -(-len(visits) // self.batch_size)
        objective = met_in_pass(chunk.mean_loss, before, after, n_batches)
        return Learnt(params, state, objective, interrupt)

    def with_classes(
        self, params: Parameters, state: State, position: Codes
    ) -> tuple[Parameters, State]:
        """New classes begin as the mean of the others; what columns know has no class."""
        lower = lift(len(params.intercept), state.n_rows, self.fit_intercept)
        arrays = {
            name: array.copy() if name in _WITHOUT_CLASSES else with_mean(array, position)
            for name, array in _taken_up(params, state).items()
        }
        if "base" in arrays:
            arrays["base_intercept"][position] += lower
        else:
            factor = max(arrays["totals"][AT["last"]], _LEAST_FACTOR)
            arrays["weights_intercept"][0, position] += lower / factor
        return params.with_classes(position, lower), replace(state, arrays=arrays)

    def _show(self, params: Parameters, arrays: Arrays) -> bool:
        """Write what the user gets into ``params``: base and blend, in the coordinates of X.

        Returns whether the intercept, and what the next rows will be learnt with, is finite.
        """
        base = arrays.get("base", np.empty((0, 0), params.coef.dtype))
        intercept = np.zeros(len(params.intercept)) + arrays.get("base_intercept", 0)
        curvatures = _kernels.export(
            arrays["weights"], arrays["weights_intercept"], arrays["columns"], arrays["totals"],
            self.penalty.l2, self.penalty.l1, base, params.coef, intercept,
        )  # fmt: skip
        params.intercept[...] = intercept if self.fit_intercept else 0
        found = params.intercept, arrays["totals"]
        return isfinite(curvatures) and all(np.isfinite(array).all() for array in found)


def _taken_up(params: Parameters, state: State) -> Arrays:
    """What a state holds; nothing seen yet if that is of another solver."""
    return state.arrays if "columns" in state.arrays else _start(params)


def _start(params: Parameters) -> Arrays:
    (d, K), dtype = params.coef.shape, params.coef.dtype
    totals = np.zeros(len(AT))
    totals[AT["growth"]] = 1
    arrays: Arrays = {
        # W and (W - A) mass: side by side, since they are visited together
        "weights": np.zeros((d, 2, K), dtype),
        "weights_intercept": np.zeros((2, K), dtype),
        "columns": np.zeros((d, len(_kernels.COLUMN))),
        "totals": totals,
    }
    if params.coef.any() or params.intercept.any():
        arrays["base"] = params.coef.copy()
        arrays["base_intercept"] = params.intercept.copy()
    else:
        totals[[AT["last"], AT["average"]]] = _FIRST_BLEND
    return arrays


def _forget_intercept(arrays: Arrays) -> None:
    """The user may have turned the intercept off in mid-stream."""
    for name in ("weights_intercept", "base_intercept"):
        if name in arrays:
            arrays[name][...] = 0
