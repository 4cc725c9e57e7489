"""The seed: every line of its derivation against finite differences, and safety at any score."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from skl_softmax import _softmax

N, D, K = 6, 4, 3
ETA = 0.3
# Central differences with this step are good to about 1e-10 (step^2 plus rounding / step).
STEP, CLOSE = 1e-5, {"rtol": 1e-8, "atol": 1e-9}
EXTREME = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4], [0.0, 710.0, -750.0]])


@pytest.fixture
def rng():
    """Random numbers that are the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture(params=["unweighted", "weighted"])
def problem(request, rng):
    """Parameters, rows, labels and weights of a small problem."""
    s = np.ones(N) if request.param == "unweighted" else rng.uniform(0.1, 3, N)
    W, b, X = rng.standard_normal((D, K)), rng.standard_normal(K), rng.standard_normal((N, D))
    return W, b, X, rng.integers(0, K, N), s


def slope(f, x):
    """Derivative of ``f`` (of any shape) by every entry of ``x``: shape of f, then that of x."""
    columns = []
    for position in range(x.size):
        change = np.zeros(x.size)
        change[position] = STEP
        change = change.reshape(x.shape)
        columns.append((f(x + change) - f(x - change)) / (2 * STEP))
    columns = np.stack(columns, axis=-1)
    return columns.reshape(*columns.shape[:-1], *x.shape)


def mean_loss(W, b, X, y, s):
    """The batch objective: mean over the rows of ``s CE``."""
    return np.mean(s * _softmax.cross_entropy(_softmax.scores(X, W, b), y))


def test_jacobian_is_the_slope_of_softmax(rng):
    """Line 1: dS_i / dz_j is S_i (delta_ij - S_j)."""
    z = rng.standard_normal(5)

    numeric = slope(lambda v: _softmax.softmax(v[None])[0], z)

    assert_allclose(_softmax.softmax_jacobian(z), numeric, **CLOSE)


@pytest.mark.parametrize("label", range(K))
def test_residual_is_the_slope_in_the_scores(label, rng):
    """Line 2: dCE / dz is S - y, whatever the label."""
    z, y = rng.standard_normal(K), np.array([label])

    numeric = slope(lambda v: _softmax.cross_entropy(v[None], y)[0], z)

    assert_allclose(_softmax.residual(z[None], y)[0], numeric, **CLOSE)


def test_chain_rule_gives_the_residual(rng):
    """Line 2 follows from line 1: the slope of -sum y log S through the Jacobian is S - y."""
    z, y = rng.standard_normal(K), np.array([1])

    by_proba = np.zeros(K)
    by_proba[1] = -1 / _softmax.softmax(z[None])[0, 1]

    assert_allclose(by_proba @ _softmax.softmax_jacobian(z), _softmax.residual(z[None], y)[0])


def test_slope_in_the_weights_of_one_row(rng):
    """Line 3: dCE / dW is x^T (S - y) and dCE / db is S - y."""
    W, b, x = rng.standard_normal((D, K)), rng.standard_normal(K), rng.standard_normal((1, D))
    y, s = np.array([2]), np.ones(1)

    r = _softmax.residual(_softmax.scores(x, W, b), y)[0]

    assert_allclose(np.outer(x, r), slope(lambda V: mean_loss(V, b, x, y, s), W), **CLOSE)
    assert_allclose(r, slope(lambda c: mean_loss(W, c, x, y, s), b), **CLOSE)


def test_batch_gradient_is_the_slope_of_the_mean_loss(problem):
    """Line 4: G is the slope of the weighted mean loss, in W and in b."""
    W, b, X, y, s = problem

    R = s[:, None] * _softmax.residual(_softmax.scores(X, W, b), y)
    G, g = _softmax.batch_gradient(X, R)

    assert_allclose(G, slope(lambda V: mean_loss(V, b, X, y, s), W), **CLOSE)
    assert_allclose(g, slope(lambda c: mean_loss(W, c, X, y, s), b), **CLOSE)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_batch_update_is_the_triple_loop(container, problem):
    """The seed is W - eta/B sum_i x_i^T s_i (S(z_i) - y_i), entry by entry, dense and CSR."""
    W, b, X, y, s = problem
    W_expected, b_expected = W.copy(), b.copy()
    for i in range(N):
        z = [sum(X[i, j] * W[j, k] for j in range(D)) + b[k] for k in range(K)]
        for k in range(K):
            r = s[i] * (np.exp(z[k]) / sum(np.exp(z)) - (y[i] == k))
            for j in range(D):
                W_expected[j, k] -= ETA / N * X[i, j] * r
            b_expected[k] -= ETA / N * r

    W_new, b_new = _softmax.batch_update(W, b, container(X), y, s, ETA)

    assert_allclose(W_new, W_expected)
    assert_allclose(b_new, b_expected)


def test_batch_update_makes_new_arrays(problem):
    """The seed changes none of its arguments."""
    before = [array.copy() for array in problem]

    _softmax.batch_update(*problem, ETA)

    for array, expected in zip(problem, before, strict=True):
        assert_array_equal(array, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_rows_sum_to_one(dtype):
    """Probabilities lie in [0, 1] and sum to one, at scores of 1e4 too."""
    S = _softmax.softmax(EXTREME.astype(dtype))

    assert S.dtype == dtype
    assert S.min() >= 0
    assert_allclose(S.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("function", [_softmax.softmax, _softmax.log_softmax])
def test_shift_invariance(function, rng):
    """Adding a constant to the scores of a row changes nothing."""
    Z = rng.standard_normal((N, K))
    shift = rng.uniform(-50, 50, (N, 1))

    # The sum Z + shift is rounded at the size of the shift: 50 * 2e-16.
    assert_allclose(function(Z + shift), function(Z), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_softmax_is_finite_where_softmax_underflows(dtype):
    """A class with probability 0.0 still has a finite log-probability, and the right one."""
    Z = EXTREME.astype(dtype)

    found = _softmax.log_softmax(Z)

    assert (_softmax.softmax(Z) == 0).any()
    assert np.isfinite(found).all()
    assert_allclose(found[0], [0, -2e4, -1e4])


def test_log_softmax_is_the_logarithm_of_softmax(rng):
    """Where nothing underflows, log_softmax is log(softmax)."""
    Z = rng.standard_normal((N, K))

    assert_allclose(_softmax.log_softmax(Z), np.log(_softmax.softmax(Z)))


def test_cross_entropy_is_the_log_probability_of_the_label(rng):
    """The loss of a row is minus the log-probability of its label."""
    Z, y = rng.standard_normal((N, K)), rng.integers(0, K, N)

    expected = [-np.log(_softmax.softmax(Z))[i, y[i]] for i in range(N)]

    assert_allclose(_softmax.cross_entropy(Z, y), expected)


def test_cross_entropy_at_zero_scores_is_log_n_classes():
    """Without knowledge the loss is log K."""
    assert_allclose(_softmax.cross_entropy(np.zeros((2, K)), np.array([0, 2])), np.log(K))
