"""Kinds of data and settings on which `fit` was wrong or sure of itself, each with the right value.

The right value is that of `awkward.reference` (Newton's method with the exact Hessian, proven), of
`LogisticRegression` on centred columns, or a closed form. `docs/kinds_of_data.md` lists the kinds.
"""

import warnings

import awkward
import numpy as np
import pytest
import scipy.sparse as sp
from helpers import logistic_regression
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar
from sklearn.datasets import load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from skl_softmax import SoftmaxSGDClassifier

TOL = 1e-3  # the default
CONTAINERS = pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
PENALTIES = pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet", None])
# With three classes 128 weights is where dual ascent begins.
ENGINES = pytest.mark.parametrize("d", [8, 45], ids=["newton", "dual-ascent"])


def problem(X, y, penalty="l2", alpha=1e-3, *, weight=None, tol=TOL, fit_intercept=True):
    """Data and parameters as `awkward` takes them."""
    return awkward.Problem(X, y, weight, penalty, alpha, 0.5, fit_intercept, tol, None, "")


def kept(problem, may_warn=False, **params):
    """The model, of which every promise holds; without a warning, unless that is one of them."""
    found = awkward.reference(problem)
    assert found.good_for(problem)
    model, warned = awkward.fitted(problem, **params)
    assert awkward.judge(problem, found, model, warned)[0] == ()
    assert may_warn or not warned
    return model


def objective(model, problem):
    """``F`` in float64."""
    data = awkward.Centred.of(problem)
    return data.objective(*data.weights_of(model.coef_, model.intercept_))


def noisy_labels(Z, n_classes, rng, size=1.0):
    """Classes that follow a linear model of the columns of Z."""
    scores = size * Z @ rng.standard_normal((Z.shape[1], n_classes))
    return (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)


# --- columns far from zero ---


@pytest.mark.thinned("container", "dtype")
@pytest.mark.parametrize("n_classes", [2, 3])
@DTYPES
@CONTAINERS
def test_one_column_far_from_zero_among_thousands(container, dtype, n_classes):
    """A year beside one-hot columns, too many for Newton's method: the optimum."""
    rng = np.random.default_rng(1)
    year, place = rng.integers(1995, 2025, 300).astype(float), rng.integers(12, size=300)
    X = np.zeros((300, 2300))
    X[np.arange(300), 2 + 150 * place] = 1
    X[:, 1] = year
    y = noisy_labels((year[:, None] - 2010) / 4, n_classes, rng)

    kept(problem(container(X.astype(dtype)), y, alpha=1e-5))


@pytest.mark.thinned("container", "dtype")
@pytest.mark.parametrize("n_classes", [2, 3])
@DTYPES
@CONTAINERS
def test_l2_on_columns_away_from_zero(container, dtype, n_classes):
    """The optimum is the one that LogisticRegression finds once the columns are centred."""
    rng = np.random.default_rng(2)
    Z = rng.standard_normal((900, 200))
    y, alpha = noisy_labels(Z[:, :8], n_classes, rng, 0.6), 0.1
    X = (Z + 15).astype(dtype)
    theirs = logistic_regression(1 / (alpha * 900), solver="newton-cg", tol=1e-10).fit(
        X.astype(float) - X.mean(axis=0, dtype=float), y
    )
    given = problem(container(X), y, alpha=alpha)

    model = kept(given)

    # A gap of tol F is at least alpha/2 |W - W*|^2.
    atol = np.sqrt(2 * TOL * objective(model, given) / alpha)
    assert_allclose(model.coef_, theirs.coef_, atol=atol)


@pytest.mark.thinned("container", "penalty")
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
@DTYPES
@CONTAINERS
def test_l1_on_columns_away_from_zero(container, dtype, penalty, n_classes):
    """A fifth of the strength that empties the model leaves the weights of a few columns."""
    rng = np.random.default_rng(3)
    Z = rng.standard_normal((500, 120))
    y = noisy_labels(Z[:, :4], n_classes, rng)
    X = (Z - 7).astype(dtype)
    R = np.eye(n_classes)[y] - np.bincount(y) / 500
    most = np.abs((Z - Z.mean(axis=0)).T @ R).max() / 500

    model = kept(problem(container(X), y, penalty, 0.2 * most))

    assert 0 < np.count_nonzero(model.coef_.any(axis=0)) < 60


