"""The automatic step: the smoothness at every batch size, and that its inverse is safe."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose

from skl_softmax._softmax import batch_update, cross_entropy, scores
from skl_softmax._textbook._smoothness import smoothness

N, D = 60, 5
# The power iteration promises about 5%, and comes from below.
EIGENVALUE = {"rtol": 0.05}


def of(X, weight=None, batch_size=1, fit_intercept=True, **options):
    """Smoothness of all rows of X."""
    n = X.shape[0]
    weight = np.ones(n) if weight is None else weight
    return smoothness(X, weight, np.arange(n), batch_size, fit_intercept, **options)


def top_eigenvalue(X, weight, fit_intercept=True):
    """Largest eigenvalue of 1/2 (X, 1)^T diag(s) (X, 1) / n, by LAPACK."""
    if fit_intercept:
        X = np.column_stack([X, np.ones(len(X))])
    return np.linalg.eigvalsh(X.T @ (weight[:, None] * X) / len(X) / 2)[-1]


@pytest.fixture
def rng():
    """Random numbers that are the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture
def X(rng):
    """Rows of which a third of the entries are zero and one column is 100 times as long."""
    X = rng.standard_normal((N, D)) * (rng.uniform(size=(N, D)) > 1 / 3)
    X[:, 2] *= 100
    return X


@pytest.fixture
def weight(rng):
    """One weight a row."""
    return rng.uniform(0.1, 3, N)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_one_row_a_batch(fit_intercept, X, weight):
    """At B = 1 it is the largest s/2 (||x||^2 + 1), without the 1 if there is no intercept."""
    expected = np.max(weight / 2 * (np.sum(X**2, axis=1) + fit_intercept))

    assert_allclose(of(X, weight, 1, fit_intercept), expected)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_all_rows_a_batch(fit_intercept, X, weight):
    """At B = n it is the top eigenvalue of the bound on the Hessian, to a few percent."""
    expected = top_eigenvalue(X, weight, fit_intercept)

    assert_allclose(of(X, weight, N, fit_intercept), expected, **EIGENVALUE)


