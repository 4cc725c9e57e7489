"""Leaving one out by a Newton step: what as many fits would give."""

import numpy as np
import pytest
import scipy.sparse as sp

from skl_softmax import SoftmaxSGDClassifier
from skl_softmax._distinct_rows import distinct
from skl_softmax._leave_one_out import LeaveOneOut, affordable
from skl_softmax._penalties import make_penalty
from skl_softmax._rows import Rows

CONTAINERS = pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])


def problem(n, d, n_classes, seed=0):
    """Noisy labels, weights, columns of unlike scales away from zero."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    y = (X[:, :1] * np.arange(n_classes) + rng.gumbel(size=(n, n_classes))).argmax(axis=1)
    y[: 2 * n_classes] = np.arange(2 * n_classes) % n_classes
    return X * np.exp(rng.standard_normal(d)) + 3, y, rng.integers(1, 3, size=n).astype(float)


def criterion(X, y, weight, fit_intercept=True, usual=None):
    """Of all rows, or of some."""
    weight = weight / weight.mean()
    data, contents = distinct(Rows(X, y, weight, np.arange(len(y))))
    n_classes = y.max() + 1
    usual = np.ones(len(data.rows), bool) if usual is None else usual[data.rows]

    def penalty(alpha):
        return make_penalty("l2", alpha, None, n_classes)

    return LeaveOneOut(data, contents, usual, n_classes, fit_intercept, penalty)


def by_fits(X, y, weight, alpha, fit_intercept=True):
    """Mean loss of each row by a fit of the rows of other contents, of the same ``n alpha``."""
    total, losses = 0.0, []
    contents = np.unique(X, axis=0, return_inverse=True)[1].ravel()
    for content in range(contents.max() + 1):
        out = contents == content
        if len(np.unique(y[~out])) < len(np.unique(y)):
            continue
        stronger = alpha * weight.sum() / weight[~out].sum()
        model = SoftmaxSGDClassifier(alpha=stronger, tol=1e-8, fit_intercept=fit_intercept)
        model.fit(X[~out], y[~out], weight[~out])
        loss = -model.predict_log_proba(X[out])[np.arange(out.sum()), y[out]]
        losses.append(weight[out] @ loss)
        total += weight[out].sum()
    return np.sum(losses) / total


@pytest.mark.parametrize("alpha", [1e-1, 1e-3])
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("fit_intercept", [True, False], ids=["intercept", "no intercept"])
@CONTAINERS
def test_as_many_fits_give_the_same(container, fit_intercept, n_classes, alpha):
    """Within a fiftieth, where the penalty holds the fit and where it is loose."""
    X, y, weight = problem(70, 3, n_classes)

    found, given_up = criterion(container(X), y, weight, fit_intercept).loss(alpha)

    assert found == pytest.approx(by_fits(X, y, weight, alpha, fit_intercept), rel=2e-2)
    assert not given_up


def test_equal_rows_leave_together():
    """With all their labels: none tells what another has."""
    X, y, weight = problem(40, 2, 2)
    X = np.tile(np.round(X), (2, 1))
    y, weight = np.append(y, 1 - y[::-1]), np.tile(weight, 2)

    found, _ = criterion(X, y, weight).loss(1e-2)

    assert found == pytest.approx(by_fits(X, y, weight, 1e-2), rel=2e-2)


def test_only_row_of_a_class_never_leaves():
    """Nor those of its content; what is left is counted."""
    X, y, weight = problem(60, 2, 3)
    X, y, weight = np.vstack([X, [[9, 9]]]), np.append(y, 3), np.append(weight, 1.0)
    found = criterion(X, y, weight)

    assert found.loss(1e-2)[0] == pytest.approx(by_fits(X, y, weight, 1e-2), rel=1e-2)
    s = weight[:-1]
    assert found.n == pytest.approx(s.sum() ** 2 / (s @ s))


def test_unusual_rows_are_no_test():
    """They count in the fit alone."""
    X, y, weight = problem(60, 2, 3)
    usual = np.arange(60) > 3
    some = criterion(X, y, weight, usual=usual)
    every = criterion(X, y, weight)

    assert some.n < every.n
    assert some.loss(1e-2)[0] == pytest.approx(every.loss(1e-2)[0], rel=0.2)
    assert some.loss(1e-2)[0] != every.loss(1e-2)[0]


def test_fits_go_on_from_the_last_one():
    """In whatever order alphas come, their losses are the same."""
    data = problem(100, 4, 3)
    one, other = criterion(*data), criterion(*data)
    alphas = [1.0, 1e-2, 1e-4]

    forwards = [one.loss(alpha)[0] for alpha in alphas]
    backwards = [other.loss(alpha)[0] for alpha in alphas[::-1]]

    assert forwards == pytest.approx(backwards[::-1], rel=1e-3)


def test_constant_column():
    """It has no weight."""
    X, y, weight = problem(60, 2, 3)

    with_one = criterion(np.column_stack([X, np.full(60, 7.0)]), y, weight).loss(1e-2)[0]

    assert with_one == pytest.approx(criterion(X, y, weight).loss(1e-2)[0], rel=1e-6)


def test_affordable_where_systems_are_small():
    """Tables of some columns and classes, not texts, nor many rows."""
    assert affordable(150, 4, 3)
    assert affordable(569, 30, 2)
    assert not affordable(150, 2000, 3)
    assert not affordable(20000, 4, 3)
