"""Which ends of a fit are refused as divergence, and what it costs to tell."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose

from skl_softmax._objective import exact_objective
from skl_softmax._parameters import OverflowedError, Parameters
from skl_softmax._penalties import Penalty
from skl_softmax._rows import Rows
from skl_softmax._softmax import cross_entropy, scores
from skl_softmax._textbook import DivergedError
from skl_softmax._textbook._divergence import check_descent

N, D, K = 600, 4, 3
PENALTY = Penalty(l2=0.3, l1=0.1)
UNSEEN = Rows(None, None, None, np.arange(N))  # an error for whoever looks at a row


def make_rows(container=np.asarray, dtype=np.float64, n_classes=K):
    """Rows of which some do not count."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((N, D)).astype(dtype), rng.integers(n_classes, size=N)
    weight = rng.uniform(0.2, 2, N).astype(dtype)
    return Rows(container(X), y, weight, np.sort(rng.permutation(N)[: N - 50]))


def some_parameters(length=1.0, dtype=np.float64, n_classes=K):
    """Parameters some way from zero."""
    coef = np.random.default_rng(1).standard_normal((D, n_classes)) * length
    return Parameters(coef.astype(dtype), np.linspace(0, length, n_classes).astype(dtype))


def never():
    """A start that nobody has to look at."""
    raise AssertionError


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_objective(dtype, container, n_classes):
    """The exact objective is the formula, over the rows that count."""
    data = make_rows(container, dtype, n_classes)
    params = some_parameters(3.0, dtype, n_classes)

    found = exact_objective(params, PENALTY, data)

    losses = cross_entropy(scores(data.X, params.coef, params.intercept), data.y)[data.rows]
    expected = np.average(losses, weights=data.weight[data.rows]) + PENALTY.of(params.coef)
    assert_allclose(found, expected, rtol=100 * np.finfo(dtype).eps)  # sums of 550 rounded terms


def test_no_look_at_the_rows_where_nothing_high_was_met():
    """A fit that met no more than there is at zero is accepted without a look at a row."""
    check_descent(some_parameters(), np.log(K), never, PENALTY, UNSEEN)


def test_end_is_what_counts():
    """An end that is not high is accepted, whatever was met on the way: an average, say."""
    check_descent(some_parameters(), 1e9, never, PENALTY, make_rows())


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_start_that_was_as_high(dtype, container):
    """An end is accepted up to ten times the objective of the start, and refused beyond."""
    data, no_penalty = make_rows(container, dtype), Penalty()  # objective as long as parameters
    args = (1e9, lambda: some_parameters(1e3, dtype), no_penalty, data)

    check_descent(some_parameters(9e3, dtype), *args)
    with pytest.raises(DivergedError, match=r"rose from \d+ to 1\.\d+e\+04$"):
        check_descent(some_parameters(1.2e4, dtype), *args)


def test_low_start():
    """A start near the optimum does not make an end at the objective of the zero model too high."""
    start = Parameters(np.zeros((D, K)), np.zeros(K))
    data = replace(make_rows(), y=np.zeros(N, int))
    start.intercept[0] = 30.0  # objective 2e-13

    check_descent(some_parameters(0.1), 1e3, lambda: start, Penalty(), data)


@pytest.mark.parametrize("length", [1e38, np.inf])
def test_scores_that_overflow(length):
    """An end whose scores or weights are no numbers is an overflow."""
    end = some_parameters(1, np.float32)
    end.coef[:] = np.where(np.arange(K) == 1, length, -length)
    data = make_rows(dtype=np.float32)

    with pytest.raises(OverflowedError):
        check_descent(end, 1e9, never, PENALTY, replace(data, X=10 * data.X))