@pytest.mark.parametrize("batch_size", [2, 7, N // 2, N - 1])
def test_in_between(batch_size, X, weight):
    """Between the ends it is the mixture that expected smoothness prescribes."""
    rest = (N - batch_size) / (batch_size * (N - 1))
    mean, largest = top_eigenvalue(X, weight), of(X, weight, 1)

    expected = (1 - rest) * mean + rest * largest

    assert_allclose(of(X, weight, batch_size), expected, **EIGENVALUE)


def test_larger_batches_are_smoother(X):
    """It falls from batch size to batch size, so that the step grows."""
    values = [of(X, batch_size=batch_size) for batch_size in range(1, N + 1)]

    assert np.all(np.diff(values) < 0)


def test_batch_larger_than_the_data(X):
    """A batch size above the number of rows means all rows."""
    assert of(X, batch_size=10 * N) == of(X, batch_size=N)


def test_weights_equal_repetition(X, rng):
    """With all rows in the batch, integer weights of mean one equal repeated rows."""
    counts = rng.integers(1, 4, N)

    weighted = of(X, counts / counts.mean(), N)
    repeated = of(np.repeat(X, counts, axis=0), None, counts.sum())

    assert_allclose(weighted, repeated)


def test_rows_outside_the_selection_do_not_count(X, weight):
    """Only the rows that are visited count."""
    rows = np.arange(0, N, 3)

    found = smoothness(X, weight, rows, 4, True)

    assert_allclose(found, of(X[rows], weight[rows], 4))


@pytest.mark.parametrize("batch_size", [1, 7, N])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_csr_equals_dense(dtype, batch_size, X, weight):
    """CSR rows are exactly as smooth as the same dense rows."""
    X, weight = X.astype(dtype), weight.astype(dtype)

    assert_allclose(of(sp.csr_array(X), weight, batch_size), of(X, weight, batch_size))


def test_csr_with_duplicate_entries():
    """Entries of the same row and column add up before they are squared."""
    X = sp.csr_array((np.array([1.0, 2.0]), np.array([0, 0]), np.array([0, 2])), shape=(1, 1))

    assert_allclose(of(X, fit_intercept=False), 4.5)


@pytest.mark.parametrize("batch_size", [1, 7, N])
def test_memory_layout_does_not_matter(batch_size, X):
    """F-ordered, strided and read-only rows are as smooth as their C-ordered copy."""
    strided = np.zeros((2 * N, 2 * D))[::2, ::2]
    strided[:] = X
    frozen = X.copy()
    frozen.flags.writeable = False

    for other in (np.asfortranarray(X), strided, frozen):
        assert_allclose(of(other, batch_size=batch_size), of(X, batch_size=batch_size))


@pytest.mark.parametrize("batch_size", [1, N])
def test_float32_whose_square_overflows(batch_size, X):
    """Squares are taken in float64: float32 rows of 1e25 have a finite smoothness."""
    X_short = (X * 1e25).astype(np.float32)

    expected = of(X_short.astype(np.float64), batch_size=batch_size)

    assert_allclose(of(X_short, batch_size=batch_size), expected)


def test_rows_of_more_than_one_block(rng):
    """Many rows, read block by block, give the same as the formula on the whole."""
    X = rng.standard_normal((5000, 3)) * [1, 2, 4]

    assert_allclose(of(X), np.max(np.sum(X**2, axis=1) + 1) / 2)
    assert_allclose(of(X, batch_size=5000), top_eigenvalue(X, np.ones(5000)), **EIGENVALUE)


def test_sample_of_the_rows_is_enough(rng):
    """Where only some rows enter the eigenvalue, the result is still within a few percent."""
    n, batch_size = 20_000, 16
    X = rng.standard_normal((n, 3))
    rest = (n - batch_size) / (batch_size * (n - 1))

    expected = (1 - rest) * top_eigenvalue(X, np.ones(n)) + rest * of(X)

    assert_allclose(of(X, batch_size=batch_size), expected, rtol=0.05)


@pytest.mark.parametrize("frequent", [2, 5, 50])
def test_flat_spectrum_does_not_hide_the_top(frequent):
    """One category that is some times as frequent as each of many others is found.

    A random start has hardly any share in the top eigenvector here, and the value of the power
    iteration stands still at first.
    """
    n = 4000
    columns = np.maximum(np.arange(n) - frequent + 1, 0)
    X = sp.csr_array((np.ones(n), (np.arange(n), columns)))

    found = of(X, batch_size=n, fit_intercept=False)

    assert_allclose(found, 0.5 * frequent / n, **EIGENVALUE)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("batch_size", [1, 7, N])
def test_momentum_enlarges_the_noise_alone(batch_size, momentum, X):
    """Momentum multiplies the share of the largest row by 1 / (1 - m), and nothing else."""
    rest = (N - batch_size) / (batch_size * (N - 1))

    expected = of(X, batch_size=batch_size) + rest * of(X) * (1 / (1 - momentum) - 1)

    assert_allclose(of(X, batch_size=batch_size, momentum=momentum), expected)


@pytest.mark.parametrize(("fit_intercept", "expected"), [(True, 0.5), (False, 0.0)])
@pytest.mark.parametrize("batch_size", [1, 3, N])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_zero_rows(container, batch_size, fit_intercept, expected):
    """Rows of zeros are curved by the intercept alone."""
    X = container(np.zeros((N, D)))

    assert_allclose(of(X, batch_size=batch_size, fit_intercept=fit_intercept), expected)


def test_one_row():
    """A single row has the smoothness of its one batch."""
    assert_allclose(of(np.array([[3.0, 4.0]]), batch_size=32), 13)


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e30, 1e60, 1e100])
@pytest.mark.parametrize("batch_size", [1, 7, N])
def test_scales_with_the_square_of_the_rows(batch_size, scale, X):
    """Without an intercept, rows c times as long are c^2 times as curved, for any c."""
    expected = scale**2 * of(X, batch_size=batch_size, fit_intercept=False)

    found = of(scale * X, batch_size=batch_size, fit_intercept=False)

    assert_allclose(found, expected)


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("scales", [[1, 1, 1, 1, 1], [1e-6, 1e-3, 1, 1e3, 1e6], [1, 1, 1, 1, 1e4]])
def test_gradient_descent_never_rises(scales, n_classes, rng):
    """With step 1/L the objective falls at every full-batch step, on badly scaled rows too."""
    X = rng.standard_normal((N, D)) * scales + rng.standard_normal(D) * scales
    y, s = rng.integers(0, n_classes, N), rng.uniform(0.5, 2, N)
    W, b = np.zeros((D, n_classes)), np.zeros(n_classes)
    eta = 1 / of(X, s, N)

    losses = []
    for _ in range(100):
        losses.append(np.mean(s * cross_entropy(scores(X, W, b), y)))
        W, b = batch_update(W, b, X, y, s, eta)

    assert np.all(np.diff(losses) < 0)
