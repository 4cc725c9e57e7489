"""The rooms of the dense engine, each held to its formula."""

import numpy as np
import pytest

from skl_softmax import _kernels
from skl_softmax._penalties import Penalty
from skl_softmax._softmax import cross_entropy, residual, scores, softmax_jacobian
from skl_softmax._solvers._newton import Objective, System, newton
from skl_softmax._solvers._preconditioner import Curvature
from skl_softmax._solvers._rows import CentredRows, by_rows


def problem(n=300, d=5, n_classes=3, dtype=np.float64, seed=0):
    """Rows with columns of different means and scales, labels and uneven weights."""
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(n, d)) * np.arange(1, d + 1) + np.arange(d)).astype(dtype)
    y = rng.integers(n_classes, size=n)
    weight = rng.exponential(size=n).astype(dtype)
    return X, y, weight / weight.mean()


def centred(X, y, weight, fit_intercept=True):
    """All rows, seen through their centre."""
    return CentredRows(X, y, weight, np.arange(len(y)), fit_intercept)


def flat_hessian(X, Z, weight):
    """The Hessian of the mean loss in (W, b), by the softmax's Jacobian, row by row."""
    X = np.column_stack([X, np.ones(len(X))])
    terms = [
        s * np.kron(np.outer(x, x), softmax_jacobian(z))
        for x, z, s in zip(X, Z, weight, strict=True)
    ]
    return sum(terms) / len(X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_curve(dtype):
    """The kernel applies the softmax's Jacobian to scores, and the damping."""
    rng = np.random.default_rng(0)
    Z, U = rng.normal(size=(2, 6, 4)).astype(dtype)
    y, s = rng.integers(4, size=6), rng.exponential(size=6).astype(dtype)
    R = s[:, None] * residual(Z, y)
    expected = [si * (softmax_jacobian(z) @ u + 0.3 * u) for z, u, si in zip(Z, U, s, strict=True)]

    _kernels.curve(U, R, y, s, (0.3 * s).astype(dtype))

    np.testing.assert_allclose(U, expected, rtol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(10, 3), (8192, 3), (8193, 3), (200, 100)])
def test_by_rows(shape, order):
    """Rows taken several at a time give what they give one by one, in place or not."""
    rng = np.random.default_rng(0)
    B, row = np.asarray(rng.normal(size=shape), order=order), rng.normal(size=shape[1])
    expected = B - row

    np.testing.assert_array_equal(by_rows(np.subtract, B, row), expected)
    by_rows(np.subtract, B, row, in_place=True)
    np.testing.assert_array_equal(B, expected)


@pytest.mark.parametrize("far", [0.0, 1e4])
def test_some_rows(far):
    """Some rows, also repeated ones, are seen through the centre of all."""
    X, y, weight = problem(20000)
    rows = centred(X + far, y, weight)
    index = np.array([3, 5, 5, 19999])
    W, b = np.random.default_rng(1).normal(size=(5, 3)), np.ones(3)

    some = rows.some(index, np.ones(4))

    np.testing.assert_allclose(some.all_scores(W, b), rows.all_scores(W, b)[index], atol=1e-8)
    np.testing.assert_array_equal(some.y, y[index])
    np.testing.assert_array_equal(some.lengths, rows.lengths[index])


