"""Against scikit-learn and NumPy: the optimum of LogisticRegression, the seed's update, one result
on dense and sparse rows.
"""

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import logistic_regression
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp, softmax
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.preprocessing import StandardScaler
from sklearn.utils import compute_sample_weight

from skl_softmax import SoftmaxSGDClassifier

LOADERS = {
    "iris": load_iris,
    "wine": load_wine,
    "digits": load_digits,
    "breast_cancer": load_breast_cancer,
}
PENALTIES = ("l2", "l1", "elasticnet", None)
# Curvature of standardised data over this strength is at most a few hundred, so that a thousand
# updates with momentum reach the optimum.
ALPHA = 1e-2
GAP = 1e-6
# No shuffling: one batch holds all rows, and their order would only add rounding.
FULL_BATCH = {"batch_size": 2000, "shuffle": False, "max_iter": 4000, "n_iter_no_change": 10}
MOMENTUM = FULL_BATCH | {"solver": "sgd", "momentum": 0.9, "tol": 1e-10}


def standardised(name):
    """Return rows with standardised features, and labels 0 to K - 1."""
    X, y = LOADERS[name](return_X_y=True)
    return StandardScaler().fit_transform(X), y


def sparsened(name):
    """Return a data set with about two thirds of its entries set to zero, unscaled by more than 1.

    The sparse forms of these rows exercise empty entries, which standardised rows do not have.
    """
    X, y = standardised(name)
    return np.where(np.random.default_rng(0).random(X.shape) < 1 / 3, X, 0.0), y


def objective(model, X, y, weight, alpha, l1_ratio=0.0):
    """F of the design: weighted mean cross-entropy plus penalty, in float64."""
    Z = np.asarray(X @ model.coef_.T) + model.intercept_
    if Z.shape[1] == 1:
        Z = np.hstack([np.zeros_like(Z), Z])
    cross_entropy = logsumexp(Z, axis=1) - Z[np.arange(len(y)), y]
    square, absolute = (model.coef_**2).sum(), np.abs(model.coef_).sum()
    penalty = (1 - l1_ratio) / 2 * square + l1_ratio * absolute
    return np.average(cross_entropy, weights=weight) + alpha * penalty


def optimum(X, y, weight=None, *, total=None, **params):
    """Fit LogisticRegression, far beyond its defaults, to the objective of ``alpha=ALPHA``."""
    total = len(y) if total is None else total
    params = {"solver": "newton-cg", "tol": 1e-10, "max_iter": 10000} | params
    model = logistic_regression(C=1 / (ALPHA * total), **params)
    return model.fit(X, y, sample_weight=weight)


def assert_same_optimum(ours, theirs, X, y, weight=None, l1_ratio=0.0):
    """Both objectives agree to a relative gap of 1e-6, whichever is lower."""
    args = X, y, np.ones(len(y)) if weight is None else weight, ALPHA, l1_ratio
    assert ours.coef_.shape == theirs.coef_.shape
    assert_allclose(objective(ours, *args), objective(theirs, *args), rtol=GAP)


# --- The optimum is LogisticRegression's.


@pytest.mark.thinned
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("name", LOADERS)
def test_optimum(name, fit_intercept, container):
    """Momentum SGD reaches the optimum of LogisticRegression on each bundled data set."""
    X, y = standardised(name)
    theirs = optimum(X, y, fit_intercept=fit_intercept)

    ours = SoftmaxSGDClassifier(alpha=ALPHA, fit_intercept=fit_intercept, **MOMENTUM)
    ours.fit(container(X), y)

    assert_same_optimum(ours, theirs, X, y)


@pytest.mark.thinned
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("name", LOADERS)
def test_weighted_optimum(name, container):
    """Sample weights mean what they mean in LogisticRegression, C being 1 / (alpha * sum(s))."""
    X, y = standardised(name)
    weight = np.random.default_rng(0).exponential(size=len(y))
    theirs = optimum(X, y, weight, total=weight.sum())

    ours = SoftmaxSGDClassifier(alpha=ALPHA, **MOMENTUM).fit(container(X), y, weight)

    assert_same_optimum(ours, theirs, X, y, weight)


