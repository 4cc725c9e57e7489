"""The rows as a set: no order, no repetitions, no container."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from skl_softmax._distinct_rows import distinct
from skl_softmax._rows import Rows


def rows_of(X, y, weight=None, rows=None):
    """All of them, or some."""
    n = X.shape[0]
    weight = np.ones(n) if weight is None else weight
    return Rows(X, y, weight.astype(X.dtype), np.arange(n) if rows is None else rows)


def content(data):
    """Rows, labels and weights, in their order."""
    copied = data.copied()
    X = copied.X if data.dense else copied.X.toarray()
    return X.astype(np.float64), copied.y, copied.weight


@pytest.fixture(params=[5, 64, 300], ids=["few columns", "a part of the columns", "many columns"])
def problem(request):
    """Numbers of float32, of which half are zero, with labels and whole weights."""
    rng = np.random.default_rng(request.param)
    X = rng.standard_normal((70, request.param)).astype(np.float32)
    X *= rng.random(X.shape) < 0.5
    return X, rng.integers(3, size=70), rng.integers(1, 4, size=70)


def unsorted(X):
    """CSR with indices from the last to the first, and an entry in two parts."""
    found = sp.csr_array(X)
    for a, b in zip(found.indptr[:-1], found.indptr[1:], strict=True):
        found.indices[a:b], found.data[a:b] = found.indices[a:b][::-1], found.data[a:b][::-1]
    found.has_sorted_indices = False
    return found


def with_zeros(X):
    """CSR that stores all numbers, zeros as -0.0."""
    n, d = X.shape
    values = np.where(X == 0, X.dtype.type(-0.0), X).ravel()
    return sp.csr_array((values, np.tile(np.arange(d), n), np.arange(n + 1) * d), shape=X.shape)


def of_long_indices(X):
    """CSR with indices of 64 bits."""
    found = sp.csr_array(X)
    found.indices, found.indptr = found.indices.astype(np.int64), found.indptr.astype(np.int64)
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "container",
    [
        np.asfortranarray,
        lambda X: np.repeat(X, 2, axis=1)[:, ::2],
        lambda X: np.where(X == 0, X.dtype.type(-0.0), X),
        sp.csr_array,
        unsorted,
        with_zeros,
        of_long_indices,
    ],
    ids=["Fortran", "strided", "-0.0", "CSR", "unsorted", "stored zeros", "int64"],
)
def test_no_container_changes_the_order(container, dtype, problem):
    """The order is that of the values as float64, however they are stored."""
    X, y, weight = problem
    expected, contents = distinct(rows_of(X, y, weight))

    found, found_contents = distinct(rows_of(container(X.astype(dtype)), y, weight))

    assert_array_equal(found.rows, expected.rows)
    assert_array_equal(found_contents, contents)
    for one, two in zip(content(found), content(expected), strict=True):
        assert_allclose(one, two, rtol=1e-7, atol=0)  # weights are in the type of X


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])
def test_weights_are_repetitions_in_any_order(container, problem):
    """The same rows, whatever the scale of the weights, without those of none."""
    X, y, times = problem
    rng = np.random.default_rng(0)
    order = rng.permutation(times.sum())
    repeated, labels = np.repeat(X, times, axis=0)[order], np.repeat(y, times)[order]
    some = np.flatnonzero(rng.random(len(y)) < 0.8)
    weight = np.zeros(len(y))
    weight[some] = times[some] / 7

    one, contents = distinct(rows_of(container(X), y, times))
    two, repeated_contents = distinct(rows_of(container(repeated), labels))
    three, _ = distinct(rows_of(container(X), y, weight, some))
    four, _ = distinct(rows_of(container(X[some[::-1]]), y[some[::-1]], times[some[::-1]]))

    assert_array_equal(contents, repeated_contents)
    for found, expected in ((one, two), (three, four)):
        for a, b in zip(content(found), content(expected), strict=True):
            assert_allclose(a, b, rtol=2e-7, atol=0)  # weights of float32
    assert_allclose(content(one)[2].mean(), 1, rtol=1e-6)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])
def test_contents_and_labels(container):
    """Rows of the same content are side by side; those of the same label too are one."""
    X = np.array([[1, 0, 2], [0, 3, 0], [1, 0, 2], [1, 0, 2], [0, 3, 0.0]])
    y = np.array([1, 0, 0, 1, 0])

    found, contents = distinct(rows_of(container(X), y, np.array([1, 2, 3, 4, 5.0])))

    rows, labels, weight = content(found)
    assert len(rows) == 3
    expected = {((1, 0, 2), 0): 3, ((1, 0, 2), 1): 5, ((0, 3, 0), 0): 7}
    scale = 15 / 3
    got = {(tuple(x), k): s * scale for x, k, s in zip(rows.tolist(), labels, weight, strict=True)}
    assert got == pytest.approx(expected)
    assert (np.diff(contents) == [0, 1]).all() or (np.diff(contents) == [1, 0]).all()
    assert (np.diff(labels)[np.diff(contents) == 0] > 0).all()


def test_rows_that_differ_where_not_all_is_read():
    """Of many columns a part tells most rows apart; those that it does not are told by all."""
    X = np.zeros((40, 3000))
    X[np.arange(40), 17 + 64 * np.arange(40)] = 1
    X[::2, 16 * 47 * 2] = 1
    X = np.concatenate([X, X[::-1]])

    found, contents = distinct(rows_of(X, np.zeros(80, int)))

    assert len(found.rows) == 40
    assert_array_equal(contents, np.arange(40))
    assert_array_equal(np.unique(X[found.rows], axis=0), np.unique(X, axis=0))


def test_permuted_binary_rows_are_told_apart():
    """As many ones at other places are another content: 20000 rows, none taken for another."""
    rng = np.random.default_rng(0)
    X = np.zeros((20000, 60), np.float32)
    np.put_along_axis(X, rng.random(X.shape).argpartition(5, axis=1)[:, :5], 1, axis=1)
    n_distinct = len(np.unique(X, axis=0))

    found, _ = distinct(rows_of(X, np.zeros(len(X), int)))

    assert len(found.rows) == n_distinct
