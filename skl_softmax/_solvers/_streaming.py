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
base. A pass changes it in place and holds what the features that it meets had before, to put it
back should the pass fail; an interrupt keeps the blocks that are complete.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skl_softmax import _stream_kernels
from skl_softmax._softmax import Codes, Floats, scores
from skl_softmax._solvers._solver import Parameters, Pass, Slots, Solver

_AT = {name: place for place, name in enumerate(_stream_kernels.TOTALS)}  # in the array `totals`
_FREQUENT = _stream_kernels.COLUMN.index("frequent")
_LARGE, _SMALL = {"weights", "columns"}, {"weights_intercept", "totals"}
# Of W in what the user sees, by which a new class divides where it is nearly 0: any small one.
_LEAST_FACTOR = 0.1
_FIRST_BLEND = 1.0, 0.5  # midway between the iterates; a base alone begins as it is


@dataclass
class StreamSlots(Slots):
    """The state, which a pass changes in place: copying it would cost more than many passes."""

    made: int = 0  # updates of the last pass

    def copy(self) -> Slots:
        """Not a copy of the arrays: a pass that fails puts back what it has changed."""
        return replace(self)


@dataclass(frozen=True)
class Streaming(Solver):
    """The stream. Its state is more than slots like the parameters, so `start` is its own."""

    half_life: float | None = None

    def start(self, params: Parameters) -> Slots:
        """Nothing seen yet."""
        (d, K), dtype = params.coef.shape, params.coef.dtype
        totals = np.zeros(len(_AT))
        totals[_AT["growth"]] = 1
        arrays: dict[str, Floats] = {
            # W and (W - A) mass: side by side, since they are visited together
            "weights": np.zeros((d, 2, K), dtype),
            "weights_intercept": np.zeros((2, K), dtype),
            "columns": np.zeros((d, len(_stream_kernels.COLUMN))),
            "totals": totals,
        }
        if params.coef.any() or params.intercept.any():
            arrays["base"] = params.coef * dtype.type(params.scale)
            arrays["base_intercept"] = params.intercept.copy()
        else:
            totals[[_AT["last"], _AT["average"]]] = _FIRST_BLEND
        return StreamSlots(arrays)

    def remembers(self, slots: Slots) -> bool:
        return "columns" in slots.arrays

    def run(self, params: Parameters, slots: Slots, rows: Pass) -> float:
        """Learn the rows, block by block, in place; returns the sum of ``s CE`` met on the way.

        An interrupt ends the pass after a block and is left in the slots, to be raised when what
        was learnt is safe. Any other failure, or an overflow, leaves the slots as they were.
        """
        assert isinstance(slots, StreamSlots)
        learner = _Learner(self, slots.arrays, rows)
        try:
            for block in _blocks(rows):
                learner.learn(block)
        except KeyboardInterrupt as interrupt:
            if slots.arrays["totals"][_AT["updates"]] == slots.t:
                raise
            slots.interrupt = interrupt
        except BaseException:
            learner.put_back()
            raise
        if not self._show(params, slots.arrays):
            learner.put_back()
            return np.nan
        updates = int(slots.arrays["totals"][_AT["updates"]])
        slots.made, slots.t = updates - slots.t, updates
        return learner.mean_loss * float(rows.weight[rows.rows].sum(dtype=np.float64))

    def updates(self, slots: Slots, rows: Pass) -> int:
        return slots.made if isinstance(slots, StreamSlots) else 0

    def with_class(
        self, params: Parameters, slots: Slots, position: Codes, n_rows: int
    ) -> tuple[Parameters, Slots]:
        """Base class's rule, in the coordinates of the stream; what columns know has no class."""
        shared = {name: slots.arrays[name].copy() for name in ("columns", "totals")}
        of_classes = {name: a for name, a in slots.arrays.items() if name not in shared}
        slots = replace(slots, arrays=of_classes)
        grown, slots = super().with_class(params, slots, position, n_rows)
        lift, arrays = self.lift(len(params.intercept), n_rows), slots.arrays
        if "base" in arrays:
            arrays["base_intercept"][position] += lift
        else:
            factor = max(shared["totals"][_AT["last"]], _LEAST_FACTOR)
            arrays["weights_intercept"][0, position] += lift / factor
        return grown, replace(slots, arrays=arrays | shared)

    def _show(self, params: Parameters, arrays: dict[str, Floats]) -> bool:
        """Write what the user gets into ``params``: base and blend, in the coordinates of X.

        Returns whether that, and what the next rows will be learnt with, is finite.
        """
        base = arrays.get("base", np.empty((0, 0), params.coef.dtype))
        intercept = np.zeros(len(params.intercept)) + arrays.get("base_intercept", 0)
        curvatures = _stream_kernels.export(
            arrays["weights"], arrays["weights_intercept"], arrays["columns"], arrays["totals"],
            self.penalty.l2, self.penalty.l1, base, params.coef, intercept,
        )  # fmt: skip
        params.intercept[...] = intercept if self.fit_intercept else 0
        params.scale = 1.0
        params.moved()
        found = curvatures, params.norms(need_absolute=False)[0], *params.intercept
        return bool(np.isfinite(found).all() and np.isfinite(arrays["totals"]).all())


def _blocks(rows: Pass) -> Iterator[Codes]:
    """The rows, cut where batches end, and else where a block is full."""
    n, size = len(rows.rows), rows.batch_size
    for batch in range(0, n, size):
        stop = min(batch + size, n)
        for start in range(batch, stop, _stream_kernels.BLOCK_ROWS):
            yield rows.rows[start : min(start + _stream_kernels.BLOCK_ROWS, stop)]