@pytest.mark.thinned
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("name", LOADERS)
def test_balanced_optimum(name, container):
    """class_weight="balanced" means what it means in LogisticRegression."""
    X, y = standardised(name)
    kept = np.flatnonzero((y > 0) | (np.arange(len(y)) % 3 == 0))  # a third of class 0
    X, y = X[kept], y[kept]
    theirs = optimum(X, y, class_weight="balanced")

    ours = SoftmaxSGDClassifier(alpha=ALPHA, class_weight="balanced", **MOMENTUM)
    ours.fit(container(X), y)

    assert_same_optimum(ours, theirs, X, y, compute_sample_weight("balanced", y))


@pytest.mark.parametrize("name", ["iris", "breast_cancer"])
@pytest.mark.parametrize(
    "params",
    [
        # Diagonal metrics ignore the momentum's condition: they reach 1e-10 here, in more updates.
        {"solver": "adam", "eta0": 0.03},
        {"solver": "adagrad", "eta0": 0.3},
        # Reaches 1e-9: no momentum, so it takes as many updates as the curvature ratio says.
        {"solver": "auto"},
        {"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": False},
    ],
    ids=["adam", "adagrad", "auto", "heavy ball"],
)
def test_optimum_by_other_updates(name, params):
    """Every solver has the same fixed point, with all rows in a batch."""
    X, y = standardised(name)
    theirs = optimum(X, y)

    ours = SoftmaxSGDClassifier(alpha=ALPHA, tol=1e-10, **FULL_BATCH, **params).fit(X, y)

    assert_same_optimum(ours, theirs, X, y)


@pytest.mark.parametrize("solver", ["auto", "sgd"])
def test_minibatches_come_close_to_the_optimum(solver):
    """The automatic step on batches ends within 1e-2 of the optimum: a constant step stays noisy,
    and more so on fewer rows.
    """
    X, y = standardised("digits")
    theirs = optimum(X, y)

    ours = SoftmaxSGDClassifier(alpha=ALPHA, solver=solver, tol=1e-4, random_state=0).fit(X, y)

    args = X, y, None, ALPHA
    assert_allclose(objective(ours, *args), objective(theirs, *args), rtol=1e-2)


@pytest.mark.parametrize("name", ["iris", "breast_cancer"])
def test_l1_optimum(name):
    """Momentum SGD with l1 reaches LogisticRegression's l1 optimum, zeros included."""
    # SGD reaches a gap of 1e-10 here. With adam or adagrad, whose metric stretches near zero, a few
    # weights are still on their way to zero after 4000 updates: gaps of 1e-4 to 1e-3.
    X, y = standardised(name)
    params = {"solver": "saga", "tol": 1e-8, "max_iter": 100_000, "random_state": 0}
    theirs = optimum(X, y, l1_ratio=1, **params)

    ours = SoftmaxSGDClassifier(penalty="l1", alpha=ALPHA, **MOMENTUM).fit(X, y)

    assert_same_optimum(ours, theirs, X, y, l1_ratio=1.0)
    assert_array_equal(ours.coef_ == 0, theirs.coef_ == 0)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("name", ["wine", "breast_cancer"])
def test_loss_curve_is_the_objective(name, momentum):
    """With all rows in a batch, each entry of loss_curve_ is the objective F at some iterate, so
    none is below its minimum.
    """
    X, y = standardised(name)
    theirs = optimum(X, y)

    ours = SoftmaxSGDClassifier(alpha=ALPHA, **MOMENTUM | {"momentum": momentum}).fit(X, y)

    least = objective(theirs, X, y, None, ALPHA)
    assert min(ours.loss_curve_) >= least * (1 - 1e-9)  # LogisticRegression's own gap


# --- Given the same coefficients, the predictions are LogisticRegression's.


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "predict_log_proba", "decision_function"]
)
@pytest.mark.parametrize("name", LOADERS)
def test_predictions(name, method, container):
    """All predictions equal LogisticRegression's where the coefficients are its own."""
    X, y = standardised(name)
    theirs = optimum(X, y, max_iter=3, tol=10)
    ours = SoftmaxSGDClassifier(max_iter=1, tol=None).fit(X, y)
    ours.coef_, ours.intercept_ = theirs.coef_, theirs.intercept_

    expected = getattr(theirs, method)(container(X))

    assert_allclose(getattr(ours, method)(container(X)), expected, rtol=1e-9, atol=1e-12)