@pytest.mark.thinned("container", "penalty")
@PENALTIES
@DTYPES
@CONTAINERS
def test_without_an_intercept_far_columns_are_as_they_are(container, dtype, penalty):
    """The optimum of that objective, which no shift leaves alone, or a warning."""
    rng = np.random.default_rng(4)
    Z = rng.standard_normal((300, 6))
    y = noisy_labels(Z, 3, rng)
    X = (Z + 20 * (np.arange(6) > 2)).astype(dtype)

    model = kept(problem(container(X), y, penalty, fit_intercept=False), may_warn=True)

    assert not model.intercept_.any()


# --- nearly collinear columns ---


@pytest.mark.thinned("dtype", "penalty")
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize(("d", "together"), [(2, 2), (40, 13), (150, 5)])
@pytest.mark.parametrize("penalty", ["l2", "l1", None])
@pytest.mark.parametrize(
    ("dtype", "eps"),
    [(np.float32, 1e-3), (np.float64, 1e-2), (np.float64, 1e-4), (np.float64, 1e-6)],
)
def test_nearly_collinear_columns(dtype, eps, penalty, d, together, container):
    """Columns that are one but for a small part, which the labels need and the penalty allows."""
    if penalty == "l1" and eps < 1e-5:
        together = 2  # of more the reference has not the digits
    rng = np.random.default_rng(5)
    Z, alpha = rng.standard_normal((900, d)), 1e-2 * (eps if penalty == "l1" else eps**2)
    X = Z.copy()
    X[:, 1:together] = Z[:, :1] + eps * Z[:, 1:together]
    y = noisy_labels(Z[:, 1:together], 2, rng, 2 / np.sqrt(together - 1))
    given = problem(container(X.astype(dtype)), y, penalty, alpha)

    model = kept(given)

    assert objective(model, given) < 0.9 * np.log(2)


@pytest.mark.thinned("container", "penalty")
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@PENALTIES
@CONTAINERS
def test_start_and_end_as_time_stamps(container, penalty, weighted, n_classes):
    """Seconds since 1970: the labels see the duration, which is a millionth of either column."""
    rng = np.random.default_rng(6)
    start = np.floor(1.2e9 + 2e7 * rng.random(700))
    duration = np.ceil(60 * rng.gamma(2, 1, 700))
    y = noisy_labels(duration[:, None] / 60 - 2, n_classes, rng, 2.0)
    weight = rng.uniform(0.2, 3, 700) if weighted else None
    X = np.column_stack([start + duration, rng.standard_normal(700), start])

    # With l1 alone rounding in columns of 1e9 may leave no bound.
    kept(
        problem(container(X), y, penalty, 1e-5, weight=weight),
        may_warn=penalty == "l1", max_iter=50,
    )  # fmt: skip


@pytest.mark.parametrize("d", [3, 2100])
@pytest.mark.parametrize(("penalty", "eps"), [("l2", 1e-4), ("l2", 1e-7), ("l1", 1e-7)])
def test_beyond_what_is_promised(penalty, eps, d):
    """Few digits, or dual ascent alone: the optimum, or a warning with a true `gap_`."""
    rng = np.random.default_rng(7)
    Z = rng.standard_normal((300, d)) * (np.arange(d) < 5)
    X = Z.copy()
    X[:, 1] = Z[:, 0] + eps * Z[:, 1]
    y = noisy_labels(Z[:, 1:2], 2, rng, 2.0)

    kept(
        problem(X, y, penalty, 1e-2 * (eps if penalty == "l1" else eps**2)),
        may_warn=True, max_iter=60,
    )  # fmt: skip


# --- never worse than seen ---


