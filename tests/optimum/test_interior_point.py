"""The barrier move: l1 on few rows of nearly collinear columns, with as few weights as need be."""

import numpy as np
import pytest
from helpers import uneven_rows
from numpy.testing import assert_allclose

from skl_softmax._optimum._centred_rows import CentredRows
from skl_softmax._optimum._interior_point import InteriorPoint, affordable, basic
from skl_softmax._optimum._newton_move import Objective
from skl_softmax._penalties import Penalty
from skl_softmax._softmax import softmax_jacobian


def smooth_columns(n=40, d=90, n_classes=3, seed=0):
    """Spectra: sums of a few bumps, so that neighbours are nearly the same column."""
    rng = np.random.default_rng(seed)
    centres, widths = rng.random(6), 0.03 + 0.1 * rng.random(6)
    bumps = np.exp(-0.5 * ((np.linspace(0, 1, d) - centres[:, None]) / widths[:, None]) ** 2)
    amounts = rng.gamma(2, 1, (n, 6))
    scores = amounts @ rng.standard_normal((6, n_classes)) + rng.gumbel(size=(n, n_classes))
    y = scores.argmax(axis=1)
    y[:n_classes] = np.arange(n_classes)
    return amounts @ bumps + 0.002 * rng.standard_normal((n, d)) + 0.5, y


def engine(X, y, weight=None, l1=1e-5, l2=0.0, fit_intercept=True):
    """A barrier, and the point at zero."""
    n, K = len(y), int(y.max()) + 1
    weight = np.ones(n) if weight is None else weight / weight.mean()
    rows = CentredRows(X, y, weight, np.arange(n), fit_intercept)
    objective = Objective(rows, Penalty(l2, l1))
    point = objective.at(np.zeros((X.shape[1], K)), np.zeros(K))
    return InteriorPoint(objective, 1 / rows.deviation, K), point


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_step_solves_the_system(n_classes, fit_intercept):
    """Woodbury's identity gives what the whole Hessian gives, weights and all."""
    X, y, weight = uneven_rows(n_classes=n_classes)
    barrier, _ = engine(X, y, weight, fit_intercept=fit_intercept)
    rng = np.random.default_rng(1)
    here = barrier._point(0.3 * rng.standard_normal((5, n_classes)), np.zeros(n_classes))
    theta = rng.exponential(size=(5, n_classes))
    G, g = rng.standard_normal((5, n_classes)), rng.standard_normal(n_classes)
    g -= g.mean()  # the intercepts' sum has no curvature

    D, e = barrier._solved(here, theta, G, g * fit_intercept)

    U = barrier._X @ D + e
    s = barrier.objective.rows.weight / len(y)
    U = np.array([a * softmax_jacobian(z) @ u for a, z, u in zip(s, here.scores, U, strict=True)])
    assert_allclose(barrier._X.T @ U + theta * D, G, rtol=1e-6, atol=1e-8)
    if fit_intercept:
        assert_allclose(U.sum(axis=0), g, rtol=1e-6, atol=1e-6)
    else:
        assert not e.any()


@pytest.mark.parametrize("l2", [0.0, 1e-7])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_moves_reach_the_optimum(n_classes, l2):
    """The objective never rises, and what the bounds leave is less than 1e-6 of it."""
    X, y = smooth_columns(n_classes=n_classes)
    barrier, point = engine(X, y, l2=l2)
    values, bound = [point.F], 0.0

    for _ in range(120):
        point, gap = barrier.move(point)
        values.append(point.F)
        bound = max(bound, point.F - gap)

    assert np.all(np.diff(values) <= 0)
    assert values[-1] - bound < 1e-6 * values[-1]
    end = barrier.finished(point)
    assert end.F <= point.F * (1 + 1e-12)
    if not l2:
        assert np.count_nonzero(end.W) <= (n_classes - 1) * len(y) * (2 if n_classes == 2 else 1)


@pytest.mark.parametrize(("n", "d"), [(12, 80), (12, 9), (1, 30)])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_basic_weights(n_classes, n, d):
    """The same scores up to a shift of a row, no larger norm, as few weights as rows determine."""
    rng = np.random.default_rng(0)
    X, W = rng.standard_normal((n, d)), rng.standard_normal((d, n_classes))
    W[:, -1] = -W[:, 0] if n_classes == 2 else W[:, -1]
    cost = rng.exponential(size=(d, 1))

    found = basic(X, W, cost)

    moved = X @ (found - W)
    assert_allclose(moved - moved.mean(axis=1, keepdims=True), 0, atol=1e-9)
    assert np.sum(cost * abs(found)) <= np.sum(cost * abs(W)) * (1 + 1e-12)
    most = n * (n_classes - 1) * (2 if n_classes == 2 else 1)
    assert np.count_nonzero(found) <= min(most, W.size)


def test_weights_that_are_basic_stay():
    """Independent columns are left alone."""
    X = np.random.default_rng(0).standard_normal((6, 20))
    W = np.zeros((20, 3))
    W[2, 0], W[5, 1], W[7, 2] = 1.0, -2.0, 3.0

    assert_allclose(basic(X, W, np.ones((20, 1))), W)


def test_a_barrier_that_is_at_the_optimum_goes_on():
    """Moves that gain nothing any more stay, and no number overflows."""
    barrier, point = engine(*smooth_columns(n=12, d=20))
    for _ in range(300):
        point, gap = barrier.move(point)

    assert np.isfinite(point.W).all()
    assert 0 <= gap < 1e-6 * point.F


def test_only_what_costs_little():
    """A system of n K, and products of n^2 d K."""
    assert affordable(200, 400, 3)
    assert not affordable(600, 10, 3)
    assert not affordable(200, 10000, 3)
