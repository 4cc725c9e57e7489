"""The fit without knobs: it reaches the optimum of any data and knows when it has."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import logistic_regression
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils import compute_sample_weight

from skl_softmax import SoftmaxSGDClassifier
from skl_softmax._optimum import MeasuredRows, OptimumFit
from skl_softmax._optimum._dual import DualAscent
from skl_softmax._optimum._metric import Curvature
from skl_softmax._optimum._newton import Newton
from skl_softmax._optimum._row_space import RowSpace
from skl_softmax._optimum._some_columns import SomeColumns
from skl_softmax._parameters import Parameters
from skl_softmax._penalties import Penalty
from skl_softmax._rows import Rows
from skl_softmax._state import State

LOADERS = {
    "iris": load_iris,
    "wine": load_wine,
    "digits": load_digits,
    "breast_cancer": load_breast_cancer,
}
CONTAINERS = pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])


@pytest.fixture(scope="module")
def text():
    """Word counts of 600 documents, as tf-idf has them, and topics that depend on them."""
    rng = np.random.default_rng(0)
    rates = rng.gamma(0.1, size=(5, 3000))
    y = rng.integers(5, size=600)
    counts = rng.poisson(30 * rates[y] / rates[y].sum(axis=1, keepdims=True))
    X = counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1)
    y = np.where(rng.random(600) < 0.1, rng.integers(5, size=600), y)
    return sp.csr_array(X), y


def objective(model, X, y, alpha, weight=None, l1_ratio=0.0):
    """F in float64."""
    Z = np.asarray(X @ model.coef_.T.astype(np.float64)) + model.intercept_
    if Z.shape[1] == 1:
        Z = np.hstack([np.zeros_like(Z), Z])
    loss = np.average(logsumexp(Z, axis=1) - Z[np.arange(len(y)), y], weights=weight)
    square, absolute = (model.coef_.astype(float) ** 2).sum(), np.abs(model.coef_).sum()
    return loss + alpha * ((1 - l1_ratio) / 2 * square + l1_ratio * absolute)


def theirs_at(X, y, alpha, weight=None):
    """LogisticRegression at its optimum, which is the same, to many digits."""
    total = len(y) if weight is None else weight.sum()
    params = {"solver": "newton-cg", "tol": 1e-12, "max_iter": 10000}
    model = logistic_regression(C=1 / (alpha * total), **params)
    return model.fit(X, y, sample_weight=weight)


# --- the optimum


@pytest.mark.thinned("container", "name", "scaled")
@pytest.mark.parametrize("tol", [1e-3, 1e-5])
@pytest.mark.parametrize("alpha", [1e-2, 1e-4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scaled", [True, False], ids=["standardised", "raw"])
@pytest.mark.parametrize("name", LOADERS)
@CONTAINERS
def test_gap_is_true(name, scaled, dtype, alpha, tol, container):
    """Where fit says that it converged, the optimum is within three times tol, raw or scaled."""
    X, y = LOADERS[name](return_X_y=True)
    standardised = StandardScaler().fit(X)
    X = (standardised.transform(X) if scaled else X).astype(dtype)
    best = SoftmaxSGDClassifier(alpha=alpha, tol=1e-10).fit(X.astype(np.float64), y)

    model = SoftmaxSGDClassifier(alpha=alpha, tol=tol, random_state=0).fit(container(X), y)

    F, optimum = (objective(one, X, y, alpha) for one in (model, best))
    assert model.gap_ <= tol
    assert model.n_iter_ < 40
    assert F - optimum <= 3 * tol * optimum


@pytest.mark.parametrize("name", LOADERS)
@CONTAINERS
def test_optimum_is_that_of_logistic_regression(name, container):
    """The optimum is LogisticRegression's, weighted rows and two classes included."""
    X, y = LOADERS[name](return_X_y=True)
    X = StandardScaler().fit_transform(X)
    weight = np.random.default_rng(0).exponential(size=len(y))
    theirs = theirs_at(X, y, 1e-2, weight)

    ours = SoftmaxSGDClassifier(alpha=1e-2, tol=1e-9).fit(container(X), y, weight)

    assert_allclose(
        objective(ours, X, y, 1e-2, weight), objective(theirs, X, y, 1e-2, weight), rtol=1e-8
    )
    assert_allclose(ours.coef_, theirs.coef_, atol=1e-3)


