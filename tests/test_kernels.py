"""What all kernels share: the compiled residual, equal to the NumPy truth."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skl_softmax import _kernels
from skl_softmax._softmax import cross_entropy, residual

N = 50


@pytest.fixture
def rng():
    """Random numbers that are the same in every run."""
    return np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [2, 3, 23])
def test_residual(n_classes, dtype, rng):
    """The kernel turns scores into s (S - y) in place and returns the sum of s CE."""
    Z = (3 * rng.standard_normal((N, n_classes))).astype(dtype)
    y, s = rng.integers(0, n_classes, N), rng.uniform(0, 2, N).astype(dtype)
    found = Z.copy()

    loss = _kernels.residual(found, y, s)

    rtol = 1e-5 if dtype is np.float32 else 1e-12
    assert_allclose(found, s[:, None] * residual(Z, y), rtol=rtol, atol=rtol / 10)
    assert_allclose(loss, np.sum(s * cross_entropy(Z, y)), rtol=rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_residual_does_not_overflow(dtype):
    """Scores of 1e4 give finite residuals and losses, and the right ones."""
    Z = np.array([[1e4, -1e4, 0], [1e4, 1e4, 1e4]], dtype)

    loss = _kernels.residual(Z, np.array([1, 1]), np.ones(2, dtype))

    assert_allclose(Z, [[1, -1, 0], [1 / 3, -2 / 3, 1 / 3]], rtol=1e-6)
    assert_allclose(loss, 2e4 + np.log(3), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_residual_of_two_classes_does_not_overflow(dtype):
    """The same of two classes, which have loops of their own."""
    Z = np.array([[1e4, -1e4], [1e4, -1e4], [1e4, 1e4]], dtype)

    loss = _kernels.residual(Z, np.array([0, 1, 1]), np.ones(3, dtype))

    assert_allclose(Z, [[0, 0], [1, -1], [0.5, -0.5]], rtol=1e-6)
    assert_allclose(loss, 2e4 + np.log(2), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_residual_passes_on_what_is_not_finite(bad, label, n_classes, dtype):
    """The compiler's flags leave NaN and infinity their meaning, so that an overflow is seen."""
    Z = np.array([[bad, 0.0, 1.0]], dtype)[:, :n_classes].copy()

    loss = _kernels.residual(Z, np.array([label]), np.ones(1, dtype))

    assert np.isnan(loss)
