"""Adam: the update along a mean of past gradients, each weight in units of their mean square.

    G <- G + alpha dR/dW
    m <- beta1 m + (1 - beta1) G,  m' = m / (1 - beta1^t)
    v <- beta2 v + (1 - beta2) G^2,  v' = v / (1 - beta2^t)
    W <- prox[ W - eta m' / (sqrt(v') + epsilon) ]

prox is the soft threshold of the l1 part, in the same metric. Kingma & Ba, ICLR 2015,
arXiv:1412.6980, with their constants.

State: the running means ``m`` and ``v``, and the number ``t`` of updates.
"""

from dataclasses import dataclass

import numpy as np

from skl_softmax._penalties import Penalty
from skl_softmax._softmax import Floats
from skl_softmax._textbook._solver import Iterate, Memory, Solver

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Adam(Solver):
    """Adam with its standard constants; every update moves every weight, O(d K) also on CSR."""

    @property
    def remembered(self) -> dict[str, type | None]:
        return {"m": None, "v": None}

    def step(self, iterate: Iterate, memory: Memory, G: Floats, g: Floats, eta: float) -> None:
        memory.t += 1
        arrays, t = memory.arrays, memory.t
        self._move(iterate.coef, arrays["m"], arrays["v"], G, eta, t, self.penalty)
        if self.fit_intercept:
            m, v = arrays["m_intercept"], arrays["v_intercept"]
            self._move(iterate.intercept, m, v, g, eta, t, Penalty())

    def _move(
        self, W: Floats, m: Floats, v: Floats, G: Floats, eta: float, t: int, penalty: Penalty
    ) -> None:
        G = G + penalty.gradient(W)
        m += (1 - _BETA1) * (G - m)
        v += (1 - _BETA2) * (G * G - v)
        scale = np.sqrt(v / (1 - _BETA2**t)) + _EPSILON
        h = (eta / scale).astype(W.dtype)
        W -= h * (m / (1 - _BETA1**t))
        penalty.soft_threshold(W, h)
