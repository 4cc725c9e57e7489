"""Proximal Newton reaches the optimum with l1, with exact zeros, and says so honestly."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from skl_softmax._optimum import _kernels, _proximal_move
from skl_softmax._optimum._centred_rows import CentredRows
from skl_softmax._optimum._metric import Curvature
from skl_softmax._optimum._newton import Newton
from skl_softmax._optimum._newton_move import Objective
from skl_softmax._optimum._proximal_move import (
    ProximalNewton,
    least_shift,
    minimise,
)
from skl_softmax._parameters import Parameters
from skl_softmax._penalties import Penalty
from skl_softmax._softmax import residual, scores

SETS = {
    "iris": load_iris,
    "wine": load_wine,
    "digits": load_digits,
    "breast_cancer": load_breast_cancer,
}


def engine(X, y, l1, l2=0.0, weight=None, fit_intercept=True, start=None):
    """The dense engine before its first epoch."""
    n, K = len(y), int(y.max()) + 1
    weight = np.ones(n) if weight is None else weight
    rows = np.flatnonzero(weight)
    weight = (weight / weight[rows].mean()).astype(X.dtype)
    if start is None:
        start = Parameters(np.zeros((X.shape[1], K), X.dtype), np.zeros(K, X.dtype))
    rng = np.random.RandomState(0)
    rows = CentredRows(X, y, weight, rows, fit_intercept)
    return Newton(rows, Penalty(l2, l1), start, rng, 1e-3)


def fitted(*args, tol=1e-3, epochs=50, **kwargs):
    """An engine that says it is within tol of the optimum."""
    found = engine(*args, **kwargs)
    for _ in range(epochs):
        found.epoch()
        if found.gap <= tol * found.objective:
            return found
    raise AssertionError(f"gap {found.gap} of {found.objective} after {epochs} epochs")


def proba(params, X):
    """Probabilities of the rows."""
    Z = scores(X, params.coef, params.intercept)
    Z = np.exp(Z - Z.max(axis=1, keepdims=True))
    return Z / Z.sum(axis=1, keepdims=True)


def violation(params, X, y, l1, l2=0.0, weight=None, fit_intercept=True):
    """Largest breach of the optimality conditions, of weights in units of l1."""
    weight = np.ones(len(y)) if weight is None else weight
    R = residual(scores(X, params.coef, params.intercept), y) * weight[:, None] / weight.sum()
    W, G = params.coef, X.T @ R + l2 * params.coef
    breach = np.where(W != 0, abs(G + l1 * np.sign(W)), np.maximum(abs(G) - l1, 0)).max() / l1
    return max(breach, abs(R.sum(axis=0)).max() if fit_intercept else 0.0)


def test_hessian_of_float32_rows_is_semidefinite():
    """Probabilities whose sum is 1 to a float only made it indefinite, and factors fail."""
    rng = np.random.default_rng(0)
    y = np.arange(300) % 5
    X = (rng.standard_normal((5, 300))[y] + rng.standard_normal((300, 300))).astype(np.float32)
    found = engine(X, y, l1=1e-4)
    point = found._objective.at(0.1 * rng.standard_normal((300, 5)), np.zeros(5))
    features, classes = (a.ravel() for a in np.meshgrid(np.arange(300), np.arange(5)))

    H = found._proximal._hessian(point, features, classes)

    values = np.linalg.eigvalsh(H)
    assert len(H) == 1505
    assert values[0] > -1e-14 * len(H) * values[-1]


@pytest.mark.thinned("name", "ratio")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ratio", [1.0, 0.15])
@pytest.mark.parametrize("name", SETS)
def test_gap_is_honest(name, ratio, dtype):
    """Raw bundled sets: where the gap says converged, the true one is at most tol."""
    X, y = (A[:600] for A in SETS[name](return_X_y=True))
    for alpha in (1e-2, 1e-5):
        penalty = alpha * ratio, alpha * (1 - ratio)
        best = fitted(X, y, *penalty, tol=1e-9).objective
        for tol in (1e-3, 1e-4):
            found = fitted(X.astype(dtype), y, *penalty, tol=tol)
            assert found.objective - best <= tol * best


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("l2", [0.0, 1e-3])
def test_optimality_conditions(l2, fit_intercept):
    """The subgradient contains 0, and some weights are exactly 0."""
    X, y = load_wine(return_X_y=True)
    X = X - X.mean(axis=0) + X.std(axis=0)
    weight = np.random.default_rng(0).integers(0, 4, size=len(y)).astype(float)
    case = {"weight": weight, "fit_intercept": fit_intercept}

    engine_ = engine(X, y, 1e-2, l2, **case)
    for _ in range(15):
        engine_.epoch()
    found = engine_.parameters()

    assert violation(found, X, y, 1e-2, l2, **case) < 1e-5
    if not l2:
        assert 0 < np.count_nonzero(found.coef == 0) < found.coef.size
    assert found.intercept.any() == fit_intercept


def test_two_classes_mirror_each_other():
    """For two classes the columns stay -w/2 and w/2 to the last bit."""
    X, y = load_breast_cancer(return_X_y=True)
    found = fitted(X, y, 1e-3).parameters()
    np.testing.assert_array_equal(found.coef[:, 0], -found.coef[:, 1])
    np.testing.assert_array_equal(found.coef[:, 0] == 0, found.coef[:, 1] == 0)


@pytest.mark.parametrize("ratio", [1.0, 0.15])
@pytest.mark.parametrize("seed", [42, 0, 1])
def test_weights_equal_repetition(seed, ratio, monkeypatch):
    """15 rows of 30 features, nearly separable: weights equal repeated, permuted rows."""
    # More rows are another system; `OptimumFit` merges those that are equal.
    monkeypatch.setattr(_proximal_move, "affordable", lambda *_: False)
    rng = np.random.RandomState(seed)
    X, y, times = rng.rand(15, 30), rng.randint(0, 3, size=15), rng.randint(0, 5, size=15)
    penalty = 1e-5 * ratio, 1e-5 * (1 - ratio)
    order = rng.permutation(np.repeat(np.arange(15), times))

    weighted = fitted(X, y, *penalty, weight=times.astype(float))
    repeated = fitted(X[order], y[order], *penalty)

    np.testing.assert_allclose(
        proba(weighted.parameters(), X), proba(repeated.parameters(), X), rtol=1e-8
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_warm_start_at_the_optimum(dtype):
    """A fitted model is recognised within two epochs."""
    X, y = load_digits(return_X_y=True)
    X = X.astype(dtype)
    start = fitted(X, y, 1e-3, tol=1e-5).parameters()
    fitted(X, y, 1e-3, start=start, epochs=2)


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_small_working_sets(name, monkeypatch):
    """Where the working set is cut, random parts and polishing reach the same optimum."""
    X, y = SETS[name](return_X_y=True)
    X = X[:600]
    y = y[:600]
    best = fitted(X, y, 1e-4, tol=1e-6).objective

    monkeypatch.setattr(_proximal_move, "_MOST", X.shape[1] // 2)
    monkeypatch.setattr(_proximal_move, "_FEW", X.shape[1] // 2)
    found = fitted(X, y, 1e-4, tol=1e-3, epochs=200)

    assert found.objective - best <= 3e-3 * best


def test_nothing_but_zeros():
    """A penalty above every gradient leaves all weights at 0, with or without intercepts."""
    X, y = load_iris(return_X_y=True)
    for fit_intercept in (True, False):
        found = fitted(X, y, 100.0, fit_intercept=fit_intercept)
        assert not found.parameters().coef.any()


def test_objective_never_rises():
    """Each epoch ends at or below where it began, and the gap never exceeds the objective."""
    X, y = load_digits(return_X_y=True)
    found = engine(X, y, 1e-5)
    for _ in range(8):
        before = found.objective
        found.epoch()
        assert found.objective <= before
        assert 0 <= found.gap <= found.objective


def test_minimise():
    """Rough or precise, the model's minimum satisfies its optimality conditions."""
    rng = np.random.default_rng(0)
    A = rng.normal(size=(60, 40))
    H, first = A.T @ A / 60, rng.normal(size=40)
    reach = np.r_[np.full(38, 0.5), 0, 0]
    for rounds, atol in ((0, 0.05), (8, 1e-6)):
        w, g = np.zeros(40), first.copy()
        decrease, _ = minimise(H, reach, w, g, rounds)
        np.testing.assert_allclose(g, first + H @ w, atol=1e-10)
        assert decrease == pytest.approx(-(first @ w + w @ H @ w / 2 + reach @ abs(w)))
        breach = np.where(w != 0, abs(g + reach * np.sign(w)), np.maximum(abs(g) - reach, 0))
        assert breach.max() < atol