def rough(n, d, n_classes, seed=8):
    """Columns of unlike scale and heavy tails, on which single moves go too far."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_t(2.5, size=(n, d))
    return Z * np.exp(2 * rng.standard_normal(d)), noisy_labels(Z[:, :5], n_classes, rng)


@pytest.mark.thinned("n", "penalty")
@pytest.mark.parametrize("n", [200, 700])
@PENALTIES
@DTYPES
@CONTAINERS
def test_never_above_what_was_measured(container, dtype, penalty, n):
    """With a validation set every epoch's parameters are measured: longer fits end no higher."""
    X, y = rough(n, 40, 5)
    given = problem(container(X.astype(dtype)), y, penalty, 1e-4)
    validation = {"X_val": X[:9].astype(dtype), "y_val": y[:9]}
    found = []
    for max_iter in (1, 2, 3, 5, 8, 13):
        model = given.estimator(max_iter=max_iter, tol=None)
        found.append(objective(model.fit(given.X, y, **validation), given))

    data = awkward.Centred.of(given)
    rounding = data.rounding(*data.weights_of(model.coef_, model.intercept_), dtype)
    assert np.all(np.diff(found) <= rounding)


@pytest.mark.thinned("n", "size")
@pytest.mark.parametrize("size", [1.0, 30.0])
@pytest.mark.parametrize("max_iter", [1, 2, 4])
@pytest.mark.parametrize("n", [200, 700])
@DTYPES
@CONTAINERS
def test_never_above_the_start(container, dtype, n, max_iter, size):
    """However short the fit and good or bad the start: no worse than it, nor than no weights."""
    X, y = rough(n, 40, 5)
    given = problem(container(X.astype(dtype)), y, "l2", 1e-4)
    start = given.estimator(tol=1e-6).fit(given.X, y)
    params = {"coef_init": size * start.coef_, "intercept_init": start.intercept_}
    start.coef_ = size * start.coef_
    share = np.bincount(y) / n

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = given.estimator(max_iter=max_iter).fit(given.X, y, **params)

    known = min(objective(start, given), -share @ np.log(share))
    # The parameters are stored in dtype.
    assert objective(model, given) <= known * (1 + 10 * np.finfo(dtype).eps)


@pytest.mark.thinned("n", "dtype")
@pytest.mark.parametrize("n", [150, 3000])
@DTYPES
@CONTAINERS
def test_rows_that_say_nothing_give_the_class_shares(container, dtype, n):
    """Labels that do not depend on the columns, huge ones: no worse than the intercepts alone."""
    rng = np.random.default_rng(9)
    X = 1e6 * rng.standard_normal((n, 3)) * (rng.random((n, 3)) < 0.02)
    y = rng.choice(4, size=n, p=[0.9, 0.05, 0.03, 0.02])
    share = np.bincount(y) / n
    given = problem(container(X.astype(dtype)), y, "l2", 1.0)

    model = kept(given)

    assert objective(model, given) <= -share @ np.log(share) * (1 + 10 * np.finfo(dtype).eps)


# --- a gap that is a bound ---


@pytest.mark.thinned("d", "penalty")
@pytest.mark.parametrize("d", [10, 60, 2050])
@pytest.mark.parametrize("penalty", ["l2", "l1"])
@DTYPES
@CONTAINERS
def test_a_warning_names_a_gap_above_tol(container, dtype, penalty, d):
    """However early a fit on far columns ends: it warns if and only if `gap_` is above `tol`."""
    rng = np.random.default_rng(10)
    far = np.arange(d) < 5
    Z = rng.standard_normal((300, d)) * (far | (rng.random((300, d)) < 20 / d))
    X = (Z + 25 * far).astype(dtype)
    given = problem(container(X), noisy_labels(Z[:, :5], 2, rng), penalty, 0.02)
    found = awkward.reference(given)
    ends = []
    for max_iter in (1, 3, 6, 200):
        model, warned = awkward.fitted(given, max_iter=max_iter)
        assert awkward.judge(given, found, model, warned)[0] == ()
        assert warned == (model.gap_ > TOL)
        assert model.gap_ > 0
        ends.append(warned)

    assert ends[0]
    assert not ends[-1]


