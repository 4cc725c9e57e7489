"""Rows seen through their mean: products with them, some of them, operations on them."""

import numpy as np
import pytest
from helpers import uneven_rows

from skl_softmax._optimum._centred_rows import CentredRows, by_rows
from skl_softmax._softmax import residual, scores


def centred(X, y, weight, fit_intercept=True):
    """All rows, seen through their centre."""
    return CentredRows(X, y, weight, np.arange(len(y)), fit_intercept)


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
    X, y, weight = uneven_rows(20000)
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
    X, y, weight = uneven_rows(n)
    rows = centred(X + far, y, weight)
    W, b = np.random.default_rng(1).normal(size=(5, 3)), np.ones(3)
    R = residual(scores(X, W, b), y)
    C = X + far - rows.centre

    G, g = rows.gradient(R)

    np.testing.assert_allclose(rows.centre, np.average(X + far, axis=0, weights=weight))
    np.testing.assert_allclose(rows.all_scores(W, b), C @ W + b, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(G, C.T @ R / n, atol=1e-9)
    np.testing.assert_allclose(g, R.mean(axis=0), atol=1e-9)
