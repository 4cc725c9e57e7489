"""The dense engine reaches the optimum, on whatever data, and says so honestly."""

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from skl_softmax._optimum._centred_rows import CentredRows
from skl_softmax._optimum._newton import Newton
from skl_softmax._parameters import Parameters
from skl_softmax._penalties import Penalty
from skl_softmax._softmax import cross_entropy, residual, scores


def blobs(n=1000, d=8, n_classes=4, seed=0):
    """Overlapping classes, so that an optimum exists without a penalty."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n)
    return rng.normal(size=(n, d)) + rng.normal(size=(n_classes, d))[y], y


def engine(X, y, l2=1e-3, l1=0.0, weight=None, rows=None, fit_intercept=True, start=None, seed=0):
    """An engine that starts at zero, or at ``start``."""
    n, K = X.shape[0], int(y.max()) + 1
    rows = np.arange(n) if rows is None else rows
    weight = np.ones(n, X.dtype) if weight is None else weight.astype(X.dtype)
    if start is None:
        start = Parameters(np.zeros((X.shape[1], K), X.dtype), np.zeros(K, X.dtype))
    rng = np.random.RandomState(seed)
    rows = CentredRows(X, y, weight, rows, fit_intercept)
    return Newton(rows, Penalty(l2, l1), start, rng, 1e-3)


def fitted(*args, tol=1e-4, moves=200, **kwargs):
    """An engine that says it is within tol of the optimum."""
    found = engine(*args, **kwargs)
    for _ in range(moves):
        if found.gap <= tol * found.objective:
            return found
        found.epoch()
    raise AssertionError(f"gap {found.gap} of {found.objective} after {moves} moves")


def value(params, X, y, l2=1e-3, l1=0.0, weight=None):
    """F in float64 at the parameters."""
    W = params.coef.astype(np.float64)
    loss = cross_entropy(scores(X, W, params.intercept.astype(np.float64)), y)
    return np.average(loss, weights=weight) + l2 / 2 * (W**2).sum() + l1 * abs(W).sum()


def optimum(X, y, l2=1e-3, weight=None, fit_intercept=True):
    """The minimum of F by L-BFGS, in float64."""
    n, d = X.shape
    K = int(y.max()) + 1
    s = np.ones(n) if weight is None else weight / weight.mean()

    def objective(v):
        W, b = v[: d * K].reshape(d, K), v[d * K :] * fit_intercept
        Z = scores(X, W, b)
        R = s[:, None] * residual(Z, y) / n
        g = R.sum(axis=0) * fit_intercept
        F = s @ cross_entropy(Z, y) / n + l2 / 2 * (W**2).sum()
        return F, np.concatenate([(X.T @ R + l2 * W).ravel(), g])

    options = {"maxiter": 5000, "ftol": 1e-13, "gtol": 1e-10, "maxfun": 10000}
    return minimize(
        objective, np.zeros(d * K + K), jac=True, method="L-BFGS-B", options=options
    ).fun


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_optimum(dtype, order, fit_intercept):
    """The fit is at most 3 tol above the optimum, in either dtype and order of X."""
    X, y = blobs()
    X = np.asarray(X, dtype, order=order)

    found = fitted(X, y, fit_intercept=fit_intercept)

    best = optimum(X.astype(float), y, fit_intercept=fit_intercept)
    assert value(found.parameters(), X, y) - best <= 3e-4 * best
    assert found.parameters().coef.dtype == dtype


@pytest.mark.thinned("name", "alpha")
@pytest.mark.parametrize("name", [load_iris, load_wine, load_digits, load_breast_cancer])
@pytest.mark.parametrize("tol", [1e-3, 1e-4])
@pytest.mark.parametrize("alpha", [1e-3, 1e-5])
def test_gap_is_honest(name, tol, alpha):
    """On raw bundled data the objective is at most 3 tol above the optimum where the gap says 1."""
    X, y = name(return_X_y=True)

    found = fitted(X, y, l2=alpha, tol=tol)
    best = fitted(X, y, l2=alpha, tol=1e-9)

    assert found.objective - best.objective <= 3 * tol * best.objective


def test_what_the_softmax_does_not_see_is_left_out():
    """A start whose weights all have a mean over the classes: moves would never change it."""
    X, y = blobs()
    start = Parameters(np.arange(8.0)[:, None] * np.ones(4), np.zeros(4))

    found = fitted(X, y, l2=1e-5, tol=1e-6, start=start)

    best = optimum(X, y, l2=1e-5)
    assert abs(found.parameters().coef.mean(axis=1)).max() < 1e-12
    assert value(found.parameters(), X, y, l2=1e-5) - best <= 3e-6 * best


def test_two_classes_stay_symmetric():
    """The two columns of a binary problem are each other's negative."""
    X, y = blobs(n_classes=2)

    params = fitted(X, y).parameters()

    np.testing.assert_allclose(params.coef.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(params.intercept.sum(), 0, atol=1e-12)


def test_csr_equals_dense():
    """CSR rows give the same fit as dense ones, to rounding."""
    X, y = blobs()
    X[np.random.default_rng(0).random(X.shape) < 0.6] = 0

    dense, csr = fitted(X, y), fitted(sparse.csr_array(X), y)

    np.testing.assert_allclose(csr.parameters().coef, dense.parameters().coef, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("n", [200, 1000])
def test_other_rows_are_ignored(n):
    """Rows that do not count change nothing, whatever they hold."""
    X, y = blobs(n)
    among = np.full((2 * n, X.shape[1]), np.nan)
    among[1::2] = X

    found = fitted(among, np.repeat(y, 2), rows=np.arange(1, 2 * n, 2))

    np.testing.assert_array_equal(found.parameters().coef, fitted(X, y).parameters().coef)


def test_weights_equal_repetition_in_one_batch():
    """Rows of one batch with integer weights give the fit of repeated rows, to rounding."""
    X, y = blobs(80)
    times = np.random.default_rng(0).integers(1, 4, size=80)

    weighted = fitted(X, y, weight=times / times.mean())
    repeated = fitted(np.repeat(X, times, axis=0), np.repeat(y, times))

    for name in ("coef", "intercept"):
        np.testing.assert_allclose(
            getattr(weighted.parameters(), name), getattr(repeated.parameters(), name), rtol=1e-9
        )


def test_weighted_optimum():
    """Weights of many rows enter the objective as factors."""
    X, y = blobs()
    weight = np.random.default_rng(1).exponential(size=len(y))
    weight /= weight.mean()

    found = fitted(X, y, weight=weight)

    best = optimum(X, y, weight=weight)
    assert value(found.parameters(), X, y, weight=weight) - best <= 3e-4 * best


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scale_and_shift_do_not_matter(dtype):
    """Columns of 1e9, 1e-9 or far from 0 take the same moves to the same unpenalised loss."""
    X, y = blobs(2000)
    factors = 10.0 ** np.linspace(-9, 9, X.shape[1])
    shifts = np.linspace(0, 1000, X.shape[1])

    plain = fitted(X.astype(dtype), y, l2=0.0)
    scaled = fitted(((X + shifts) * factors).astype(dtype), y, l2=0.0)

    assert scaled.t == pytest.approx(plain.t, abs=3)
    assert scaled.objective == pytest.approx(plain.objective, rel=2e-4)


def test_degenerate_columns():
    """Constant, equal and empty columns need nothing from the user."""
    X, y = blobs(500)
    X = np.column_stack([X, X[:, 0], np.full(500, 7.0), np.zeros(500)])

    found = fitted(X, y)

    best = optimum(X - X.mean(axis=0), y)
    assert value(found.parameters(), X, y) - best <= 3e-4 * best


@pytest.mark.parametrize("n", [200, 3000])
def test_separable_without_penalty(n):
    """Without an optimum the objective falls below any tol, and everything stays finite."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 5)).astype(np.float32)
    y = X[:, :3].argmax(axis=1)
    found = engine(X, y, l2=0.0)

    for _ in range(60):
        found.epoch()
        if found.objective < 1e-3:
            break

    assert found.objective < 1e-3
    assert np.isfinite(found.parameters().coef).all()


def test_objective_never_rises():
    """Each move leaves the objective where it was or lower, on hostile data too."""
    X, y = blobs(3000)
    X[0] *= 1e8
    X[1:5] *= 1e4
    found = engine(X.astype(np.float32), y, l2=1e-6)
    seen = [found.objective]

    for _ in range(30):
        found.epoch()
        seen.append(found.objective)

    assert (np.diff(seen) <= 0).all()
    assert np.isfinite(found.parameters().coef).all()


def test_same_seed_same_fit():
    """The same state of the generator gives the same bits."""
    X, y = blobs()

    np.testing.assert_array_equal(
        fitted(X, y, seed=3).parameters().coef, fitted(X, y, seed=3).parameters().coef
    )


def test_warm_start_at_the_optimum_stops():
    """A start at the optimum is recognised by the first move."""
    X, y = blobs()
    start = fitted(X, y, tol=1e-9).parameters()

    found = engine(X, y, start=start)
    found.epoch()

    assert found.gap <= 1e-3 * found.objective


def test_gap_bounds():
    """The gap never exceeds the objective, which bounds it since the minimum is not negative."""
    X, y = blobs()
    found = engine(X, y)

    for _ in range(4):
        assert 0 <= found.gap <= found.objective
        found.epoch()


@pytest.mark.parametrize("l2", [0.0, 1e-3])
def test_l1(l2):
    """With l1 some weights are exactly zero and the subgradient vanishes."""
    X, y = blobs(600)
    l1 = 2e-2
    found = fitted(X, y, l2=l2, l1=l1, tol=1e-8)
    W, b = found.parameters().coef, found.parameters().intercept

    G = X.T @ residual(scores(X, W, b), y) / len(y) + l2 * W
    at_zero = W == 0

    assert 0 < at_zero.sum() < W.size
    assert (abs(G[at_zero]) <= l1 + 1e-6).all()
    np.testing.assert_allclose(G[~at_zero], -l1 * np.sign(W[~at_zero]), atol=1e-4)


def test_input_is_left_alone(tmp_path):
    """A read-only memory map serves as X."""
    X, y = blobs()
    path = tmp_path / "X.npy"
    np.save(path, X)

    mapped = np.load(path, mmap_mode="r")

    np.testing.assert_array_equal(
        fitted(mapped, y).parameters().coef, fitted(X, y).parameters().coef
    )


def test_wide():
    """More features than a full metric takes get a diagonal one."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2100)).astype(np.float32)
    y = (X[:, :3] + rng.normal(size=(400, 3))).argmax(axis=1)

    found = fitted(X, y, l2=1e-1)

    best = optimum(X.astype(float), y, l2=1e-1)
    assert value(found.parameters(), X, y, l2=1e-1) - best <= 3e-4 * best


@pytest.mark.parametrize(("n_doubted", "n_waited"), [(1, 1), (3, 3), (9, 4)])
def test_trust_returns_as_slowly_as_it_was_lost(n_doubted, n_waited, monkeypatch):
    """As many models as could not be believed must be before an estimate counts, at most 5."""
    engine_ = engine(*blobs(), l2=0.0)
    move = type("Move", (), {})()
    monkeypatch.setattr(engine_, "_newton", lambda: move.gap)
    found = []
    for move.gap in n_doubted * [np.inf] + 6 * [1e-9]:
        engine_.epoch()
        found.append(engine_.gap == engine_.objective)

    assert found == (n_doubted + n_waited) * [True] + (6 - n_waited) * [False]


def test_one_lucky_model_is_not_believed(monkeypatch):
    """After a model that foretold nothing, it takes some that foretell the decrease."""
    engine_ = engine(*blobs(), l2=0.0)
    gaps = iter([0.1, np.inf] + 5 * [1e-5])
    move = type("Move", (), {})()
    monkeypatch.setattr(engine_, "_newton", lambda: move.gap)
    found = []
    for move.gap in gaps:
        engine_.epoch()
        found.append(engine_.gap)

    F = engine_.objective
    np.testing.assert_allclose(found, [0.1, F, F, 1e-4, 1e-4, 1e-4, 1e-5])