# --- The seed's update, against a loop in NumPy.


def seed(X, y, weight, *, eta, batch_size, epochs):
    """The textbook loop: W, b after `epochs` passes in the order of the rows."""
    n, K = len(y), y.max() + 1
    W, b, Y = np.zeros((X.shape[1], K)), np.zeros(K), np.eye(K)[y]
    for _ in range(epochs):
        for start in range(0, n, batch_size):
            rows = slice(start, start + batch_size)
            R = weight[rows, None] * (softmax(X[rows] @ W + b, axis=1) - Y[rows])
            step = eta * len(R) / batch_size  # a short batch steps by its share
            W = W - step * X[rows].T @ R / len(R)
            b = b - step * R.mean(axis=0)
    return W, b


def assert_is_seed(model, W, b):
    """The model's parameters are those of the loop; two columns become their difference."""
    coef, intercept = (W.T, b) if W.shape[1] > 2 else (np.diff(W).T, np.diff(b))
    # Float64 rounding of some thousand additions in another order.
    assert_allclose(model.coef_, coef, rtol=1e-11, atol=1e-13)
    assert_allclose(model.intercept_, intercept, rtol=1e-11, atol=1e-13)


SEED = {
    "solver": "sgd",
    "learning_rate": "constant",
    "penalty": None,
    "eta0": 0.05,
    "momentum": 0.0,
    "shuffle": False,
    "tol": None,
}


@pytest.mark.thinned("batch_size", "container")
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("batch_size", [1, 7, 8, 64, 150])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_fit_is_the_seed(n_classes, batch_size, weighted, container):
    """Plain SGD in fit is the textbook loop with weights over their mean; 150 rows leave a short
    last batch in all cases but the first and last.
    """
    X, y = sparsened("iris")
    y = np.minimum(y, n_classes - 1)
    weight = np.random.default_rng(1).exponential(size=150) if weighted else np.ones(150)

    model = SoftmaxSGDClassifier(batch_size=batch_size, max_iter=3, **SEED)
    model.fit(container(X), y, weight)

    scaled = weight / weight.mean()
    assert_is_seed(model, *seed(X, y, scaled, eta=0.05, batch_size=batch_size, epochs=3))


@pytest.mark.parametrize("batch_size", [151, 1000])
def test_fit_with_a_batch_above_all_rows_is_the_seed(batch_size):
    """A batch size above the number of rows means one full batch in fit."""
    X, y = standardised("iris")

    model = SoftmaxSGDClassifier(batch_size=batch_size, max_iter=3, **SEED).fit(X, y)

    assert_is_seed(model, *seed(X, y, np.ones(150), eta=0.05, batch_size=150, epochs=3))


@pytest.mark.thinned("batch_size", "container")
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("batch_size", [1, 7, 8, 64, 150, 1000])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_partial_fit_is_the_seed(n_classes, batch_size, weighted, container):
    """Plain SGD in partial_fit is the textbook loop with weights as they are, a chunk below
    batch_size being a short batch.
    """
    X, y = sparsened("iris")
    y = np.minimum(y, n_classes - 1)
    weight = np.random.default_rng(1).exponential(size=150) if weighted else np.ones(150)

    model = SoftmaxSGDClassifier(batch_size=batch_size, **SEED)
    for _ in range(3):
        model.partial_fit(container(X), y, np.unique(y), weight)

    assert_is_seed(model, *seed(X, y, weight, eta=0.05, batch_size=batch_size, epochs=3))


def test_seed_without_intercept():
    """Without an intercept the loop is the same with b at zero."""
    X, y = standardised("iris")
    W = np.zeros((4, 3))
    for _ in range(3):
        W -= 0.05 * X.T @ (softmax(X @ W, axis=1) - np.eye(3)[y]) / 150

    model = SoftmaxSGDClassifier(batch_size=150, max_iter=3, fit_intercept=False, **SEED).fit(X, y)

    assert_is_seed(model, W, np.zeros(3))