@dataclass
class _Block:
    """Some rows, for the kernel to overwrite: a dense array, or CSR with room for dense columns."""

    dense: Floats  # flat
    data: Floats
    indices: NDArray[np.int32]
    indptr: NDArray[np.int32]
    y: Codes
    weight: Floats
    offset: Floats  # flat: what the base adds to the scores, if there is one
    n_dense: int  # columns that are to be visited, whether they have non-zeros or not


class _Room:
    """Room for one pass."""

    def __init__(self, d: int, K: int, dtype: Any) -> None:
        batch = _stream_kernels.BATCH_ROWS
        self._K = K
        self.met = np.zeros((d, 4))
        self.visited, self.place, self.head = np.zeros((3, d), np.int32)
        self.starts = np.zeros(_stream_kernels.BLOCK_ROWS + 1, np.int32)
        self.batch = np.empty((3 * batch + 1) * K, dtype)
        self.packed, self.linked = np.empty(0, dtype), np.empty((3, 0), np.int32)

    def make(self, n_dense: int, n_values: int) -> None:
        """Make room for a block with so many dense columns and other non-zeros."""
        if (3 * self._K + 1) * n_dense > len(self.packed):
            self.packed = np.empty((3 * self._K + 1) * n_dense, self.packed.dtype)
        if n_values > self.linked.shape[1]:
            self.linked = np.empty((3, n_values), np.int32)


class _Learner:
    """Learns the blocks of one pass in place, and knows what was there before."""

    def __init__(self, solver: Streaming, arrays: dict[str, Floats], rows: Pass) -> None:
        self._solver, self._arrays, self._rows = solver, arrays, rows
        d, _, K = arrays["weights"].shape
        self._room = _Room(d, K, arrays["weights"].dtype)
        frequent = np.flatnonzero(arrays["columns"][:, _FREQUENT])
        self._n_dense = len(frequent)
        self._room.visited[: self._n_dense] = frequent
        self._features: Any = slice(None)
        if rows.dense:
            self._room.place[:] = np.arange(d)
        else:
            used = np.zeros(d, bool)
            used[rows.X.indices] = used[frequent] = True
            self._features = np.flatnonzero(used)
        self._before = {name: array.copy() for name, array in arrays.items() if name in _SMALL}
        for name in _LARGE:
            array = arrays[name]
            self._before[name] = array.copy() if rows.dense else array.take(self._features, axis=0)
        self._loss, self._weight = 0.0, 0.0

    @property
    def mean_loss(self) -> float:
        """Weighted mean of the loss that rows had before they were learnt."""
        return self._loss / self._weight if self._weight else 0.0

    def put_back(self) -> None:
        """Undo everything."""
        for name, array in self._before.items():
            self._arrays[name][self._features if name in _LARGE else slice(None)] = array

    def learn(self, rows: Codes) -> None:
        """Learn rows of X."""
        block = self._block(rows)
        arrays, penalty = self._arrays, self._solver.penalty
        half_lives = len(rows) / self._solver.half_life if self._solver.half_life else 0.0
        loss, self._n_dense = _stream_kernels.learn(
            arrays["weights"], arrays["weights_intercept"], arrays["columns"], arrays["totals"],
            block, self._room, penalty.l2, penalty.l1, self._solver.fit_intercept, half_lives,
        )  # fmt: skip
        for state in arrays, self._before:
            _stream_kernels.renormalise(
                state["weights"], state["weights_intercept"], state["columns"], state["totals"]
            )
        self._loss += loss
        self._weight += float(block.weight.sum(dtype=np.float64))

    def _block(self, rows: Codes) -> _Block:
        arrays, room, X = self._arrays, self._room, self._rows.X
        weight = self._rows.weight[rows]
        d, dtype = len(arrays["weights"]), weight.dtype
        offset = np.empty(0, dtype)
        if "base" in arrays:
            offset = scores(X[rows], arrays["base"], arrays["base_intercept"]).ravel()
        if self._rows.dense:
            room.make(d, 0)
            none = np.empty(0, np.int32)
            dense, data, indices, indptr = np.ravel(X[rows]), np.empty(0, dtype), none, none
        else:
            lengths = X.indptr[rows + 1] - X.indptr[rows]
            indptr = np.zeros(len(rows) + 1, np.int32)
            np.cumsum(lengths, dtype=np.int32, out=indptr[1:])
            data, indices = np.empty(indptr[-1], dtype), np.empty(indptr[-1], np.int32)
            _stream_kernels.gather(X.data, X.indices, X.indptr, rows, indptr, data, indices)
            room.visited[: self._n_dense].sort()  # the order that the next pass would find
            n_dense = self._most_dense(lengths, weight)
            room.make(n_dense, len(data))
            dense = np.empty(len(rows) * n_dense, dtype)
        return _Block(
            dense, data, indices, indptr, self._rows.y[rows], weight, offset, self._n_dense
        )

    def _most_dense(self, lengths: Codes, weight: Floats) -> int:
        """Bound on the columns with non-zeros in over half of all rows: twice those of a row."""
        totals = self._arrays["totals"]
        a_row = totals[_AT["nonzeros"]] / max(totals[_AT["weight"]], 1e-300)
        here = lengths @ weight.astype(np.float64) / weight.sum(dtype=np.float64)
        return min(len(self._arrays["weights"]), int(2 * max(a_row, here)) + 1)
