"""A pass over a chunk, block by block: what the kernel is given, and what a failure puts back.

A block is changed by the kernel in place, so its rows are copied into buffers. The state is
changed in place too: a pass holds what the features that it meets had before, to put it back should
it fail. An interrupt comes between two calls of the kernel, so that it leaves whole blocks.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skl_softmax._online import _kernels
from skl_softmax._penalties import Penalty
from skl_softmax._rows import Rows
from skl_softmax._softmax import Codes, Floats, scores

AT = {name: place for place, name in enumerate(_kernels.TOTALS)}  # in the array `totals`
_FREQUENT = _kernels.COLUMN.index("frequent")
# What a pass changes: a row a feature, of which it may meet few, or small.
_OF_FEATURES = ("weights", "columns")
_SMALL = ("weights_intercept", "totals", "base_intercept")


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


class _Buffers:
    """What the kernel writes into during one pass, and finds as it left it."""

    def __init__(self, d: int, K: int, dtype: Any) -> None:
        batch = _kernels.BATCH_ROWS
        self._K = K
        self.met = np.zeros((d, 4))
        self.visited, self.place, self.head = np.zeros((3, d), np.int32)
        self.starts = np.zeros(_kernels.BLOCK_ROWS + 1, np.int32)
        self.batch = np.empty((3 * batch + 1) * K, dtype)
        self.packed, self.linked = np.empty(0, dtype), np.empty((3, 0), np.int32)

    def make(self, n_dense: int, n_values: int) -> None:
        """Make them long enough for a block with so many dense columns and other non-zeros."""
        if (3 * self._K + 1) * n_dense > len(self.packed):
            self.packed = np.empty((3 * self._K + 1) * n_dense, self.packed.dtype)
        if n_values > self.linked.shape[1]:
            self.linked = np.empty((3, n_values), np.int32)


class Pass:
    """Learns the blocks of one pass in place, and knows what was there before."""

    def __init__(
        self,
        arrays: dict[str, Floats],
        data: Rows,
        penalty: Penalty,
        fit_intercept: bool,
        half_life: float | None,
    ) -> None:
        self._arrays, self._data = arrays, data
        self._penalty, self._fit_intercept, self._half_life = penalty, fit_intercept, half_life
        d, _, K = arrays["weights"].shape
        self._buffers = _Buffers(d, K, arrays["weights"].dtype)
        frequent = np.flatnonzero(arrays["columns"][:, _FREQUENT])
        self._n_dense = len(frequent)
        self._buffers.visited[: self._n_dense] = frequent
        self._features: Any = slice(None)
        if data.dense:
            self._buffers.place[:] = np.arange(d)
        else:
            used = np.zeros(d, bool)
            used[data.X.indices] = used[frequent] = True
            self._features = np.flatnonzero(used)
        self._before = {name: arrays[name].copy() for name in _SMALL if name in arrays}
        for name in _OF_FEATURES:
            array = arrays[name]
            self._before[name] = array.copy() if data.dense else array.take(self._features, axis=0)
        self._loss, self._weight = 0.0, 0.0

    @property
    def n_updates(self) -> int:
        """Updates made."""
        updates = AT["updates"]
        return int(self._arrays["totals"][updates] - self._before["totals"][updates])

    @property
    def mean_loss(self) -> float:
        """Weighted mean of the loss that rows had before they were learnt."""
        return self._loss / self._weight if self._weight else 0.0

    def put_back(self) -> None:
        """Undo everything."""
        for name, array in self._before.items():
            self._arrays[name][self._features if name in _OF_FEATURES else slice(None)] = array

    def learn(self, visits: Codes, batch_size: int) -> KeyboardInterrupt | None:
        """Learn rows of X, in blocks that end where a batch does, and else where they are full.

        An interrupt ends the pass, and is returned if anything has been learnt by then.
        """
        n = len(visits)
        try:
            for batch in range(0, n, batch_size):
                stop = min(batch + batch_size, n)
                for start in range(batch, stop, _kernels.BLOCK_ROWS):
                    self._learn_block(visits[start : min(start + _kernels.BLOCK_ROWS, stop)])
        except KeyboardInterrupt as interrupt:
            if not self.n_updates:
                raise
            return interrupt
        return None

    def _learn_block(self, rows: Codes) -> None:
        block = self._block(rows)
        arrays, penalty = self._arrays, self._penalty
        half_lives = len(rows) / self._half_life if self._half_life else 0.0
        loss, self._n_dense = _kernels.learn(
            arrays["weights"], arrays["weights_intercept"], arrays["columns"], arrays["totals"],
            block, self._buffers, penalty.l2, penalty.l1, self._fit_intercept, half_lives,
        )  # fmt: skip
        for state in arrays, self._before:
            _kernels.renormalise(
                state["weights"], state["weights_intercept"], state["columns"], state["totals"]
            )
        self._loss += loss
        self._weight += float(block.weight.sum(dtype=np.float64))

    def _block(self, rows: Codes) -> _Block:
        arrays, buffers, X = self._arrays, self._buffers, self._data.X
        weight = self._data.weight[rows]
        d, dtype = len(arrays["weights"]), weight.dtype
        offset = np.empty(0, dtype)
        if "base" in arrays:
            offset = scores(X[rows], arrays["base"], arrays["base_intercept"]).ravel()
        if self._data.dense:
            buffers.make(d, 0)
            none = np.empty(0, np.int32)
            dense, data, indices, indptr = np.ravel(X[rows]), np.empty(0, dtype), none, none
        else:
            lengths = X.indptr[rows + 1] - X.indptr[rows]
            indptr = np.zeros(len(rows) + 1, np.int32)
            np.cumsum(lengths, dtype=np.int32, out=indptr[1:])
            data, indices = np.empty(indptr[-1], dtype), np.empty(indptr[-1], np.int32)
            _kernels.gather(X.data, X.indices, X.indptr, rows, indptr, data, indices)
            buffers.visited[: self._n_dense].sort()  # the order that the next pass would find
            n_dense = self._most_dense(lengths, weight)
            buffers.make(n_dense, len(data))
            dense = np.empty(len(rows) * n_dense, dtype)
        return _Block(
            dense, data, indices, indptr, self._data.y[rows], weight, offset, self._n_dense
        )

    def _most_dense(self, lengths: Codes, weight: Floats) -> int:
        """Bound on the columns with non-zeros in over half of all rows: twice those of a row."""
        totals = self._arrays["totals"]
        a_row = totals[AT["nonzeros"]] / max(totals[AT["weight"]], 1e-300)
        here = lengths @ weight.astype(np.float64) / weight.sum(dtype=np.float64)
        return min(len(self._arrays["weights"]), int(2 * max(a_row, here)) + 1)
