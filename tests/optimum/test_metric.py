"""The metrics of Newton's method: the inverse of each class's own curvature, or of a bound."""

import numpy as np
import pytest
from helpers import uneven_rows

from skl_softmax._optimum._centred_rows import CentredRows
from skl_softmax._optimum._metric import Curvature
from skl_softmax._optimum._newton_move import Objective
from skl_softmax._penalties import Penalty
from skl_softmax._softmax import softmax_jacobian


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


def test_class_metric_inverts_the_diagonal_block():
    """A class's metric is the inverse of its block of the Hessian, for K = 2 of all of it."""
    X, y, weight = uneven_rows(n_classes=2)
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


@pytest.mark.parametrize(("n", "d", "n_blocks"), [(200, 80, 6), (200, 100, 1), (40, 60, 1)])
def test_one_metric_for_all_classes_where_more_are_dear(n, d, n_blocks):
    """It is of their mean curvature."""
    rng = np.random.default_rng(0)
    X, y, weight = rng.standard_normal((n, d)), np.arange(n) % 6, np.ones(n)
    rows = centred(X, y, weight)
    W = rng.standard_normal((d, 6)) / d
    point = Objective(rows, Penalty(0.1)).at(W, np.zeros(6))
    curvature = Curvature(rows, 6, 0.1, True, np.random.RandomState(0))

    metric = curvature.of_classes(point.residual, 0.0)

    blocks = [H + h * np.outer(m, m) for H, m, h in curvature.blocks(point.residual, 0.0)]
    assert len(metric.inverse) == len(blocks) == n_blocks
    P = point.residual + np.eye(6)[y]
    A = (X - rows.centre) * curvature.scale
    undecided = 6 / 5 * np.mean(P * (1 - P), axis=1)
    expected = A.T @ (undecided[:, None] * A) / n
    np.testing.assert_allclose(np.tril(sum(blocks)) / n_blocks, np.tril(expected), atol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_whose_squares_are_no_floats(dtype, n_classes):
    """Such rows count for nothing, and make no NaN."""
    X, y = (
        np.random.default_rng(0).standard_normal((60, 4)).astype(dtype),
        np.arange(60) % n_classes,
    )
    weight = np.where(np.arange(60) % 4, 1, np.finfo(dtype).tiny * 1e3).astype(dtype)
    rows = centred(X, y, weight)
    point = Objective(rows, Penalty()).at(np.zeros((4, n_classes)), np.zeros(n_classes))

    for H, mean, h in Curvature(rows, n_classes, 0.0, True, np.random.RandomState(0)).blocks(
        point.residual, 1e-4
    ):
        assert h == pytest.approx(0.75 * (1 + 1e-4) / n_classes, rel=1e-5)
        assert np.isfinite(H).all()
        assert np.isfinite(mean).all()


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_decided_rows_have_a_small_floor(dtype, n_classes):
    """A multiple of their own curvature, far below rounding of 1 too: else CG solves nothing."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 4)).astype(dtype)
    y, weight = np.arange(60) % n_classes, rng.uniform(0.5, 2, size=60)
    weight /= weight.mean()
    rows = centred(X, y, weight.astype(dtype))
    p = 10.0 ** -rng.uniform(8, 12, size=60)  # of all classes but the label's
    residual = np.repeat(p[:, None] / (n_classes - 1), n_classes, axis=1)
    residual[np.arange(60), y] = -p
    residual *= weight[:, None]
    curvature = Curvature(rows, n_classes, 0.0, True, np.random.RandomState(0))

    without = list(curvature.blocks(residual.astype(dtype), 0.0))
    found = list(curvature.blocks(residual.astype(dtype), 1.0, 1e-9))

    for (H, _, h), (raised, _, more) in zip(without, found, strict=True):
        mean = 2 * np.mean(weight * p) / (n_classes - 1)
        np.testing.assert_allclose(more - h, 1e-9 + mean, rtol=1e-5)
        np.testing.assert_allclose(raised - H, (more - h) * curvature.C, rtol=1e-4, atol=1e-13)


def test_products_pay_for_a_metric_of_each_class():
    """Once as many were made as would have cost the same, unless they would take a GB."""
    X = np.random.default_rng(0).standard_normal((40, 60))
    rows = centred(X, np.arange(40) % 6, np.ones(40))
    curvature, huge = (
        Curvature(rows, K, 0.1, True, np.random.RandomState(0)) for K in (6, 1 << 17)
    )
    enough = 60 * (60 + 40) // (4 * 40) + 1

    changed = [curvature.afford(products) for products in (0, enough - 1, enough, enough + 1)]

    assert changed == [False, False, True, False]
    assert curvature.n_blocks == 6
    assert not huge.afford(10**9)
    assert huge.n_blocks == 1


def test_bound_is_above_the_hessian():
    """The inverse of Bohning's metric is never less curved than the loss."""
    X, y, weight = uneven_rows()
    rows = centred(X, y, weight)
    metric = Curvature(rows, 3, 0.0, False, np.random.RandomState(0)).bound(0.5)
    point = Objective(rows, Penalty()).at(np.zeros((5, 3)), np.zeros(3))
    H = flat_hessian(X - rows.centre, point.scores, weight)

    for v in np.random.default_rng(0).normal(size=(20, 18)):
        D, e = metric(v[:15].reshape(5, 3), v[15:])
        applied = np.concatenate([D.ravel(), e])
        assert applied @ H @ applied <= v @ applied * (1 + 1e-6)


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
