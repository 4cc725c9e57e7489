"""The rows that something is learnt from, and with their classes the problem that they are."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skl_softmax._softmax import Codes, Floats


def are_all(rows: Codes, n: int) -> bool:
    """Whether these positions are all of n, in order."""
    return len(rows) == n and bool((rows[1:] > rows[:-1]).all())


@dataclass(frozen=True)
class Rows:
    """Weighted, labelled rows: ``rows`` are the positions in ``X`` that count."""

    X: Any  # (n_samples, n_features), ndarray or CSR, float32 or float64
    y: Codes  # (n_samples,)
    weight: Floats  # (n_samples,), dtype of X
    rows: Codes
    from_zero: bool = False  # whether features without a non-zero in X have no weight either

    @property
    def dense(self) -> bool:
        return isinstance(self.X, np.ndarray)

    @cached_property
    def whole(self) -> bool:
        """Whether all rows count, in the order of X."""
        return are_all(self.rows, len(self.y))

    @cached_property
    def total_weight(self) -> float:
        return float(self.weight[self.rows].sum(dtype=np.float64))

    def copied(self) -> "Rows":
        """Those that count, and no others."""
        rows = self.rows
        X, y, weight = self.X[rows], self.y[rows], self.weight[rows]
        return replace(self, X=X, y=y, weight=weight, rows=np.arange(len(rows)))

    @cached_property
    def effective_count(self) -> float:
        """How many rows of equal weight tell as much, ``(sum s)^2 / sum s^2``."""
        s = self.weight[self.rows].astype(np.float64)
        s /= s.max()
        return float(s.sum() ** 2 / (s @ s))

    @cached_property
    def features(self) -> Codes:
        """Those that may have a non-zero in X or a weight."""
        d = self.X.shape[1]
        if self.dense or not self.from_zero:
            return np.arange(d)
        return np.flatnonzero(np.bincount(self.X.indices, minlength=d))

    def visits(self, rng: np.random.RandomState, shuffle: bool) -> Codes:
        """The positions that count, in the order of a pass over them."""
        return self.rows[rng.permutation(len(self.rows))] if shuffle else self.rows


@dataclass(frozen=True)
class Problem:
    """What the user gave to a fit, or a part of a chunk of a stream, checked."""

    data: Rows
    classes: NDArray[Any]  # labels, sorted
    class_counts: Floats  # (n_classes,), sample weights of the rows so far, before class_weight
    validation: Rows | None = None
    exact_weight: Floats | None = None  # of a fit, as in the data, but always float64

    @property
    def dtype(self) -> np.dtype[np.floating]:
        return self.data.X.dtype

    @property
    def public_shape(self) -> tuple[int, int]:
        """Shape of ``coef_``."""
        n_classes = len(self.classes)
        return 1 if n_classes == 2 else n_classes, self.data.X.shape[1]
