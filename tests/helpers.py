"""What several test modules share."""

import warnings

import numpy as np
import scipy.sparse as sp
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.utils.fixes import parse_version

OLD_PENALTIES = {0: {"penalty": "l2"}, 1: {"penalty": "l1"}}  # before scikit-learn 1.8


def logistic_regression(C, l1_ratio=0, **params):
    """scikit-learn's model by the parameters that its version 1.10 keeps, on older versions too."""
    ratio = {"l1_ratio": l1_ratio}
    if parse_version(sklearn.__version__) < parse_version("1.8"):
        ratio = OLD_PENALTIES.get(l1_ratio, {"penalty": "elasticnet"} | ratio)
    return LogisticRegression(C=C, **ratio, **params)


def as_matrix(array):
    """The same in SciPy's old class, which users still have, and SciPy deprecates from 1.19 on."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\w+_matrix is being replaced", DeprecationWarning)
        return getattr(sp, f"{array.format}_matrix")(array)


def uneven_rows(n=300, d=5, n_classes=3, dtype=np.float64, seed=0):
    """Rows with columns of different means and scales, labels and weights of mean 1."""
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(n, d)) * np.arange(1, d + 1) + np.arange(d)).astype(dtype)
    y = rng.integers(n_classes, size=n)
    weight = rng.exponential(size=n).astype(dtype)
    return X, y, weight / weight.mean()


def scores_of_rows(n, K, dtype=np.float64, seed=0):
    """Scores, labels and weights."""
    rng = np.random.default_rng(seed)
    Z = (3 * rng.standard_normal((n, K))).astype(dtype)
    return Z, rng.integers(K, size=n), rng.uniform(0.2, 2, n).astype(dtype), rng