@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize(
    ("dtype", "alpha"), [(np.float32, 1e-16), (np.float32, 1e-38), (np.float64, 1e-40)]
)
def test_alpha_below_what_rounding_allows(dtype, alpha, penalty):
    """Next to no l2 is as good as none; next to no l1 may end in the warning, at the optimum."""
    rng = np.random.default_rng(17)
    Z = rng.standard_normal((2500, 30))

    given = problem(Z.astype(dtype), noisy_labels(Z, 2, rng, 0.3), penalty, alpha)

    kept(given, may_warn=penalty == "l1", max_iter=20)


# --- a perfect fit ends ---


def centres(n_classes, n_each, dtype, container):
    """The rows of an identity matrix, many times, and the label of each."""
    y = np.tile(np.arange(n_classes), n_each)
    return container(np.eye(n_classes, dtype=dtype)[y]), y


def optimum_at_centres(n_classes, alpha):
    """By symmetry ``W = c (I - 1/K)``: of c, the difference that a label's score makes."""
    K, strength = n_classes, alpha * (2 if n_classes == 2 else 1)
    return minimize_scalar(
        lambda c: np.log1p((K - 1) * np.exp(-c)) + strength / 2 * c**2 * (K - 1),
        bounds=(0, 60),
        method="bounded",
        options={"xatol": 1e-10},
    ).fun


@pytest.mark.thinned("n_classes", "alpha")
@pytest.mark.parametrize("n_each", [1, 40])
@pytest.mark.parametrize("alpha", [1e-5, 1e-7, 1e-9])
@pytest.mark.parametrize("n_classes", [2, 3, 12])
@DTYPES
@CONTAINERS
def test_optimum_below_tol_is_reached(container, dtype, n_classes, alpha, n_each):
    """An objective below `tol` alone is no reason to end: there may be a factor to gain."""
    given = problem(*centres(n_classes, n_each, dtype, container), alpha=alpha)

    model, warned = awkward.fitted(given)

    F, optimum = objective(model, given), optimum_at_centres(n_classes, alpha)
    assert not warned
    assert F - optimum <= max(TOL * F, 1e-3 * TOL)
    assert F - optimum <= model.gap_ * F + 10 * np.finfo(dtype).eps * F


