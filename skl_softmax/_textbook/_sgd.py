"""SGD, the textbook update with an optional memory of its last displacement.

    x <- prox[ W - eta (G + alpha dR/dW) + momentum v ]      v <- x - W,  W <- x

prox is the soft threshold of the l1 part. With Nesterov's momentum W is the point ``x + momentum
v`` ahead of the iterate x: ``x' = prox[W - eta (G + alpha dR/dW)]``, ``v' = x' - x``, ``W = x' +
momentum v'``. Without a penalty both are MLPClassifier's updates; for l1 the displacement after
the prox keeps the optimum a fixed point (Ochs et al., SIAM J. Imaging Sci. 7, 2014). With
``average`` the user gets the mean of all W from that update on (Polyak & Juditsky, SIAM J. Control
Optim. 30, 1992).

State: the displacement ``v``; the sum ``total`` of the averaged iterates.

A compiled CSR pass keeps ``W = scale * coef`` and puts off what an update does to the weights that
its batch does not touch (`_lazy`).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skl_softmax._penalties import Penalty
from skl_softmax._softmax import Codes, Floats
from skl_softmax._textbook import _kernels
from skl_softmax._textbook._lazy import in_range, timetables
from skl_softmax._textbook._solver import Iterate, Memory, Solver, Visits

# The squared norm runs along with the updates, since reading all weights once a pass would cost
# much of the pass where features are many; it is read off the weights when it has lost digits,
# having fallen to a small share of itself, and now and then.
_RECALL, _RECALL_PASSES = 0.01, 16
_EMPTY, _EMPTY_ROW = np.empty((0, 0)), np.empty(0)  # a kernel's None


@dataclass(frozen=True)
class SGD(Solver):
    """Textbook SGD. ``average_from`` is the first update whose result is averaged, or None."""

    nesterov: bool = False
    average_from: int | None = None

    @property
    def remembered(self) -> dict[str, type | None]:
        names: dict[str, type | None] = {"v": None} if self.momentum else {}
        return names if self.average_from is None else {**names, "total": np.float64}

    def step(self, iterate: Iterate, memory: Memory, G: Floats, g: Floats, eta: float) -> None:
        self._move(iterate.coef, memory.arrays.get("v"), G, eta, self.penalty)
        if self.fit_intercept:
            self._move(iterate.intercept, memory.arrays.get("v_intercept"), g, eta, Penalty())
        memory.t += 1
        if self.average_from is not None and memory.t >= self.average_from:
            memory.arrays["total"] += iterate.coef
            memory.arrays["total_intercept"] += iterate.intercept
            memory.n_averaged += 1

    def _move(self, W: Floats, v: Floats | None, G: Floats, eta: float, penalty: Penalty) -> None:
        x = W - W.dtype.type(eta) * (G + penalty.gradient(W))
        if v is None:
            penalty.soft_threshold(x, eta)
            W[...] = x
            return
        momentum = W.dtype.type(self.momentum)
        before = W - momentum * v if self.nesterov else W
        if not self.nesterov:
            x += momentum * v
        penalty.soft_threshold(x, eta)
        np.subtract(x, before, out=v)
        W[...] = x + momentum * v if self.nesterov else x

    def run(self, iterate: Iterate, memory: Memory, visits: Visits) -> float:
        if self.momentum:
            return super().run(iterate, memory, visits)
        return (self._run_dense if visits.dense else self._run_csr)(iterate, memory, visits)

    def _first_averaged(self, memory: Memory) -> float:
        """The first update of a pass (from 0) whose result is averaged."""
        return np.inf if self.average_from is None else self.average_from - memory.t - 1

    def _run_dense(self, iterate: Iterate, memory: Memory, visits: Visits) -> float:
        """Compiled pass over dense rows; the class-major copies cost nothing beside the pass."""
        self.settle(iterate, memory, visits.features)
        coef = np.ascontiguousarray(iterate.coef.T)
        total = np.ascontiguousarray(memory.arrays.get("total", _EMPTY).T)
        n_updates = len(visits.eta)
        first = int(min(max(0, self._first_averaged(memory)), n_updates))
        between_rows, between_features = visits.X.strides
        in_place = between_features == visits.X.itemsize and between_rows % visits.X.itemsize == 0
        n_gathered = 0 if in_place else visits.batch_size
        loss = _kernels.sgd_dense(
            visits.X, visits.y, visits.weight, visits.rows, visits.batch_size, visits.eta,
            self.penalty.l2, self.penalty.l1, self.fit_intercept,
            coef, iterate.intercept, visits.scores_buffer(len(coef)),
            np.arange(n_gathered), np.empty((n_gathered, coef.shape[1]), coef.dtype),
            total, memory.arrays.get("total_intercept", _EMPTY_ROW), first,
        )  # fmt: skip
        iterate.coef[...] = coef.T
        if self.average_from is not None:
            memory.arrays["total"][...] = total.T
        iterate.moved()
        memory.t += n_updates
        memory.n_averaged += n_updates - first
        return loss

    def _run_csr(self, iterate: Iterate, memory: Memory, visits: Visits) -> float:
        """Compiled pass that leaves decay, thresholds and averages of untouched weights for later.

        With l2 alone the scale stays put off between passes, so that a pass costs O(nnz K).
        """
        X, lazy = visits.X, self.penalty.l1 > 0 or self.average_from is not None
        last = np.zeros(X.shape[1] if lazy else 0, np.int32)
        total = memory.arrays.get("total", _EMPTY)
        total_intercept = memory.arrays.get("total_intercept", _EMPTY_ROW)
        first = self._first_averaged(memory)
        buffer = visits.scores_buffer(iterate.coef.shape[1])
        loss = 0.0
        square = iterate.norms(need_absolute=False)[0] / (iterate.scale * iterate.scale)
        for start, stop, timetable in timetables(visits.eta, self.penalty, iterate.scale, first):
            visited = visits.rows[start * visits.batch_size : stop * visits.batch_size]
            if timetable is None:
                once = replace(visits, rows=visited, eta=visits.eta[start:stop])
                loss += super().run(iterate, memory, once)
                square = iterate.norms(need_absolute=False)[0]
                continue
            run_loss, square, largest = _kernels.sgd_csr(
                X.data, X.indices, X.indptr, visits.y, visits.weight, visited, visits.batch_size,
                timetable, self.fit_intercept, iterate.coef, iterate.intercept, square,
                total, total_intercept, last, buffer,
            )  # fmt: skip
            loss += run_loss
            iterate.square, iterate.absolute = square, None
            iterate.scale = float(timetable[-1, 1])
            memory.n_averaged += int(timetable[-1, 5])
            memory.t += stop - start
            inexact = (
                square < largest * _RECALL or memory.t // len(visits.eta) % _RECALL_PASSES == 0
            )
            if lazy or inexact or not in_range(iterate.scale, lazy):
                square = self._settle(iterate, memory, visits.features, timetable, last)
        return loss

    def settle(self, iterate: Iterate, memory: Memory, features: Codes) -> None:
        if iterate.scale != 1:
            now = np.zeros((1, 6))
            now[0, 1] = iterate.scale
            self._settle(iterate, memory, features, now, _EMPTY_ROW.astype(np.int32))

    def _settle(
        self,
        iterate: Iterate,
        memory: Memory,
        features: Codes,
        timetable: Floats,
        last: NDArray[np.int32],
    ) -> float:
        """Returns the new ``iterate.square``."""
        square, absolute = _kernels.settle(
            features,
            len(timetable) - 1,
            timetable,
            iterate.coef,
            memory.arrays.get("total", _EMPTY),
            last,
        )
        iterate.scale, iterate.square, iterate.absolute = 1.0, square, absolute
        return square
