"""Parameters: the two forms of a model, and how a class that comes later begins."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skl_softmax._parameters import Parameters, lift, with_mean
from skl_softmax._softmax import scores, softmax

D, K = 6, 3


@pytest.fixture
def rng():
    """Random numbers that are the same in every run."""
    return np.random.default_rng(0)


# --- two forms ---


@pytest.mark.parametrize("n_classes", [2, 3])
def test_public_form_and_back(n_classes, rng):
    """From `coef_` and `intercept_` to the two forms of parameters and back."""
    n = 1 if n_classes == 2 else n_classes
    coef, intercept = rng.standard_normal((n, D)), rng.standard_normal(n)

    params = Parameters.of(coef, intercept)

    assert params.coef.shape == (D, n_classes)
    assert params.coef.flags.c_contiguous
    assert_array_equal(params.public()[0], coef)
    assert_array_equal(params.public()[1], intercept)


def test_public_form_of_one_class(rng):
    """One class has one column, which the two of a pair of classes must not be taken for."""
    coef, intercept = rng.standard_normal((1, D)), rng.standard_normal(1)

    params = Parameters.of(coef, intercept, one_class=True)

    assert_array_equal(params.coef, coef.T)
    assert_array_equal(params.public()[0], coef)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_parameters_are_copies(n_classes):
    """Moving the parameters does not move the arrays that they were made from."""
    n = 1 if n_classes == 2 else n_classes
    coef, intercept = np.ones((n, D)), np.ones(n)

    params = Parameters.of(coef, intercept)
    params.coef += 1
    params.intercept += 1

    assert_array_equal(coef, 1)
    assert_array_equal(intercept, 1)


def test_two_columns_give_the_scores_of_one(rng):
    """For two classes the difference of the two scores is the user's single score."""
    coef, intercept = rng.standard_normal((1, D)), rng.standard_normal(1)
    params, X = Parameters.of(coef, intercept), rng.standard_normal((5, D))

    both = scores(X, params.coef, params.intercept)

    assert_allclose(np.diff(both), X @ coef.T + intercept)


# --- a new class ---


@pytest.mark.parametrize("position", [[0], [1], [3], [0, 2], [1, 2, 5]], ids=str)
def test_new_class_begins_as_the_mean(position, rng):
    """At each position of the result there is a mean of the classes before, which stay."""
    array = rng.standard_normal((D, K))

    grown = with_mean(array, np.array(position))

    assert_array_equal(np.delete(grown, position, axis=1), array)
    assert_allclose(grown[:, position], array.mean(axis=1, keepdims=True) + np.zeros(len(position)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_of_a_grown_array_is_kept(dtype):
    """Arrays of either dtype grow, those of intercepts too."""
    assert with_mean(np.ones(K, dtype), np.array([1])).dtype == dtype


@pytest.mark.parametrize("position", [[0], [1], [3], [0, 2], [1, 2, 5]], ids=str)
def test_new_class_takes_no_more_than_its_share(position, rng):
    """A new class has at most 1 / (n + 1) of any row, and that is all that the others lose."""
    n_rows, position, X = 50, np.array(position), 10 * rng.standard_normal((200, D))
    params = Parameters(rng.standard_normal((D, K)), rng.standard_normal(K))
    P = softmax(scores(X, params.coef, params.intercept))

    grown = params.with_classes(position, lift(K, n_rows, True))

    Q = softmax(scores(X, grown.coef, grown.intercept))
    assert Q[:, position].max() <= 1 / (n_rows + 1)
    others = np.delete(Q, position, axis=1)
    assert_allclose(others / others.sum(axis=1, keepdims=True), P)


def test_new_class_leaves_the_old_parameters(rng):
    """What has more classes is a copy."""
    params = Parameters(rng.standard_normal((D, K)), np.zeros(K))

    params.with_classes(np.array([1]), -1.0).coef[...] = 0

    assert params.coef.all()


def test_new_class_of_few_rows_is_not_raised():
    """While there are fewer rows than classes, a new class begins at the mean of the others."""
    assert lift(K, K - 1, True) == lift(K, 0, True) == 0


def test_new_class_without_intercept():
    """Without an intercept nothing is lowered."""
    assert lift(K, 1000, False) == 0
