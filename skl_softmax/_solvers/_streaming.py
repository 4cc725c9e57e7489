"""One pass over a stream: Adagrad in coordinates that are standardised as the rows arrive.

    W_j <- prox[ W_j - h_j G_j ],   h_j = 1 / (rho / 13 + sqrt(s_j + g_0) rms / 2),
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
- Rows longer than twice the root mean square length ``rms`` are weighted down to it.

A block is learnt in batches of 32 rows, whose gradient is G = (1/32) X^T s (S - y), also where they
are fewer. Adagrad's sum s_j (Duchi, Hazan & Singer, JMLR 12, 2011) is one for all classes.
``rho = ||XX^T||_F^2 / (n tr XX^T)``, of the first batch of a block and averaged over blocks, is an
estimate of the largest eigenvalue of the rows' second moment, without which correlated columns
would overshoot. ``g_0 = 2 (K - 1) / (32 K)^2``, times the mean square of a non-zero, is about what
a row adds to s_j; it bounds the first step. The intercept is one more column, of ones.

A is the polynomial average of the iterates (Shamir & Zhang, ICML 2013, arXiv:1212.1824). The user
gets ``a W + b (A - W)``: the two factors learn from every row before W does, by Newton steps on the
loss with derivatives that are discounted over a quarter of the rows seen, at most 20000. So the
scores are as large as they should be, and a stream that drifts is shown by its last iterate.

The penalty is that on the scaled coordinates, ``l2/2 ||W||_2^2 + l1 ||W||_1``: a unit in which a
feature is measured has no effect on it, and rare features keep what they have learnt (in the
coordinates of tf-idf rows, alpha = 1e-5 would take the most of it, 20newsgroups .42 -> .50). The
proxes that a rare column misses are made at its next visit, as one of their total length. With l1
the user gets an exact zero where W has one.

Parameters that are not zero when the stream begins, those of a fit, are a ``base``: the stream
learns what to add to them, and a and b begin at 0: nothing is added before it pays.

State, whatever the number of rows: ``(2 K itemsize + 64)`` bytes a feature, and K itemsize for a
base. A block takes its size again as room, CSR or dense; a pass changes the state in place and
holds what the features that it meets had before, to put it back should it fail.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skl_softmax import _stream_kernels as _kernels
from skl_softmax._softmax import Codes, Floats, scores
from skl_softmax._solvers._solver import Parameters, Pass, Slots, Solver

_BLOCK = 256  # rows whose moments are learnt together
_HEAVY = 1e15  # mass of the average from which it is counted anew, before float32 overflows
_MANY = 0.25  # non-zeros a feature in a pass, from which to copy all features costs less than some
_FIRST_BLEND = 1.0, 0.5  # midway between the iterates; a base alone begins as it is


@dataclass
class StreamSlots(Slots):
    """The state, which a pass changes in place: copying it would cost more than many passes."""

    def copy(self) -> Slots:
        """Not a copy of the arrays: a pass that fails puts back what it has changed."""
        return replace(self)


@dataclass(frozen=True)
class Streaming(Solver):
    """The stream. Its state is more than slots like the parameters, so `start` is its own."""

    @property
    def memory(self) -> dict[str, type | None]:
        return {}

    def start(self, params: Parameters) -> Slots:
        """Nothing seen yet."""
        (d, K), dtype = params.coef.shape, params.coef.dtype
        totals = np.zeros(_kernels.STREAM_TOTALS)
        arrays: dict[str, Floats] = {
            # W and (W - A) mass: side by side, since they are visited together
            "weights": np.zeros((d, 2, K), dtype),
            "weights_intercept": np.zeros((2, K), dtype),
            "facts": np.zeros((d, _kernels.STREAM_FACTS)),
            "totals": totals,
        }
        if params.coef.any() or params.intercept.any():
            arrays["base"] = params.coef * dtype.type(params.scale)
            arrays["base_intercept"] = params.intercept.copy()
        else:
            totals[[_kernels.STREAM_LAST, _kernels.STREAM_AVERAGE]] = _FIRST_BLEND
        return StreamSlots(arrays)

    def remembers(self, slots: Slots) -> bool:
        return "facts" in slots.arrays

    def step(self, params: Parameters, slots: Slots, G: Floats, g: Floats, eta: float) -> None:
        raise NotImplementedError  # the moments need rows, not their gradient

    def run(self, params: Parameters, slots: Slots, rows: Pass) -> float:
        n, size, loss = len(rows.rows), rows.batch_size, 0.0
        learner = _Learner(self, slots, rows)
        try:
            for batch in range(0, n, size):
                stop = min(batch + size, n)
                for start in range(batch, stop, _BLOCK):
                    loss += learner.learn(rows.rows[start : min(start + _BLOCK, stop)])
        except BaseException:
            learner.put_back()
            raise
        totals = slots.arrays["totals"]
        if totals[_kernels.STREAM_MASS] > _HEAVY:
            unit = 2.0 ** np.floor(np.log2(totals[_kernels.STREAM_MASS]))  # exact at any time
            slots.arrays["weights"][:, 1] /= unit
            slots.arrays["weights_intercept"][1] /= unit
            totals[_kernels.STREAM_MASS] /= unit
        slots.t = int(slots.arrays["totals"][_kernels.STREAM_UPDATES])
        self._show(params, slots.arrays)
        return loss

    def with_class(
        self, params: Parameters, slots: Slots, position: int
    ) -> tuple[Parameters, Slots]:
        """The same stream with one more class at ``position``, which it has not met.

        Its scores are log(K / (n + 1)) after n rows, and the other classes' sum to zero: so no row
        gives it more than a share of 1 / (n + 1), and that is all that other probabilities lose.
        """
        dtype, K = params.coef.dtype, len(params.intercept)
        arrays = {name: array.copy() for name, array in slots.arrays.items()}
        totals = arrays["totals"]
        for name in arrays.keys() - {"facts", "totals"}:
            centred = arrays[name] - arrays[name].mean(axis=-1, keepdims=True)
            arrays[name] = np.insert(centred, position, 0, axis=-1)
        if self.fit_intercept:
            start = np.log(K / (totals[_kernels.STREAM_ROWS] + 1))
            if "base" in arrays:
                arrays["base_intercept"][position] = start
            else:
                arrays["weights_intercept"][0, position] = start / totals[_kernels.STREAM_LAST]
        slots = replace(slots, arrays=arrays)
        d = len(params.coef)
        params = Parameters(np.empty((d, K + 1), dtype), np.empty(K + 1, dtype))
        self._show(params, arrays)
        return params, slots

    def _show(self, params: Parameters, arrays: dict[str, Floats]) -> None:
        """Write what the user gets into ``params``: the blend, in the coordinates of X."""
        base = arrays.get("base", np.empty((0, 0), params.coef.dtype))
        intercept = np.zeros(len(params.intercept)) + arrays.get("base_intercept", 0)
        _kernels.stream_coef(
            arrays["weights"], arrays["weights_intercept"], arrays["facts"], arrays["totals"],
            self.penalty.l2, self.penalty.l1, base, params.coef, intercept,
        )  # fmt: skip
        params.intercept[...] = intercept if self.fit_intercept else 0
        params.scale = 1.0
        params.moved()


class _Learner:
    """Learns blocks of rows of one pass, in place; holds the room that this takes."""

    def __init__(self, solver: Streaming, slots: Slots, rows: Pass) -> None:
        self._solver, self._rows, self._arrays = solver, rows, slots.arrays
        facts, totals = self._arrays["facts"], self._arrays["totals"]
        self._d, _, K = self._arrays["weights"].shape
        self._dtype = self._arrays["weights"].dtype
        share = _kernels.STREAM_PACKED * totals[_kernels.STREAM_WEIGHT]
        self._packed = np.flatnonzero(facts[:, _kernels.STREAM_COUNT] > share)
        self._place = np.zeros(self._d, np.int32)
        batch = _kernels.STREAM_BATCH
        self._batch = (
            np.empty((batch, 2 * K), self._dtype),
            np.empty((batch, K), self._dtype),
            np.empty(K, self._dtype),
        )
        self._block = np.empty(_BLOCK), np.empty((batch, batch))
        self._starts, self._in_order = np.zeros(_BLOCK + 1, np.intp), np.arange(batch)
        self._small = {name: self._arrays[name].copy() for name in ("totals", "weights_intercept")}
        self._changed = np.zeros(self._d, bool)
        self._before: list[tuple[Codes, Floats, Floats]] = []  # features, and what they had
        if rows.dense or rows.X.nnz > _MANY * self._d:
            self._keep(np.arange(self._d))
        self._make_room(0, 0)

    def put_back(self) -> None:
        """Undo everything."""
        for features, weights, facts in self._before:
            self._arrays["weights"][features] = weights
            self._arrays["facts"][features] = facts
        for name, array in self._small.items():
            self._arrays[name][...] = array

    def _keep(self, columns: Codes) -> None:
        """Note what features have that this pass has not changed yet."""
        new = columns[~self._changed[columns]]
        if len(new) == self._d:
            self._before.append((new, self._arrays["weights"].copy(), self._arrays["facts"].copy()))
        elif len(new):
            self._before.append((new, self._arrays["weights"][new], self._arrays["facts"][new]))
        self._changed[new] = True

    def _make_room(self, n_columns: int, n_values: int) -> None:
        self._met, self._scale = np.empty((n_columns, 3)), np.empty((2, n_columns))
        self._columns, self._order = np.empty((2, n_columns), np.intp)
        self._lists = np.full((2, n_columns), -1, np.int32)
        self._values = np.empty(n_values, self._dtype)
        self._at, self._links = np.empty(n_values, np.int32), np.empty((2, n_values), np.int32)

    def learn(self, block: Codes) -> float:
        """Learn rows ``block`` of X; returns the sum of ``s CE`` that the blend had before."""
        arrays, solver = self._arrays, self._solver
        X, y, weight = self._rows.X, self._rows.y, self._rows.weight
        weights, intercept = arrays["weights"], arrays["weights_intercept"]
        facts, totals, penalty = arrays["facts"], arrays["totals"], solver.penalty
        order, packed = self._scaled(X, weight, block)
        if "base" in arrays:
            offset = scores(X[block], arrays["base"], arrays["base_intercept"])
        else:
            offset = np.empty((0, 0), self._dtype)
        return _kernels.stream_learn(
            packed, self._values, self._at, self._starts, order, y, weight, block, offset,
            penalty.l2, penalty.l1, solver.fit_intercept, facts, totals, weights, intercept,
            *self._block, np.empty((3 * weights.shape[2] + 1, packed.shape[1]), self._dtype),
            *self._batch, self._lists, self._links, self._in_order,
        )  # fmt: skip

    def _scaled(self, X: Any, weight: Floats, block: Codes) -> tuple[Codes, Floats]:
        """Learn the moments of rows, then scale them.

        Returns the columns that they meet, and the part of the rows in the first, frequent ones of
        them as a dense array; the other values are in the room for them.
        """
        arrays = self._arrays
        facts, totals = arrays["facts"], arrays["totals"]
        dense = isinstance(X, np.ndarray)
        if dense:
            n_values, n_columns = len(block) * self._d, self._d
        else:
            n_values = int((X.indptr[block + 1] - X.indptr[block]).sum())
            n_columns = min(self._d, n_values + len(self._packed))
        if n_columns > len(self._columns) or n_values > len(self._values):
            self._make_room(n_columns, n_values)
        if dense:
            _kernels.stream_moments_dense(X, weight, block, facts, self._met, self._columns)
        else:
            self._columns[: len(self._packed)] = self._packed
            n_columns = _kernels.stream_moments_csr(
                X.data, X.indices, X.indptr, weight, block, facts, self._met, self._columns,
                len(self._packed), self._place,
            )  # fmt: skip
        self._keep(self._columns[:n_columns])
        order = self._order[:n_columns]
        n_packed = _kernels.stream_scales(
            self._columns[:n_columns], self._met, float(weight[block].sum(dtype=np.float64)),
            len(block), self._solver.fit_intercept, facts, totals, arrays["weights"],
            arrays["weights_intercept"], order, self._place,
        )  # fmt: skip
        self._packed = np.sort(order[:n_packed])  # as the next pass would find them
        packed = np.empty((len(block), n_packed), self._dtype)
        if dense:
            _kernels.stream_rows_dense(
                X, block, order, facts, self._scale,
                packed, self._values, self._at, self._starts,
            )  # fmt: skip
        else:
            _kernels.stream_rows_csr(
                X.data, X.indices, X.indptr, block, order, self._place, facts,
                packed, self._values, self._at, self._starts,
            )  # fmt: skip
        return order, packed