@CONTAINERS
def test_perfect_fit_of_digits(container):
    """The optimum of digits is below `tol`, and is reached."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:500], y[:500]
    theirs = logistic_regression(1e5 / 500, solver="newton-cg", tol=1e-6, max_iter=1000)
    given = problem(container(X), y, alpha=1e-5)

    model, warned = awkward.fitted(given)

    F, attainable = objective(model, given), objective(theirs.fit(X, y), given)
    assert not warned
    assert attainable < TOL
    assert F - attainable <= TOL * F


@pytest.mark.thinned("container", "alpha")
@pytest.mark.parametrize("alpha", [1e-8, 1e-12, 1e-15])
@pytest.mark.parametrize("repeated", [1, 5])
@pytest.mark.parametrize("n_classes", [2, 3])
@DTYPES
@CONTAINERS
def test_perfect_fit_ends(container, dtype, n_classes, repeated, alpha):
    """Separable classes and next to no penalty: soon nothing is left to gain, and `fit` ends."""
    X, y = load_wine(return_X_y=True)
    X, y = X[y < n_classes], y[y < n_classes]
    given = problem(container(np.tile(X.astype(dtype), (repeated, 1))), np.tile(y, repeated),
                    alpha=alpha)  # fmt: skip

    model, warned = awkward.fitted(given)

    assert not warned
    assert model.n_iter_ < 60
    assert objective(model, given) <= TOL
    assert model.score(given.X, given.y) == 1


@pytest.mark.parametrize(("n", "d", "n_classes"), [(96, 120, 12), (360, 250, 24)])
@DTYPES
@CONTAINERS
def test_separable_rows_in_many_classes(container, dtype, n, d, n_classes):
    """Columns of unlike scale away from zero: what LogisticRegression has in float64, or more."""
    rng = np.random.default_rng(11)
    y = np.arange(n) % n_classes
    mix = rng.standard_normal((160, d)) / np.sqrt(1 + np.arange(160))[:, None]
    Z = rng.standard_normal((n_classes, 160))[y] + 1.4 * rng.standard_normal((n, 160))
    X = Z @ mix + 0.1 * rng.standard_normal((n, d)) + 0.4 * rng.standard_normal(d)
    X = (X * np.exp(rng.standard_normal(d))).astype(dtype)
    given, total = problem(container(X), y, alpha=1e-5, tol=1e-2), 1e-5 * n
    params = {"solver": "newton-cg", "tol": 1e-8, "max_iter": 1000}
    theirs = logistic_regression(1 / total, **params).fit(X.astype(float), y)

    model, warned = awkward.fitted(given)

    F, attainable = objective(model, given), objective(theirs, given)
    data = awkward.Centred.of(given)
    rounding = data.rounding(*data.weights_of(model.coef_, model.intercept_), dtype)
    assert not warned
    assert F - attainable <= 0.02 * attainable
    assert F - attainable <= model.gap_ * F + rounding


@pytest.mark.parametrize(
    ("n", "d", "n_classes", "sigma"),
    [(40, 300, 8, 0.0), (12, 2100, 2, 0.0), (30, 2100, 3, 4.0), (40, 60, 20, 4.0)],
)
@pytest.mark.parametrize("alpha", [1e-2, 1e-5])
@DTYPES
@CONTAINERS
def test_few_rows_and_many_columns(container, dtype, alpha, n, d, n_classes, sigma):
    """A few examples a class, columns of unlike scale too, with repetitions and weights."""
    rng = np.random.default_rng(12)
    y = np.arange(n) % n_classes
    X = rng.standard_normal((n_classes, d))[y] + 2 * rng.standard_normal((n, d)) + 3
    X = X / np.sqrt(d) * np.exp(sigma * (rng.standard_normal(d) - 1))
    X[-3:], y[-3:] = X[:3], y[:3]
    weight = rng.exponential(size=n)

    model = kept(problem(container(X.astype(dtype)), y, alpha=alpha, weight=weight))

    assert model.n_iter_ < 100


@pytest.mark.parametrize(("n", "d", "n_classes"), [(40, 90, 3), (60, 150, 2), (36, 300, 4)])
@pytest.mark.parametrize("alpha", [1e-4, 1e-7])
@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
@CONTAINERS
def test_smooth_columns_and_l1(container, penalty, alpha, n, d, n_classes):
    """Spectra: l1 has as few weights as rows determine."""
    rng = np.random.default_rng(13)
    centres, widths = rng.random(6), 0.03 + 0.1 * rng.random(6)
    bumps = np.exp(-0.5 * ((np.linspace(0, 1, d) - centres[:, None]) / widths[:, None]) ** 2)
    amounts = rng.gamma(2, 1, (n, 6))
    y = noisy_labels(amounts, n_classes, rng)
    y[:n_classes] = np.arange(n_classes)
    X = amounts @ bumps + 0.002 * rng.standard_normal((n, d)) + 0.5

    model = kept(problem(container(X), y, penalty, alpha))

    if penalty == "l1":
        assert np.count_nonzero(model.coef_) <= n * (n_classes - 1)


TINY = np.array(
    [[1, 0.9, 0.8, 0, 0], [1, 0.84, 0.98, 0, 0], [0, 0, 0, 0.79, 1], [0, 0, 0, 0.91, 0.95]]
)
AT_REST = {
    "identity of 2": (np.eye(2), [0, 1]),
    "identity of 5": (np.eye(5), np.arange(5)),
    "few and rare": (TINY, [0, 0, 1, 1]),
    "zeros": (np.zeros((6, 2)), [0, 1, 2, 0, 1, 2]),
    "constant": (np.full((5, 3), 1e7), [0, 1, 1, 1, 0]),
    "contradictions": (np.repeat(np.eye(3), 4, axis=0), np.arange(12) % 4),
    "wide": (np.eye(3, 2100), np.arange(3)),
    "many rows": (np.tile(np.eye(12), (22, 1)), np.tile(np.arange(12), 22)),
}


@pytest.mark.thinned("name", "penalty")
@pytest.mark.parametrize("tol", [None, 0])
@pytest.mark.parametrize("alpha", [0.2, 1e-5])
@PENALTIES
@pytest.mark.parametrize("name", AT_REST)
@CONTAINERS
def test_epochs_after_the_optimum_is_reached(container, name, penalty, alpha, tol):
    """Without a `tol` all epochs are made, on any data, also when nothing can move any more."""
    X, y = AT_REST[name]
    model = problem(container(X), np.asarray(y), penalty, alpha).estimator(tol=tol, max_iter=30)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(container(X), y)

    assert model.n_iter_ == 30
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.predict_log_proba(X)).all()
    assert 0 <= model.gap_ <= 1


# --- class shares ---


@pytest.mark.thinned("container", "d")
@pytest.mark.parametrize("n_rare", [7, 15])
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@ENGINES
@DTYPES
@CONTAINERS
def test_rare_classes_have_their_share(container, dtype, d, weighted, n_rare):
    """A few rows in 20000: their class's mean probability and loss are those of the optimum."""
    rng = np.random.default_rng(12)
    n = 20000
    Z, y = rng.standard_normal((n, d)), np.zeros(n, int)
    y[: n_rare + 3000] = 2
    y[:n_rare] = 1
    Z[:n_rare, :3] += 1.2
    Z[n_rare : n_rare + 3000, 3] += 1
    X = Z.astype(dtype)
    weight = rng.uniform(0.3, 3, n) if weighted else np.ones(n)
    theirs = logistic_regression(1e5 / weight.sum(), solver="newton-cholesky", tol=1e-8)
    theirs.fit(Z, y, weight)

    model = SoftmaxSGDClassifier(alpha=1e-5, random_state=0).fit(container(X), y, weight)

    share = np.bincount(y, weights=weight) / weight.sum()
    assert_allclose(np.average(model.predict_proba(X), axis=0, weights=weight), share, rtol=0.02)
    ours, best = (losses_of_classes(one.predict_log_proba(X), y, weight) for one in (model, theirs))
    assert np.all(np.abs(ours - best) <= np.maximum(0.05 * best, 0.05))