# --- Dense and sparse rows give one result.

STREAMS = {
    "auto": {},
    "sgd, constant": {"solver": "sgd", "learning_rate": "constant", "eta0": 0.1},
    "sgd, optimal": {"solver": "sgd", "learning_rate": "optimal", "alpha": 0.05},
    "sgd, invscaling": {"solver": "sgd", "learning_rate": "invscaling", "eta0": 0.3},
    "sgd, adaptive": {"solver": "sgd", "learning_rate": "adaptive", "eta0": 0.1},
    "sgd, averaged": {"solver": "sgd", "average": True},
    "sgd, averaged later": {"solver": "sgd", "average": 30},
    "sgd, momentum": {"solver": "sgd", "momentum": 0.9},
    "sgd, heavy ball, averaged": {
        "solver": "sgd",
        "momentum": 0.5,
        "nesterovs_momentum": False,
        "average": True,
    },
    "adagrad": {"solver": "adagrad", "eta0": 0.1},
    "adam": {"solver": "adam", "eta0": 0.02},
}


def assert_same_fit(model, expected):
    """Both fits made the same epochs, updates, losses and parameters."""
    assert model.n_iter_ == expected.n_iter_
    assert model.t_ == expected.t_
    # Some thousand updates multiply float64 rounding by up to about 1e4.
    assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=1e-9)
    assert_allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-10)
    assert_allclose(model.intercept_, expected.intercept_, rtol=1e-8, atol=1e-10)


@pytest.mark.thinned("params", "penalty")
@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("params", STREAMS.values(), ids=STREAMS.keys())
def test_sparse_equals_dense(params, penalty, batch_size):
    """Sparse rows stop at the epoch of dense rows, with the same losses and parameters."""
    X, y = sparsened("iris")
    params = {"alpha": 1e-3, "tol": 0.05, "max_iter": 300, "n_iter_no_change": 2} | params
    dense, sparse = (
        SoftmaxSGDClassifier(penalty=penalty, batch_size=batch_size, random_state=0, **params).fit(
            rows, y
        )
        for rows in (X, sp.csr_array(X))
    )

    assert_same_fit(sparse, dense)
    assert dense.n_iter_ < 300  # stopped by tol, not by max_iter


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("params", STREAMS.values(), ids=STREAMS.keys())
def test_sparse_equals_dense_in_a_stream(params, n_classes):
    """Chunks of ragged size give the same parameters in either container, also when mixed."""
    X, y = sparsened("iris")
    y = np.minimum(y, n_classes - 1)
    params = {"alpha": 1e-3, "batch_size": 8, "random_state": 0} | params
    models = [SoftmaxSGDClassifier(**params) for _ in range(3)]
    for i, rows in enumerate(np.array_split(np.random.default_rng(0).permutation(150), 7)):
        dense, sparse = X[rows], sp.csr_array(X[rows])
        for model, chunk in zip(models, [dense, sparse, [dense, sparse][i % 2]], strict=True):
            model.partial_fit(chunk, y[rows], np.unique(y))

    assert_same_fit(models[1], models[0])
    assert_same_fit(models[2], models[0])


@pytest.mark.thinned("penalty", "learning_rate")
@pytest.mark.parametrize("alpha", [0.3, 10.0, 1e6])
@pytest.mark.parametrize("learning_rate", ["auto", "optimal"])
@pytest.mark.parametrize("penalty", ["l2", "elasticnet"])
def test_sparse_equals_dense_where_the_penalty_rules(penalty, learning_rate, alpha):
    """A penalty that shrinks the weights to nothing in every step, or over thousands, is as good
    on sparse rows as on dense.
    """
    X, y = sparsened("iris")
    dense, sparse = (
        SoftmaxSGDClassifier(
            solver="sgd",
            learning_rate=learning_rate,
            penalty=penalty,
            alpha=alpha,
            max_iter=2500,
            tol=None,
            random_state=0,
        ).fit(rows, y)
        for rows in (X, sp.csr_array(X))
    )

    assert_same_fit(sparse, dense)
