"""The rows' own coordinates: the same scores and the same penalty, with fewer features."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose

from skl_softmax._optimum._row_space import RowSpace
from skl_softmax._parameters import Parameters
from skl_softmax._rows import Rows

CONTAINERS = pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])


def few_rows(container, sigma=0.0, n=8, d=60):
    """Rows, two of which do not count, in columns of scales that differ by ``e^sigma``."""
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((n + 2, d)) + 5) * np.exp(sigma * rng.standard_normal(d))
    weight = rng.exponential(size=n + 2)
    return Rows(container(X), np.arange(n + 2) % 3, weight, np.arange(n) + 1), X


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("sigma", [0.0, 4.0])
@CONTAINERS
def test_scores_and_penalty_are_the_same(container, sigma, fit_intercept):
    """Weights of these coordinates give the scores of the weights that they stand for."""
    data, X = few_rows(container, sigma)
    space, reduced = RowSpace.of(data, fit_intercept)
    rng = np.random.default_rng(1)
    r = reduced.X.shape[1]
    given = Parameters(rng.standard_normal((r, 3)) / np.linalg.norm(reduced.X), np.arange(3.0))

    found = space.back(given, np.dtype(np.float64))

    assert r == 8 - fit_intercept
    assert reduced.X.shape == (8, r)
    expected = reduced.X @ given.coef + given.intercept
    assert_allclose(X[data.rows] @ found.coef + found.intercept, expected, rtol=1e-9, atol=1e-12)
    assert_allclose(np.sum(found.coef**2), np.sum(given.coef**2), rtol=1e-12)


@CONTAINERS
def test_weights_that_are_sums_of_rows_come_back(container):
    """Into these coordinates and back; what is orthogonal to the rows is left out."""
    data, X = few_rows(container)
    space, _ = RowSpace.of(data, True)
    rows = X[data.rows] - np.average(X[data.rows], axis=0, weights=data.weight[data.rows])
    rng = np.random.default_rng(1)
    W = rows.T @ rng.standard_normal((8, 3))
    other = rng.standard_normal((60, 3))
    other -= np.linalg.pinv(rows) @ (rows @ other)
    intercept = rng.standard_normal(3)

    found = space.back(space.into(Parameters(W + other, intercept)), np.dtype(np.float64))

    assert_allclose(found.coef, W, rtol=1e-9, atol=1e-9)
    assert_allclose(
        X[data.rows] @ found.coef + found.intercept,
        X[data.rows] @ (W + other) + intercept,
        rtol=1e-9,
        atol=1e-9,
    )


def test_rows_that_are_all_alike():
    """Centred they are zeros; one coordinate is left."""
    data = Rows(np.full((4, 6), 3.0), np.arange(4) % 2, np.ones(4), np.arange(4))

    _, reduced = RowSpace.of(data, True)

    assert reduced.X.shape == (4, 1)
    assert not reduced.X.any()
