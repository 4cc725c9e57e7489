"""The objective F of parameters on rows: mean loss plus penalty."""

import numpy as np

from skl_softmax._kernels import residual
from skl_softmax._parameters import Parameters
from skl_softmax._penalties import Penalty
from skl_softmax._rows import Rows
from skl_softmax._softmax import scores

_BLOCK_ROWS, _BLOCK_ENTRIES = 256, 1 << 16  # at least; of X, or scores, that are held


def exact_objective(params: Parameters, penalty: Penalty, data: Rows) -> float:
    """Mean loss plus penalty; not finite where a score overflows."""
    rows, loss = data.rows, 0.0
    size = max(_BLOCK_ROWS, _BLOCK_ENTRIES // max(params.coef.shape))
    with np.errstate(over="ignore", invalid="ignore"):
        for first in range(0, len(rows), size):
            block = rows[first : first + size]
            Z = scores(data.X[block], params.coef, params.intercept)
            loss += residual(Z, data.y[block], data.weight[block])
        return loss / data.total_weight + penalty.of(params.coef)