@pytest.mark.parametrize("alpha", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gap_is_true_on_text(text, dtype, alpha):
    """On sparse rows, too, the optimum is within three times tol."""
    X, y = text
    theirs = theirs_at(X, y, alpha)

    model = SoftmaxSGDClassifier(alpha=alpha, random_state=0).fit(X.astype(dtype), y)

    F, optimum = (objective(one, X, y, alpha) for one in (model, theirs))
    assert model.gap_ <= 1e-3
    assert F - optimum <= 3e-3 * optimum


@pytest.mark.parametrize("l1_ratio", [0.3, 1.0])
@pytest.mark.parametrize("dense", [True, False], ids=["digits", "text"])
def test_l1_is_optimal_with_exact_zeros(text, dense, l1_ratio):
    """Weights are exactly zero where the gradient is below the threshold, and no others."""
    X, y = load_digits(return_X_y=True) if dense else text
    X = X / 16 if dense else X
    alpha, n = 2e-3, len(y)

    model = SoftmaxSGDClassifier(
        penalty="elasticnet", l1_ratio=l1_ratio, alpha=alpha, tol=1e-7, max_iter=2000
    ).fit(X, y)

    R = model.predict_proba(X) - np.eye(len(model.classes_))[y]
    G = np.asarray(X.T @ R).T / n + alpha * (1 - l1_ratio) * model.coef_
    zero, reach = model.coef_ == 0, alpha * l1_ratio
    assert 0.3 < zero.mean() < 0.999
    assert np.abs(G[zero]).max() < reach * 1.02
    assert_allclose(G[~zero], -reach * np.sign(model.coef_[~zero]), atol=0.02 * reach)


@pytest.mark.parametrize("seed", range(4))
def test_leverages_do_not_go_up_and_down_for_ever(text, seed):
    """Wide rows with l1 took 37 to over 2000 epochs by chance; now about 120."""
    model = SoftmaxSGDClassifier(
        penalty="l1", alpha=2e-3, tol=1e-7, max_iter=400, random_state=seed
    ).fit(*text)
    assert model.gap_ <= 1e-7


@CONTAINERS
@pytest.mark.parametrize("name", ["wine", "breast_cancer"])
def test_balanced_weights_without_intercept(name, container):
    """Class weights count, and without an intercept there is none."""
    X, y = LOADERS[name](return_X_y=True)
    X = StandardScaler().fit_transform(X)
    weight = compute_sample_weight("balanced", y)
    expected = SoftmaxSGDClassifier(alpha=1e-2, tol=1e-9, fit_intercept=False).fit(X, y, weight)

    model = SoftmaxSGDClassifier(
        alpha=1e-2, tol=1e-9, fit_intercept=False, class_weight="balanced"
    ).fit(container(X), y)

    assert not model.intercept_.any()
    assert_allclose(model.coef_, expected.coef_, atol=1e-4)


def test_dense_and_sparse_rows_agree(text):
    """The two engines find the same optimum within tol."""
    X, y = text
    dense, sparse = (
        SoftmaxSGDClassifier(alpha=1e-3, tol=1e-6).fit(rows, y) for rows in (X.toarray(), X)
    )

    assert_allclose(objective(dense, X, y, 1e-3), objective(sparse, X, y, 1e-3), rtol=2e-6)


@CONTAINERS
def test_weights_are_repetitions(container):
    """Rows that count twice are rows that are there twice, within tol."""
    X, y = load_digits(return_X_y=True)
    twice = np.repeat(np.arange(len(y)), 1 + (y == 3))

    weighted = SoftmaxSGDClassifier(alpha=1e-3, tol=1e-7).fit(container(X), y, 1.0 + (y == 3))
    repeated = SoftmaxSGDClassifier(alpha=1e-3, tol=1e-7).fit(container(X[twice]), y[twice])

    F = [objective(one, X[twice], y[twice], 1e-3) for one in (weighted, repeated)]
    assert_allclose(*F, rtol=2e-7)


# --- data as it comes


@CONTAINERS
def test_columns_of_any_scale(container):
    """Constant, repeated, tiny, huge and shifted columns change nothing but their own weights."""
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    odd = np.hstack([X[:, :5] * 1e-6, X[:, 5:9] * 1e6, X[:, 9:] + 1e4, np.ones((len(y), 1)), X])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = SoftmaxSGDClassifier(alpha=1e-6).fit(container(odd), y)

    assert model.gap_ <= 1e-3
    assert model.score(container(odd), y) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@CONTAINERS
def test_outliers(dtype, container):
    """An entry of 1e12 does no harm to the other rows; `fit` says that it knows no bound."""
    X, y = load_iris(return_X_y=True)
    X = np.tile(X, (3, 1)).astype(dtype)
    X[7, 1] = 1e12
    y = np.tile(y, 3)

    with pytest.warns(ConvergenceWarning, match="gap_=1 "):
        model = SoftmaxSGDClassifier(alpha=1e-5, max_iter=50).fit(container(X), y)

    assert np.isfinite(model.coef_).all()
    assert model.score(container(X), y) > 0.9


@pytest.mark.thinned
@pytest.mark.parametrize("size", [1e1, 1e3, 1e6, 1e9])
@CONTAINERS
def test_outlying_row(size, container):
    """A row that is many times as long as all others neither hides the optimum nor fakes it."""
    X, y = load_digits(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    X[7] *= size

    model = SoftmaxSGDClassifier(alpha=1e-3, random_state=30).fit(container(X), y)

    best = SoftmaxSGDClassifier(alpha=1e-3, tol=1e-8, random_state=0).fit(container(X), y)
    assert model.gap_ <= 1e-3
    assert objective(model, X, y, 1e-3) < (1 + 3e-3) * objective(best, X, y, 1e-3)
    others = SoftmaxSGDClassifier(alpha=1e-3, random_state=30).fit(
        np.delete(X, 7, axis=0), np.delete(y, 7)
    )
    assert objective(best, X, y, 1e-3) < 1.05 * others.loss_curve_[-1]


@CONTAINERS
@pytest.mark.parametrize("many", [False, True])
def test_separable_classes_without_penalty(many, container):
    """Where no optimum exists, fit stops when the objective is below tol."""
    X, y = load_iris(return_X_y=True)
    X, y = np.tile(X, (5 if many else 1, 1)), np.tile(np.minimum(y, 1), 5 if many else 1)

    model = SoftmaxSGDClassifier(alpha=0).fit(container(X), y)

    assert model.loss_curve_[-1] < 1e-3
    assert model.score(container(X), y) == 1


@CONTAINERS
@pytest.mark.parametrize("name", LOADERS)
def test_objective_never_rises(name, container):
    """However few epochs, the objective at the end is at most that at the start."""
    X, y = LOADERS[name](return_X_y=True)
    start = SoftmaxSGDClassifier(alpha=1e-3, tol=None, max_iter=2, random_state=0)
    start.fit(container(X), y)
    values = [np.log(len(start.classes_)), objective(start, X, y, 1e-3)]
    for _ in range(6):
        start.set_params(warm_start=True, max_iter=1).fit(container(X), y)
        values.append(objective(start, X, y, 1e-3))

    assert np.all(np.diff(values) <= 1e-9)


# --- what fit says


def test_warns_of_the_gap():
    """A fit that ends too early says what is not known, how far off it may be, and the remedy."""
    X, y = load_digits(return_X_y=True)

    said = r"not certified to tol=0.001: .*gap_=.* above it. Increase max_iter"
    with pytest.warns(ConvergenceWarning, match=said):
        model = SoftmaxSGDClassifier(max_iter=2).fit(X, y)

    assert 1e-3 < model.gap_ <= 1


@CONTAINERS
def test_without_tol_all_epochs_are_made(container):
    """With tol=None fit makes max_iter epochs and does not warn."""
    model = SoftmaxSGDClassifier(max_iter=25, tol=None).fit(
        container(load_iris().data), load_iris().target
    )

    assert model.n_iter_ == len(model.loss_curve_) == 25


def test_verbose(capsys):
    """Each line names the gap."""
    X, y = load_iris(return_X_y=True)

    SoftmaxSGDClassifier(alpha=1e-3, verbose=1).fit(X, y)

    assert "gap" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize("dense", [True, False], ids=["digits", "text"])
def test_warm_start_at_the_optimum(text, dense):
    """A fit that starts where another one converged has little left to do."""
    X, y = load_digits(return_X_y=True) if dense else text
    model = SoftmaxSGDClassifier(alpha=1e-3, tol=1e-6, warm_start=True).fit(X, y)

    model.set_params(tol=1e-3).fit(X, y)

    assert model.n_iter_ <= 2


@CONTAINERS
def test_early_stopping(container):
    """Early stopping returns the best epoch on the validation set, and has no gap to name."""
    X, y = load_digits(return_X_y=True)

    model = SoftmaxSGDClassifier(alpha=0, early_stopping=True, random_state=0)
    model.fit(container(X[:900]), y[:900], X_val=container(X[900:]), y_val=y[900:])

    assert model.best_loss_ == min(model.validation_loss_curve_)
    assert model.best_iter_ == np.argmin(model.validation_loss_curve_) + 1
    assert not hasattr(model, "gap_")
    proba = model.predict_proba(X[900:])
    assert_allclose(-np.log(proba[np.arange(len(proba)), y[900:]]).mean(), model.best_loss_)


@CONTAINERS
def test_stream_after_fit(container):
    """partial_fit goes on from the optimum, and rows that it knows have no higher loss."""
    X, y = load_digits(return_X_y=True)
    model = SoftmaxSGDClassifier(alpha=1e-3).fit(container(X / 16), y)
    before = objective(model, X / 16, y, 0)

    model.partial_fit(container(X / 16), y)

    assert objective(model, X / 16, y, 0) < before


def test_same_seed_same_fit(text):
    """The generator decides everything: fits repeat to the last bit."""
    for X, y in (text, load_digits(return_X_y=True)):
        one, two = (SoftmaxSGDClassifier(random_state=1).fit(X, y) for _ in range(2))
        assert_array_equal(one.coef_, two.coef_)


# --- which engine


def engine_of(X, y, l2=1e-3, penalty=None):
    """The engine that fit would use."""
    n, d = X.shape
    data = Rows(X, y, np.ones(n), np.arange(n))
    k = int(y.max()) + 1
    start, state = Parameters(np.zeros((d, k)), np.zeros(k)), State(np.random.RandomState(0))
    rows = MeasuredRows.of(data, True, 256)
    return OptimumFit(rows, penalty or Penalty(l2=l2), start, state, 1e-3)


@CONTAINERS
def test_one_batch_is_deterministic(container):
    """Rows that fit into one batch and have few features are fitted by Newton's method alone."""
    X, y = load_iris(return_X_y=True)

    engine = engine_of(container(X), y)

    assert isinstance(engine._engine, Newton)


@pytest.mark.parametrize(
    ("n", "d", "n_classes", "penalty", "first"),
    [
        (60, 20, 10, Penalty(l2=1e-3), Newton),  # its metrics cost little
        (160, 384, 20, Penalty(l2=1e-3), DualAscent),
        (60, 384, 3, Penalty(l1=1e-3), Newton),
        (160, 384, 20, Penalty(l1=1e-3), DualAscent),  # all of whose weights may move
        (2000, 384, 3, Penalty(l1=0.05), Newton),  # of which few do
        (160, 384, 20, Penalty(), Newton),
        (10, 3000, 2, Penalty(l2=1e-3), Newton),  # of 20 weights in the rows' own coordinates
        (300, 400, 10, Penalty(l2=1e-3), DualAscent),  # more than one batch
        (300, 8, 10, Penalty(l2=1e-3), Newton),  # few weights
    ],
)
@CONTAINERS
def test_first_engine_goes_by_cost(container, n, d, n_classes, penalty, first):
    """Newton's method begins where its metrics are cheap, or where dual ascent has no bound."""
    X = np.random.default_rng(0).standard_normal((n, d))

    engine = engine_of(container(X), np.arange(n) % n_classes, penalty=penalty)

    assert type(engine._engine) is first
    on_columns = first is Newton and penalty.l1
    reduced = RowSpace if n == 10 else SomeColumns if on_columns else type(None)
    assert type(engine._space) is reduced


@pytest.mark.parametrize("seed", [0, 28])
@CONTAINERS
def test_rows_fewer_than_features_are_given_in_their_own_coordinates(container, seed, monkeypatch):
    """Where dual ascent has become slow: no metric is wider than there are rows.

    They are separable, so F* is 1e-8; with a floor of the metric that was no share of their
    curvature the moves solved nothing (28: a gap of 1e-3 after 150 of them).
    """
    rng = np.random.default_rng(seed)
    n, d = 60, 400
    X = rng.standard_normal((n, d)) * np.exp(4 * rng.standard_normal(d))
    y = np.arange(n) % 5
    model = SoftmaxSGDClassifier(alpha=1e-5, tol=1e-7)
    best = theirs_at(X / 1e4, y, 1e-5 * 1e8)  # the same weights, times 1e4
    widths = []
    build = Curvature.of_classes
    monkeypatch.setattr(
        Curvature, "of_classes", lambda *args: widths.append(args[0].rows.d) or build(*args)
    )

    model.fit(container(X), y)

    assert set(widths) == {n - 1}
    assert model.n_iter_ < 100
    best.coef_ /= 1e4
    assert objective(model, X, y, 1e-5) <= objective(best, X, y, 1e-5) * (1 + 1e-7)


@pytest.mark.parametrize("n_classes", [8, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@CONTAINERS
def test_one_batch_has_no_order(container, dtype, n_classes):
    """Nor do repeated rows differ from rows of their weight; with 40 classes they are reduced."""
    rng = np.random.default_rng(0)
    y = np.arange(80) % n_classes
    X = rng.standard_normal((n_classes, 120))[y] + rng.standard_normal((80, 120))
    X, times = X.astype(dtype), rng.integers(1, 4, size=80)
    order = rng.permutation(times.sum())
    repeated, labels = np.repeat(X, times, axis=0)[order], np.repeat(y, times)[order]
    engine = engine_of(container(X), y)
    assert type(engine._engine) is DualAscent
    assert (engine._space is None) == (n_classes == 8)

    one = SoftmaxSGDClassifier(alpha=1e-3, random_state=0).fit(container(X), y, times)
    two = SoftmaxSGDClassifier(alpha=1e-3, random_state=0).fit(container(repeated), labels)

    scale = np.abs(one.coef_).max()
    assert_allclose(one.coef_, two.coef_, atol=1e-7 if dtype == np.float64 else 1e-5 * scale)
    assert one.n_iter_ == two.n_iter_


@CONTAINERS
def test_newton_takes_over(container):
    """Where dual ascent becomes slow, Newton's method ends the fit; updates count on."""
    X, y = load_digits(return_X_y=True)
    engine = engine_of(container(X), y, l2=1e-5)
    kinds, objectives, updates = [], [], []

    while not engine.near_optimum(1e-8):
        engine.epoch()
        kinds.append(type(engine._engine))
        objectives.append(engine.objective)
        updates.append(engine.t)

    first = kinds.index(Newton)
    assert set(kinds[:first]) == {DualAscent}
    assert set(kinds[first:]) == {Newton}
    assert first > engine._wait >= 2
    assert objectives[-1] == min(objectives[first:])  # before, they are estimates
    assert np.all(np.diff(updates) > 0)


def test_wide_rows_stay_with_dual_ascent(text):
    """More features than Newton's metric takes leave the fit to dual ascent."""
    engine = engine_of(*text)
    for _ in range(30):
        engine.epoch()

    assert isinstance(engine._engine, DualAscent)


@CONTAINERS
def test_few_weights_start_at_the_optimum_of_a_sample(container):
    """A model of few weights is Newton's from the start, and near the optimum after one epoch."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30000, 4)) * [1e-3, 1, 1, 1e3]
    y = (X @ [1e3, 1, -1, 1e-3] + rng.logistic(size=len(X)) > 0).astype(int)
    best = engine_of(container(X), y)
    while not best.near_optimum(1e-10):
        best.epoch()

    engine = engine_of(container(X), y)
    engine.epoch()

    assert isinstance(engine._engine, Newton)
    assert engine.objective <= best.objective * (1 + 1e-3)
    assert engine.t > 1


def test_sample_has_the_rows_that_weigh_most():
    """Some long rows among many, which move the optimum, are among those drawn."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40000, 3))
    X[:20] *= 100
    y = (X[:, 0] + rng.logistic(size=len(X)) > 0).astype(int)
    y[:20] = X[:20, 1] > 0
    best = engine_of(X, y)
    while not best.near_optimum(1e-10):
        best.epoch()

    engine = engine_of(X, y)
    engine.epoch()

    assert engine.objective <= best.objective * (1 + 1e-3)


def test_class_that_no_sample_has():
    """A sample may miss a class; the fit does not."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30000, 4)), rng.integers(2, size=30000)
    y[7] = 2
    X[7] = 3
    theirs = theirs_at(X, y, 1e-3)

    model = SoftmaxSGDClassifier(alpha=1e-3, tol=1e-8, random_state=0).fit(X, y)

    assert_allclose(objective(model, X, y, 1e-3), objective(theirs, X, y, 1e-3), rtol=1e-7)


# --- columns far from zero


def events(n_rare, shift, dtype):
    """Rows of 12 measurements, ``shift`` deviations from zero, and of indicators; noisy labels."""
    rng = np.random.default_rng(5)
    Z = rng.standard_normal((700, 12))
    y = (Z[:, :4] @ rng.standard_normal((4, 3)) + rng.gumbel(size=(700, 3))).argmax(axis=1)
    measured = rng.uniform(0.1, 10, 12) * (Z + shift * rng.choice([-1, 1], 12))
    return np.hstack([measured, rng.random((700, n_rare)) < 0.01]).astype(dtype), y


@pytest.mark.thinned("container", "penalty")
@pytest.mark.parametrize("n_rare", [60, 2000])
@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet", None])
@pytest.mark.parametrize(
    ("dtype", "shift"), [(np.float32, 1e3), (np.float64, 30), (np.float64, 1e6)]
)
@CONTAINERS
def test_columns_far_from_zero_have_the_same_model(
    request, container, dtype, shift, penalty, n_rare
):
    """An intercept makes up for any shift of the columns: same objective, and as many epochs."""
    if dtype is np.float32 and n_rare == 2000 and penalty == "l1":
        reason = "dual ascent alone: rounding decides how soon the gap is known"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=False))
    alpha, l1_ratio = (3e-3, {"l1": 1, "elasticnet": 0.5}.get(penalty, 0)) if penalty else (0, 0)
    weight = np.random.default_rng(6).uniform(0.2, 2, 700)
    found = []
    for away in (0, shift):
        X, y = events(n_rare, away, dtype)
        model = SoftmaxSGDClassifier(
            penalty=penalty, alpha=alpha, l1_ratio=l1_ratio, random_state=0
        ).fit(container(X), y, weight)
        found.append((objective(model, X.astype(float), y, alpha, weight, l1_ratio), model.n_iter_))

    (here, epochs), (there, epochs_there) = found
    # Each is within tol of the optimum, or, separable and without a penalty, below tol.
    assert_allclose(there, here, rtol=1e-3, atol=1e-3 if penalty is None else 0)
    assert abs(epochs - epochs_there) <= max(1, 0.1 * epochs)


@pytest.mark.parametrize("over", [1.5, 1e6], ids=["soon closed", "far off"])
def test_newton_is_asked_only_where_dual_ascent_would_be_later(over, monkeypatch):
    """A bound just above tol is given some epochs; one that says the estimate is wrong is not."""
    X, y = load_digits(return_X_y=True)
    learner = engine_of(StandardScaler().fit_transform(X), y)
    estimates = iter([1e-1, 2e-2, 4e-3, 8e-4, 1.6e-4])

    def epoch(self):
        self.t += 1
        self.objective, self.gap = 1.0, next(estimates)
        self.gaps.append(self.gap)

    def certify(self):
        self._measured_at = self.t
        self.gap *= over

    monkeypatch.setattr(DualAscent, "epoch", epoch)
    monkeypatch.setattr(DualAscent, "_certify", certify)
    monkeypatch.setattr(DualAscent, "balance", lambda self, share: None)

    kinds, ended = [], False
    while not ended:
        learner.epoch()
        kinds.append(type(learner._engine))
        ended = kinds[-1] is Newton or learner.near_optimum(1e-3)
    assert kinds == 4 * [DualAscent] + [Newton if over == 1e6 else DualAscent]
