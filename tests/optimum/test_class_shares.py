"""Targets, and intercepts, that give every class its share."""

import numpy as np
import pytest
from helpers import scores_of_rows
from numpy.testing import assert_allclose
from scipy.special import logsumexp, softmax

from skl_softmax._kernels import residual
from skl_softmax._optimum._certificate import divergence
from skl_softmax._optimum._class_shares import balance, balanced_intercepts

each_size = pytest.mark.parametrize(("n", "K"), [(1, 2), (200, 2), (64, 3), (150, 7), (300, 40)])
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@each_size
def test_balance_moves_the_shares_of_the_classes(n, K):
    """The targets of some rows make up for all, and say what that costs."""
    if n == 1:
        return
    Z, y, s, rng = scores_of_rows(n, K)
    Q = softmax(Z + 0.1 * rng.standard_normal(Z.shape), axis=1)
    missing = 1e-3 * rng.standard_normal(K) * (s @ Q)
    missing -= missing.mean()

    moved = balance(lambda at: Q[at].copy(), Z, y, s, missing)

    after = Q.copy()
    after[moved.at] += moved.change / s[moved.at, None]
    assert_allclose(s @ after - s @ Q, missing, atol=1e-9 * n)
    assert after.min() >= 0
    assert_allclose(after.sum(axis=1), 1)
    assert_allclose(moved.grown, divergence(after, Z, s) - divergence(Q, Z, s), atol=1e-10 * n)


def test_rows_that_may_be_moved_can_be_named():
    """Others keep their targets, whatever is missing."""
    Z, y, s, _ = scores_of_rows(100, 3)
    Q = softmax(Z, axis=1)
    missing = np.array([-2.0, 0.5, 1.5])

    moved = balance(lambda at: Q[at].copy(), Z, y, s, missing, among=np.arange(60, 100))

    assert min(moved.at) >= 60
    assert_allclose(moved.change.sum(axis=0), missing)


def test_shares_beyond_reach_are_not_met():
    """What no distributions can have is said to fail, not approximated."""
    Z, y, s, _ = scores_of_rows(50, 3)
    Q = softmax(Z, axis=1)

    assert balance(lambda at: Q[at].copy(), Z, y, s, np.array([-2.0, 1.0, 1.0]) * s.sum()) is None


@each_dtype
@pytest.mark.parametrize(("n", "K"), [(400, 2), (300, 5), (2000, 60)])
def test_balanced_intercepts_give_every_class_its_share(n, K, dtype):
    """Mean probabilities are the weighted shares, and the loss falls by what is said."""
    Z, y, s, _ = scores_of_rows(n, K, dtype)
    s /= s.mean()
    share = np.bincount(y, s, K) / n
    R = Z.copy()
    before = residual(R, y, s)

    b, change = balanced_intercepts(R, y, s, share)

    Z = Z + b
    assert_allclose(s @ softmax(Z, axis=1) / n, share, rtol=1e-2)
    after = s @ (logsumexp(Z, axis=1) - Z[np.arange(n), y])
    assert_allclose(change, (after - before) / n, rtol=1e-4)


def test_classes_that_cannot_have_their_share_are_no_error():
    """Scores so far apart that no curvature is left end with finite intercepts, and no rise."""
    Z = np.array([[1e4, 0.0, -1e4]] * 5)
    y, R = np.array([0, 1, 2, 2, 1]), Z.copy()
    residual(R, y, np.ones(5))

    b, change = balanced_intercepts(R, y, np.ones(5), np.array([0.2, 0.4, 0.4]))

    assert np.isfinite(b).all()
    assert change <= 0


@each_dtype
@pytest.mark.parametrize("seed", range(6))
def test_rows_that_are_sure_of_another_class_never_make_the_loss_seem_to_fall(seed, dtype):
    """Their residual does not say how unlikely their label is: the loss is not underestimated."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 7, 300)
    Z = (50 * rng.standard_normal((300, 7))).astype(dtype)
    R = Z.copy()
    before = residual(R, y, np.ones(300, dtype))

    b, change = balanced_intercepts(R, y, np.ones(300, dtype), np.bincount(y) / 300)

    Z = Z + b
    after = np.sum(logsumexp(Z, axis=1) - Z[np.arange(300), y])
    assert after <= before
    assert change >= (after - before) / 300 - 1e-5 * before / 300