@pytest.mark.parametrize("n", [300, 20000])
@pytest.mark.parametrize("far", [0.0, 1e4])
def test_centred_products(n, far):
    """Scores and gradients are those of centred rows, held, read as they are, or shifted."""
    X, y, weight = problem(n)
    rows = centred(X + far, y, weight)
    W, b = np.random.default_rng(1).normal(size=(5, 3)), np.ones(3)
    R = residual(scores(X, W, b), y)
    C = X + far - rows.centre

    G, g = rows.gradient(R)

    np.testing.assert_allclose(rows.centre, np.average(X + far, axis=0, weights=weight))
    np.testing.assert_allclose(rows.all_scores(W, b), C @ W + b, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(G, C.T @ R / n, atol=1e-9)
    np.testing.assert_allclose(g, R.mean(axis=0), atol=1e-9)


def test_class_metric_inverts_the_diagonal_block():
    """A class's metric is the inverse of its block of the Hessian, for K = 2 of all of it."""
    X, y, weight = problem(n_classes=2)
    rows = centred(X, y, weight)
    W = np.random.default_rng(1).normal(size=(5, 1)) * [[-0.1, 0.1]]
    objective = Objective(rows, Penalty(0.3))
    point = objective.at(W, np.zeros(2))
    curvature = Curvature(rows, 2, 0.3, True, np.random.RandomState(0))
    G = np.random.default_rng(2).normal(size=(5, 1)) * [[-1, 1]]
    g = np.array([-0.5, 0.5])

    D, e = curvature.of_classes(point.residual, 0.0)(G, g)

    H = flat_hessian(X - rows.centre, point.scores, weight)
    H[:10, :10] += 0.3 * np.eye(10)
    back = H @ np.concatenate([D.ravel(), e])
    # To the ridge of 1e-6 that keeps the factor away from singular.
    np.testing.assert_allclose(back, np.concatenate([G.ravel(), g]), rtol=1e-5)


def test_bound_is_above_the_hessian():
    """The inverse of Bohning's metric is never less curved than the loss."""
    X, y, weight = problem()
    rows = centred(X, y, weight)
    metric = Curvature(rows, 3, 0.0, False, np.random.RandomState(0)).bound(0.5)
    point = Objective(rows, Penalty()).at(np.zeros((5, 3)), np.zeros(3))
    H = flat_hessian(X - rows.centre, point.scores, weight)

    for v in np.random.default_rng(0).normal(size=(20, 18)):
        D, e = metric(v[:15].reshape(5, 3), v[15:])
        applied = np.concatenate([D.ravel(), e])
        assert applied @ H @ applied <= v @ applied * (1 + 1e-6)


def test_newton_lowers_the_objective():
    """A move lowers F, and its point holds what a pass at its parameters would tell."""
    X, y, weight = problem()
    rows = centred(X, y, weight)
    objective = Objective(rows, Penalty(1e-3))
    point = objective.at(np.zeros((5, 3)), np.zeros(3))
    curvature = Curvature(rows, 3, 1e-3, True, np.random.RandomState(0))

    move = newton(objective, point, System(curvature.bound(1 / 3), 1e-3))

    again = objective.at(move.point.W, move.point.b)
    assert move.point.F < point.F
    np.testing.assert_allclose(move.point.F, again.F)
    np.testing.assert_allclose(move.point.residual, again.residual, atol=1e-12)
    np.testing.assert_allclose(move.point.G, again.G, atol=1e-12)
    Z = scores(X - rows.centre, again.W, again.b)
    penalty = 0.5e-3 * (again.W**2).sum()
    np.testing.assert_allclose(again.F, np.average(cross_entropy(Z, y), weights=weight) + penalty)


def test_sample_keeps_rare_columns():
    """A metric of some rows has the curvature of a column that hardly any row has."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20000, 6))
    X[:, -1] = 0
    X[rng.choice(len(X), 8, replace=False), -1] = 1
    y, weight = rng.integers(3, size=len(X)), np.ones(len(X))
    rows = centred(X, y, weight)
    residuals = Objective(rows, Penalty()).at(np.zeros((6, 3)), np.zeros(3)).residual

    blocks = Curvature(rows, 3, 0.0, True, np.random.RandomState(0)).blocks(residuals, 0.0)

    # At equal probabilities the block is K / (K - 1) p (1 - p) = 1 / 3 of the covariance, 1.
    for H, _, _ in blocks:
        np.testing.assert_allclose(np.diag(H), 1 / 3, rtol=0.2)
