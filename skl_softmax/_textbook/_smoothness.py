"""The automatic step: how curved the loss can be for a batch of these rows.

The Hessian of softmax cross-entropy in the scores is at most 1/2 (Bohning, Ann. Inst. Stat. Math.
44, 1992), so that of row i in the weights is at most ``L_i = 1/2 s_i ||x_i||^2`` (with the
intercept's 1 among the features) and that of the mean of all rows at most
``L = lambda_max(1/2 X^T diag(s) X / n)``. For a batch of B of n rows, drawn without replacement,
the expected smoothness lies between the two (Gower et al., ICML 2019, arXiv:1901.09401):

    L(B) = n (B - 1) / (B (n - 1)) L  +  (n - B) / (B (n - 1)) max_i L_i

and ``1 / L(B)`` is the step. B = 1 gives ``max_i L_i`` and B = n gives ``L``. With momentum m the
noise of the batches, the second term, acts through steps that add up to ``1 / (1 - m)`` times the
length, so that term grows by as much; the first does not, or momentum would gain nothing.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from skl_softmax._softmax import Codes, Floats

_BLOCK_ENTRIES = 1 << 16  # of X, copied at a time
_SAMPLE_ROWS = 4096
_POWER_ITERATIONS = 50
_FEW_ROWS = 64


def smoothness(
    X: Any,
    weight: Floats,
    rows: Codes,
    batch_size: int,
    fit_intercept: bool,
    momentum: float = 0.0,
) -> float:
    """``L(B)`` of the weighted rows ``X[rows]`` of a dense or CSR X."""
    n, one = len(rows), float(fit_intercept)
    batch_size = min(batch_size, n)
    if n <= _FEW_ROWS:
        few = X if n == X.shape[0] else X[rows]
        largest, mean = _of_few_rows(few, weight[rows], one)
    else:
        largest, mean = _of_many_rows(X, weight, rows, one, max(_SAMPLE_ROWS, 16 * batch_size))
    share = (n - batch_size) / (batch_size * max(1, n - 1))
    return 0.5 * ((1 - share) * mean + share * largest / (1 - momentum))


def _of_few_rows(X: Any, s: Floats, one: float) -> tuple[float, float]:
    """``2 max L_i`` and ``2 L`` from the Gram matrix of the rows.

    The eigenvalue is taken as the Schatten 8-norm, which is at most ``n^(1/8)`` times too large.
    """
    if not isinstance(X, np.ndarray) and len(s) * X.shape[1] <= _BLOCK_ENTRIES:
        X = X.toarray()  # a fifth of the time of a sparse product
    X, root = X.astype(np.float64), np.sqrt(s, dtype=np.float64)
    gram = X @ X.T
    gram = gram if isinstance(gram, np.ndarray) else gram.toarray()
    gram = (gram + one) * root * root[:, None]
    trace = gram.trace()
    if trace == 0 or not np.isfinite(trace):
        return trace, trace
    square = gram / trace  # so that no power overflows
    square = square @ square
    return gram.diagonal().max(), trace * np.linalg.norm(square @ square) ** 0.25 / len(s)


def _of_many_rows(
    X: Any, weight: Floats, rows: Codes, one: float, n_sample: int
) -> tuple[float, float]:
    """``2 max L_i``, and ``2 L`` by power iteration.

    The largest row enters L(B) with a share of 1/B, so L may come from a sample of many times B
    rows: what the sample misses is below that share (matrix Chernoff bound).
    """
    n = len(rows)
    blocks = _Blocks(X, weight, rows)
    largest = max(float((s * (_squared_norms(A) + one)).max()) for A, s in blocks)
    if largest in (0, np.inf):
        return largest, largest
    if n_sample < n:
        blocks = _Blocks(X, weight, rows[np.linspace(0, n - 1, n_sample).astype(np.intp)])
    return largest, largest * _top_eigenvalue(blocks, X.shape[1], one, largest)


class _Blocks:
    """``(X, s)`` of a few rows at a time, copied to float64: squares of float32 may overflow.

    Copied again each time around, unless there is only one block.
    """

    def __init__(self, X: Any, weight: Floats, rows: Codes) -> None:
        entries_a_row = (X.size if isinstance(X, np.ndarray) else X.nnz) / X.shape[0]
        self.n_rows = len(rows)
        self._size = min(max(1, int(_BLOCK_ENTRIES / max(1, entries_a_row))), _SAMPLE_ROWS)
        self._parts = X, weight, rows
        self._only = [self._block(0)] if len(rows) <= self._size else None

    def __iter__(self) -> Iterator[tuple[Any, Floats]]:
        if self._only is not None:
            return iter(self._only)
        return map(self._block, range(0, self.n_rows, self._size))

    def _block(self, start: int) -> tuple[Any, Floats]:
        X, weight, rows = self._parts
        block = rows[start : start + self._size]
        return X[block].astype(np.float64), weight[block].astype(np.float64)


def _squared_norms(X: Any) -> Floats:
    if isinstance(X, np.ndarray):
        return np.einsum("ij,ij->i", X, X)
    return np.asarray(X.multiply(X).sum(axis=1)).ravel()


def _top_eigenvalue(blocks: _Blocks, n_features: int, one: float, unit: float) -> float:
    """Largest eigenvalue of ``mean_i s_i (x_i, 1)^T (x_i, 1) / unit``, by power iteration to 5%.

    An eigenvalue that is twice the others takes ``log2(n_features) / 2`` iterations to stand out.
    """
    v, c = np.random.default_rng(0).standard_normal(n_features), one
    length, value = np.hypot(np.linalg.norm(v), c), 0.0
    least = 3 + 0.5 * np.log2(n_features)
    for iteration in range(_POWER_ITERATIONS):
        total, total_c = np.zeros(n_features), 0.0
        for A, s in blocks:
            u = s / unit * (A @ v + one * c)
            total += A.T @ u
            total_c += one * float(u.sum())
        scale = length * blocks.n_rows
        v, c = total / scale, total_c / scale
        length = float(np.hypot(np.linalg.norm(v), c))
        previous, value = value, length
        if iteration >= least and value <= 1.05 * previous:
            break
    return value
