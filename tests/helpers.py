"""What several test modules share."""

import numpy as np


def uneven_rows(n=300, d=5, n_classes=3, dtype=np.float64, seed=0):
    """Rows with columns of different means and scales, labels and weights of mean 1."""
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(n, d)) * np.arange(1, d + 1) + np.arange(d)).astype(dtype)
    y = rng.integers(n_classes, size=n)
    weight = rng.exponential(size=n).astype(dtype)
    return X, y, weight / weight.mean()