def test_descend_counts_its_sweeps():
    """Coordinate descent on a diagonal model needs a sweep over all and one that gains nothing."""
    w, g = np.zeros(3), np.array([-3.0, 0.5, 2.0])
    sweeps = _kernels.descend(np.diag([1.0, 2.0, 4.0]), np.ones(3), w, g, 100, 1e-3)
    np.testing.assert_allclose(w, [2, 0, -0.25])
    np.testing.assert_allclose(g, [-1, 0.5, 1])
    assert sweeps == 3


@pytest.mark.parametrize("n_classes", [3, 4])
@pytest.mark.parametrize("l2", [0.0, 0.3, 3.0])
def test_least_shift(l2, n_classes):
    """No other shift of a feature's weights has a smaller penalty."""
    penalty = Penalty(l2, 1.0)
    W = np.random.default_rng(0).normal(size=(1, n_classes))
    found = least_shift(W, l2, 1.0)
    for shift in np.linspace(-2, 2, 401):
        other = W - shift
        assert penalty.value((found**2).sum(), abs(found).sum()) <= 1e-12 + penalty.value(
            (other**2).sum(), abs(other).sum()
        )


def wine(l2, l1=2e-2):
    """The move and the first point on wine, standardised, with weights."""
    X, y = load_wine(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    weight = np.random.default_rng(0).exponential(size=len(y))
    rows = CentredRows(X, y, weight / weight.mean(), np.arange(len(y)), True)
    objective, rng = Objective(rows, Penalty(l2, l1)), np.random.RandomState(0)
    move = ProximalNewton(objective, Curvature(rows, 3, l2, False, rng), False, rng)
    return move, objective.at(np.zeros((13, 3)), np.log(np.bincount(y, weight)))


@pytest.mark.parametrize("l2", [0.0, 1e-2])
def test_duality_gap_is_an_upper_bound(l2):
    """The duality gap is at least the true one, and vanishes at the optimum."""
    move, point = wine(l2)
    seen = []
    for _ in range(15):
        point, gap = move.move(point)
        seen.append((point.F, gap))

    assert all(gap >= F - point.F - 1e-12 for F, gap in seen)
    assert seen[-1][1] <= 1e-9


def test_hessian_of_the_working_set():
    """It is the change of the gradient along a step, in columns of deviation 1."""
    move, point = wine(0.0)
    point, _ = move.move(point)
    features, classes = np.array([0, 3, 5, 1, 3]), np.array([0, 0, 0, 1, 2])
    scale = move.curvature.scale[features]
    H = move._hessian(point, features, classes)

    step = np.random.default_rng(0).normal(size=8) * 1e-5
    sides = []
    for sign in (1, -1):
        W = point.W.copy()
        W[features, classes] += sign * step[:5] * scale
        moved = move.objective.at(W, point.b + sign * step[5:])
        sides.append(np.concatenate([moved.G[features, classes] * scale, moved.g]))

    np.testing.assert_allclose(H @ step, (sides[0] - sides[1]) / 2, rtol=1e-4, atol=1e-11)
