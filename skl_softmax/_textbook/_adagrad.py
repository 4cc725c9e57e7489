"""Adagrad: the update in a diagonal metric of the gradients met so far.

    s <- s + G^2
    W <- prox[ W - eta G / (sqrt(s) + epsilon) ]

prox is that of the whole penalty in the same metric, ``|w| <- max(0, |w| - h l1) / (1 + h l2)``
with ``h = eta / (sqrt(s) + epsilon)``: the composite form of Duchi, Hazan & Singer, JMLR 12, 2011.
The penalty stays out of ``s``, so a weight without a gradient only shrinks, by a geometric series,
and a CSR pass can leave that for its next visit.

A weight that has met no gradient has no metric yet and stays.

State: the sum ``s`` of the squared gradients.
"""

from dataclasses import dataclass

import numpy as np

from skl_softmax._penalties import Penalty
from skl_softmax._softmax import Floats
from skl_softmax._textbook import _kernels
from skl_softmax._textbook._solver import Iterate, Memory, Solver, Visits

_EPSILON = 1e-10


@dataclass(frozen=True)
class Adagrad(Solver):
    """Adagrad with its standard constants: ``s`` starts at 0, epsilon is 1e-10."""

    @property
    def remembered(self) -> dict[str, type | None]:
        return {"s": None}

    def step(self, iterate: Iterate, memory: Memory, G: Floats, g: Floats, eta: float) -> None:
        self._move(iterate.coef, memory.arrays["s"], G, eta, self.penalty)
        if self.fit_intercept:
            self._move(iterate.intercept, memory.arrays["s_intercept"], g, eta, Penalty())

    def _move(self, W: Floats, s: Floats, G: Floats, eta: float, penalty: Penalty) -> None:
        s += G * G
        h = np.where(s > 0, eta / (np.sqrt(s) + _EPSILON), 0).astype(W.dtype)
        W -= h * G
        penalty.soft_threshold(W, h)
        W /= 1 + h * W.dtype.type(penalty.l2)

    def run(self, iterate: Iterate, memory: Memory, visits: Visits) -> float:
        if visits.dense or not len(visits.eta):
            return super().run(iterate, memory, visits)
        X, coef = visits.X, iterate.coef
        share = (len(visits.rows) - 1) % visits.batch_size + 1
        eta = visits.eta[0] if len(visits.eta) > 1 else visits.eta[0] * visits.batch_size / share
        loss, iterate.square, iterate.absolute = _kernels.adagrad_csr(
            X.data, X.indices, X.indptr, visits.y, visits.weight, visits.rows, visits.batch_size,
            eta, _EPSILON, self.penalty.l2, self.penalty.l1, self.fit_intercept,
            coef, iterate.intercept, memory.arrays["s"], memory.arrays["s_intercept"],
            visits.features, np.zeros(len(coef), np.int32),
            np.zeros_like(coef), np.zeros_like(iterate.intercept),
            visits.scores_buffer(coef.shape[1]),
        )  # fmt: skip
        return loss
