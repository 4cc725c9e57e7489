"""Bounds of the gap: what the compiled loops compute, and that no bound is below the truth."""

import numpy as np
import pytest
from helpers import scores_of_rows
from numpy.testing import assert_allclose
from scipy.special import log_softmax, rel_entr, softmax

from skl_softmax._kernels import residual
from skl_softmax._optimum import _kernels
from skl_softmax._optimum._certificate import divergence

each_size = pytest.mark.parametrize(("n", "K"), [(1, 2), (200, 2), (64, 3), (150, 7), (300, 40)])
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@each_dtype
@each_size
def test_divergence_is_that_of_the_definition(n, K, dtype):
    """The sum of ``s q log(q / S(z))``, also of targets that are 0."""
    Z, _, s, rng = scores_of_rows(n, K, dtype)
    Q = rng.dirichlet(np.full(K, 0.3), n).astype(dtype)
    Q[::3] = np.eye(K, dtype=dtype)[rng.integers(K, size=len(Q[::3]))]

    found = divergence(Q, Z, s)

    expected = s @ rel_entr(Q.astype(float), softmax(Z.astype(float), axis=1)).sum(axis=1)
    assert_allclose(found, expected, rtol=2e-6 if dtype == np.float32 else 1e-12)


@each_dtype
@each_size
def test_linearised_predictions(n, K, dtype):
    """``p (1 + u - p u)``, at least 1e-3 p, with sum 1, and how far the predictions are from it."""
    Z, y, s, rng = scores_of_rows(n, K, dtype)
    U = (0.7 * rng.standard_normal((n, K))).astype(dtype)
    Z[::5] *= 200  # predictions that are 0 and 1
    R, sums = Z.copy(), np.zeros(K)
    residual(R, y, s)
    found = U.copy()
    room = np.empty((2 * K + 1, 64), dtype)

    total = _kernels.foretell(found, R, Z + U, y, s, 1e-3, sums, room)

    P, exact = softmax(Z.astype(float), axis=1), U.astype(float)
    Q = P * np.maximum(1 + exact - (P * exact).sum(axis=1, keepdims=True), 1e-3)
    Q /= Q.sum(axis=1, keepdims=True)
    expected = s[:, None] * (Q - np.eye(K)[y])
    loose = 3e-6 if dtype == np.float32 else 1e-12
    assert_allclose(found, expected, atol=loose)
    assert_allclose(sums, expected.sum(axis=0), atol=loose * n)
    logs = log_softmax((Z + U).astype(float), axis=1)
    apart = np.maximum((rel_entr(Q, 1) - Q * logs).sum(axis=1), 0)
    assert_allclose(total, s @ apart, rtol=1e-4, atol=loose * n)