def losses_of_classes(log_proba, y, weight):
    """Mean loss of the rows of each class."""
    losses = -log_proba[np.arange(len(y)), y]
    return np.bincount(y, weights=weight * losses) / np.bincount(y, weights=weight)


@pytest.mark.thinned("container", "penalty")
@pytest.mark.parametrize("tol", [1e-3, 3e-2])
@PENALTIES
@CONTAINERS
def test_shares_do_not_wait_for_tol(container, penalty, tol):
    """`gap_` is that of the model that is returned, whose classes have their shares."""
    X, y = rough(1500, 50, 4)
    y[(y == 3) & (np.arange(1500) % 8 > 0)] = 0  # a rare one
    given = problem(container(X), y, penalty, 1e-4, tol=tol)

    model = kept(given)

    share = np.bincount(y) / len(y)
    assert_allclose(model.predict_proba(X).mean(axis=0), share, rtol=0.02)


# --- values beyond squares ---


@pytest.mark.thinned("container", "value")
@pytest.mark.parametrize("n", [200, 500])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    ("dtype", "value"),
    [(np.float64, -1e300), (np.float64, 1e200), (np.float64, 1e155), (np.float32, 3e38)],
)
@CONTAINERS
def test_values_beyond_squares(container, dtype, value, n_classes, n):
    """An error that names column and value, or the model of the other columns; never a NaN."""
    rng = np.random.default_rng(13)
    X = rng.standard_normal((n, 45))
    y = noisy_labels(X[:, 3:6], n_classes, rng, 2.0)
    X[:3, 1] = value
    X = X.astype(dtype)
    rest = problem(np.delete(X, 1, axis=1), y)
    attainable = awkward.reference(rest).objective

    try:
        model, warned = awkward.fitted(problem(container(X), y), max_iter=40)
    except ValueError as error:
        message = str(error)
        assert "1" in message
        assert f"{dtype(value):g}" in message
        return

    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.intercept_).all()
    with np.errstate(over="ignore"):
        log_proba = model.predict_log_proba(X[3:])
    loss = -log_proba[np.arange(n - 3), y[3:]].mean()
    assert loss < 1.2 * attainable
    assert warned or model.gap_ > 0


