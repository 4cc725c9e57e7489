"""A Newton move: the curvature that it sees, and that it lowers the objective."""

import numpy as np
import pytest
from helpers import uneven_rows

from skl_softmax._optimum import _kernels
from skl_softmax._optimum._centred_rows import CentredRows
from skl_softmax._optimum._metric import Curvature
from skl_softmax._optimum._newton_move import Objective, System, newton
from skl_softmax._penalties import Penalty
from skl_softmax._softmax import cross_entropy, residual, scores, softmax_jacobian


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


def test_newton_lowers_the_objective():
    """A move lowers F, and its point holds what a pass at its parameters would tell."""
    X, y, weight = uneven_rows()
    rows = CentredRows(X, y, weight, np.arange(len(y)), True)
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
