"""Rows and problems: what counts, in which order, in which shape."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from skl_softmax._rows import Problem, Rows


def make_rows(container=np.asarray, n=23, dtype=np.float64):
    """Weighted, labelled rows."""
    rng = np.random.default_rng(0)
    X, weight = rng.standard_normal((n, 4)).astype(dtype), rng.uniform(0.2, 2, n).astype(dtype)
    return Rows(container(X), rng.integers(0, 3, n), weight, np.arange(n))


def test_total_weight_is_that_of_the_rows_that_count():
    """Rows that do not count have no weight; float32 weights are summed in float64."""
    chosen = replace(make_rows(dtype=np.float32), rows=np.array([1, 5]))

    assert_allclose(chosen.total_weight, float(chosen.weight[1]) + float(chosen.weight[5]))


@pytest.mark.parametrize(("from_zero", "expected"), [(True, [0, 2]), (False, [0, 1, 2])])
def test_features_of_sparse_rows(from_zero, expected):
    """Where weights start at zero, features without a non-zero never have one."""
    X = sp.csr_array([[0, 0, 1.0], [1, 0, 0]])
    rows = Rows(X, np.array([0, 1]), np.ones(2), np.arange(2), from_zero)

    assert_array_equal(rows.features, expected)


def test_features_of_dense_rows():
    """Any feature of dense rows may have a weight, wherever these start."""
    rows = replace(make_rows(), from_zero=True)

    assert_array_equal(rows.features, np.arange(4))


@pytest.mark.parametrize(("container", "dense"), [(np.asarray, True), (sp.csr_array, False)])
def test_dense(container, dense):
    """Rows are dense if they are an array, C-ordered or not."""
    assert make_rows(container).dense is dense


def test_visits_in_order():
    """Without shuffle the rows that count are visited as they come, and nothing is drawn."""
    rows, rng = replace(make_rows(), rows=np.array([2, 3, 7, 19])), np.random.RandomState(0)

    assert_array_equal(rows.visits(rng, shuffle=False), rows.rows)
    assert rng.random_sample() == np.random.RandomState(0).random_sample()


def test_visits_in_random_order():
    """With shuffle the rows that count are visited in the order of one permutation."""
    rows = replace(make_rows(), rows=np.arange(0, 23, 2))

    visits = rows.visits(np.random.RandomState(0), shuffle=True)

    assert_array_equal(visits, rows.rows[np.random.RandomState(0).permutation(12)])


@pytest.mark.parametrize(("n_classes", "shape"), [(1, (1, 4)), (2, (1, 4)), (3, (3, 4))])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_public_shape(dtype, n_classes, shape):
    """`coef_` has a row a class, but one for a pair of classes; computed in the dtype of X."""
    problem = Problem(make_rows(dtype=dtype), np.arange(n_classes), np.ones(n_classes))

    assert problem.public_shape == shape
    assert problem.dtype == dtype