@pytest.mark.thinned("container", "value")
@pytest.mark.parametrize(("dtype", "value"), [(np.float64, 1e140), (np.float32, 1e17)])
@PENALTIES
@CONTAINERS
def test_large_values_with_squares(container, dtype, value, penalty):
    """A column of large values is one of any other scale."""
    rng = np.random.default_rng(14)
    X = rng.standard_normal((200, 4))
    y = noisy_labels(X, 3, rng)
    X[:, 2] *= value

    given = problem(container(X.astype(dtype)), y, penalty, 1e-6)

    # With l1 rounding in such a column leaves no bound.
    model = kept(given, may_warn=penalty in ("l1", "elasticnet"), max_iter=50)

    theirs = logistic_regression(np.inf, solver="newton-cg", tol=1e-6)
    Z = StandardScaler().fit_transform(X)
    # The penalty costs nothing that could be seen.
    assert objective(model, given) < 1.01 * log_loss(y, theirs.fit(Z, y).predict_proba(Z))


# --- what the documentation says ---

DIVERGING = [
    {"solver": "sgd", "learning_rate": "constant", "eta0": 1e6},
    {"solver": "sgd", "learning_rate": "constant", "eta0": 1e5, "momentum": 0.9},
    {"solver": "sgd", "learning_rate": "invscaling", "eta0": 1e7},
    {"solver": "adagrad", "eta0": 1e6},
    {"solver": "adam", "eta0": 1e6},
]


@pytest.mark.thinned("container", "params")
@pytest.mark.parametrize(
    "params", DIVERGING, ids=lambda params: "-".join(map(str, params.values()))
)
@pytest.mark.parametrize("n_classes", [2, 3])
@DTYPES
@CONTAINERS
def test_a_step_that_is_too_long_is_an_error(container, dtype, n_classes, params):
    """An objective far above that of no weights after the last epoch: an error that says so."""
    rng = np.random.default_rng(15)
    X = rng.standard_normal((300, 6))
    y = noisy_labels(X, n_classes, rng)
    model = SoftmaxSGDClassifier(max_iter=8, tol=None, random_state=0, **params)

    with pytest.raises(ValueError, match="eta0"):
        model.fit(container(X.astype(dtype)), y)

    assert not hasattr(model, "coef_")


@pytest.mark.parametrize("solver", ["sgd", "adagrad", "adam"])
def test_a_start_that_comes_down_is_no_divergence(solver):
    """Weights that begin a thousand times too long, and an objective that falls: a model."""
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    start = 1300 * np.random.default_rng(16).standard_normal((3, 13))
    model = SoftmaxSGDClassifier(solver=solver, max_iter=3, tol=None, eta0=0.1, random_state=0)

    model.fit(X, y, coef_init=start)

    begun = problem(X, y, alpha=1e-5)
    data = awkward.Centred.of(begun)
    assert objective(model, begun) < data.objective(*data.weights_of(start, np.zeros(3)))


@pytest.mark.parametrize(
    ("labels", "rare"),
    [
        (["cat", "dog", "emu"], "emu"),
        (["zebra", "ape", "gnu"], "gnu"),
        ([10, 20, 37], "37"),
        ([-5, 3], "3"),
    ],
)
@CONTAINERS
def test_a_class_with_too_few_rows_is_named(container, labels, rare):
    """The error of a split for early stopping names the label, not an inner code."""
    y = np.array([label for label in labels[:-1] for _ in range(15)] + labels[-1:])
    X = np.arange(float(len(y)))[:, None]

    with pytest.raises(ValueError, match=rf"\b{rare}\b"):
        SoftmaxSGDClassifier(early_stopping=True).fit(container(X), y)
