"""Some of the columns: the others have no weights, and the bound of the gap counts them."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from scipy.special import logsumexp

from skl_softmax import SoftmaxSGDClassifier
from skl_softmax._optimum import _hand_over
from skl_softmax._optimum._newton import Newton
from skl_softmax._optimum._some_columns import SomeColumns, product, to_move
from skl_softmax._parameters import Parameters
from skl_softmax._penalties import Penalty
from skl_softmax._rows import Rows

CONTAINERS = pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])


def counts(n=300, d=2500, n_classes=3, dtype=np.float64, seed=0):
    """Word counts: few columns are common, and twenty of them tell the classes."""
    rng = np.random.default_rng(seed)
    X = rng.poisson(np.minimum(10 / np.arange(1, d + 1), 3), (n, d)).astype(dtype)
    scores = np.log1p(X[:, 1:21]) @ rng.standard_normal((20, n_classes))
    y = (scores + rng.gumbel(size=(n, n_classes))).argmax(axis=1)
    y[:n_classes] = np.arange(n_classes)
    return X, y


def objective(X, y, model, l1, l2=0.0):
    """Of two classes with one row of weights, or of more."""
    Z = X.astype(float) @ model.coef_.T.astype(float) + model.intercept_
    Z = np.column_stack([np.zeros(len(y)), Z]) if Z.shape[1] == 1 else Z
    loss = np.mean(logsumexp(Z, axis=1) - Z[np.arange(len(y)), y])
    W = model.coef_.astype(float)
    return loss + l1 * np.abs(W).sum() + l2 / 2 * np.sum(W**2)


def largest_gradient(X, y):
    """The strength of l1 that empties the model."""
    Y = np.eye(y.max() + 1)[y]
    return np.abs(X.T @ (Y - Y.mean(axis=0))).max() / len(y)


@CONTAINERS
def test_products_are_of_the_rows_that_count(container):
    """In float64, for all columns."""
    X, y = counts(40, 60, dtype=np.float32)
    rows = np.arange(3, 30)
    R = np.random.default_rng(1).standard_normal((27, 3))

    for data in (
        Rows(container(X), y, np.ones(40, np.float32), rows),
        Rows(container(X[rows]), y[rows], np.ones(27, np.float32), np.arange(27)),
    ):
        assert_allclose(product(data, R), X[rows].T.astype(float) @ R, rtol=1e-12, atol=1e-12)


@CONTAINERS
def test_columns_that_may_have_weights(container):
    """First those that have one, then those whose gradient without weights is near l1."""
    X, y = counts()
    l1 = 0.1 * largest_gradient(X, y)
    data = Rows(container(X), y, np.ones(len(y)), np.arange(len(y)))
    start = Parameters(np.zeros((X.shape[1], 3)), np.log(np.bincount(y) / len(y)))
    start.coef[-1, 0] = 1e-9

    columns, moves = to_move(data, start, Penalty(l1=l1), True)

    Y = np.eye(3)[y]
    size = np.abs(X.T @ (Y - Y.mean(axis=0))) / len(y)
    expected = np.append(np.flatnonzero(size[:-1].max(axis=1) > 0.8 * l1), X.shape[1] - 1)
    assert sorted(columns) == expected.tolist()
    assert columns[0] == X.shape[1] - 1
    assert (np.diff(size[columns[1:]].max(axis=1)) <= 1e-12).all()
    assert moves.tolist() == [1, *np.count_nonzero(size[columns[1:]] > l1, axis=1)]


def test_one_column_at_least():
    """Also where the penalty empties the model."""
    X, y = counts()
    data = Rows(X, y, np.ones(len(y)), np.arange(len(y)))
    zero = Parameters(np.zeros((X.shape[1], 3)), np.zeros(3))

    columns, moves = to_move(data, zero, Penalty(l1=1e3), True)

    assert len(columns) == 1
    assert moves.tolist() == [0]


@CONTAINERS
def test_bound_counts_the_columns_that_were_left_out(container):
    """The optimum of too few columns has a gap of what the others could still gain."""
    X, y = counts()
    l1 = 0.05 * largest_gradient(X, y)
    data = Rows(container(X), y, np.ones(len(y)), np.arange(len(y)))
    best = SoftmaxSGDClassifier(penalty="l1", alpha=l1, tol=1e-8).fit(X, y)
    support = np.flatnonzero(best.coef_.any(axis=0))
    some = SomeColumns(data, support[::2], l1, True)
    zero = Parameters(np.zeros((len(some.columns), 3)), np.zeros(3))
    engine = Newton(some, Penalty(l1=l1), zero, np.random.RandomState(0), 1e-6)

    for _ in range(15):
        engine.epoch()
    params = some.back(engine.parameters(), X.dtype)

    optimum = objective(X, y, best, l1)
    true = engine.objective - optimum
    assert params.coef.shape == (X.shape[1], 3)
    assert true / optimum > 1e-3
    assert true <= engine.gap * (1 + 1e-9)
    assert engine.gap < 0.9 * engine.objective  # of which half of the support is left out
    assert set(some.left_out.columns) & set(support[1::2])
    assert not set(some.left_out.columns) & set(some.columns)
    assert (some.left_out.moves >= 1).all()


@pytest.mark.parametrize("share", [0.2, 0.02])
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
@CONTAINERS
def test_more_columns_than_a_metric_takes(container, penalty, dtype, n_classes, share, monkeypatch):
    """The optimum is certified; only columns that may have weights are given to Newton's method."""
    X, y = counts(n_classes=n_classes, dtype=dtype)
    alpha = share * largest_gradient(X, y)
    widths = []
    build = SomeColumns.__init__

    def counted(self, data, columns, *args):
        widths.append(len(columns))
        build(self, data, columns, *args)

    monkeypatch.setattr(_hand_over.SomeColumns, "__init__", counted)
    params = {"penalty": penalty, "alpha": alpha, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = SoftmaxSGDClassifier(**params).fit(container(X), y)
    best = SoftmaxSGDClassifier(**params | {"tol": 1e-7, "max_iter": 1000})
    best.fit(X.astype(np.float64), y)

    l1, l2 = (alpha, 0) if penalty == "l1" else (0.15 * alpha, 0.85 * alpha)
    found, optimum = (objective(X, y, m, l1, l2) for m in (model, best))
    assert found / optimum - 1 <= model.gap_ + 1e-6 <= 1.1e-3
    assert max(widths, default=0) < X.shape[1] / 2


def test_momentum_begins_anew_where_the_objective_rises():
    """Sparse models of many weights come to the optimum by dual ascent alone."""
    rng = np.random.default_rng(0)
    X = sp.csr_array((rng.random((600, 1500)) < 0.02).astype(float))
    W = rng.standard_normal((1500, 4)) * 2
    y = (X @ W + rng.gumbel(size=(600, 4))).argmax(axis=1)
    alpha = 0.01 * largest_gradient(X.toarray(), y)

    model = SoftmaxSGDClassifier(penalty="l1", alpha=alpha, tol=None, max_iter=120, random_state=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_hand_over.OptimumFit, "_is_slow", lambda self: False)
        model.fit(X, y)

    best = SoftmaxSGDClassifier(penalty="l1", alpha=alpha, tol=1e-7, max_iter=2000, random_state=0)
    best.fit(X, y)
    found, optimum = (objective(X.toarray(), y, m, alpha) for m in (model, best))
    assert found / optimum - 1 < 3e-5


def engines_of(monkeypatch):
    """What a fit will build, in turn: for Newton's method the number of its columns."""
    built = []
    for name in ("_on_columns", "_dual_ascent"):
        make = getattr(_hand_over.OptimumFit, name)

        def spied(self, *args, make=make):
            engine = make(self, *args)
            built.append(len(self._space.columns) if isinstance(engine, Newton) else "dual ascent")
            return engine

        monkeypatch.setattr(_hand_over.OptimumFit, name, spied)
    return built


@CONTAINERS
def test_columns_that_have_to_be_first_alone(container, monkeypatch):
    """Where all that may move are dear: they are taken in as the bound names them."""
    X, y = counts(n_classes=2, d=20000, dtype=np.float32)
    l1 = 0.003 * largest_gradient(X, y)
    built = engines_of(monkeypatch)

    model = SoftmaxSGDClassifier(penalty="l1", alpha=l1, random_state=0).fit(container(X), y)

    assert built[0] == _hand_over._FIRST
    assert "dual ascent" not in built
    assert all(0 < more - less <= _hand_over._FIRST for less, more in pairwise(built))
    assert np.count_nonzero(model.coef_.any(axis=0)) < built[-1] < 3 * _hand_over._FIRST
    best = SoftmaxSGDClassifier(penalty="l1", alpha=l1, tol=1e-8, random_state=1)
    best.fit(X.astype(float), y)
    least = objective(X, y, best, l1)
    assert objective(X, y, model, l1) - least <= 1.01 * model.gap_ * least
    assert model.gap_ <= 1e-3


@pytest.mark.parametrize(
    ("n", "d", "container"), [(800, 3000, np.asarray), (500, 10000, sp.csr_array)]
)
def test_dual_ascent_where_more_columns_have_weights_than_is_cheap(n, d, container, monkeypatch):
    """Moves of the first are cheap, but not of all that the bound names."""
    rng = np.random.default_rng(0)
    X = (rng.random((n, d)) < 25 / d).astype(np.float32)
    y = (X @ rng.standard_normal((d, 2)) + rng.gumbel(size=(n, 2))).argmax(axis=1)
    l1 = 0.05 * largest_gradient(X, y)
    built = engines_of(monkeypatch)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = SoftmaxSGDClassifier(penalty="l1", alpha=l1, random_state=0).fit(container(X), y)

    assert built[0] == _hand_over._FIRST
    assert built.count("dual ascent") == 1
    assert np.count_nonzero(model.coef_) > built[built.index("dual ascent") - 1]


@CONTAINERS
def test_start_keeps_its_weights_where_all_columns_are_dear(container, monkeypatch):
    """Columns with a weight are first, however many there are, and whatever their gradient."""
    X, y = counts(n_classes=2, d=8000)
    l1 = 0.003 * largest_gradient(X, y)
    towards = (y - y.mean()) @ X
    start = 1e-7 * np.sign(towards) * (np.abs(towards) >= np.sort(np.abs(towards))[-140])
    built = engines_of(monkeypatch)
    model = SoftmaxSGDClassifier(penalty="l1", alpha=l1, random_state=0)

    model.fit(container(X), y, coef_init=start[None])

    assert built[0] == np.count_nonzero(start) >= 140
