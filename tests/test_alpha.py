"""The strength that `fit` chooses: good, a function of the rows alone, and defined on any data."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skl_softmax import SoftmaxSGDClassifier, _alpha
from skl_softmax._optimum import MeasuredRows, _measured_rows

CONTAINERS = pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])
PENALTIES = pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet"])


def problem(n, d, n_classes=3, size=1.5, seed=0, dtype=np.float64):
    """Noisy labels that depend on as many columns as there are classes."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * (rng.random((n, d)) < 0.7)
    y = (size * X[:, :n_classes] + rng.gumbel(size=(n, n_classes))).argmax(axis=1)
    y[:n_classes] = np.arange(n_classes)
    return X.astype(dtype), y


def fitted(X, y, sample_weight=None, **params):
    """The model with the strength of its own choice."""
    return SoftmaxSGDClassifier(**({"random_state": 0} | params)).fit(X, y, sample_weight)


# --- what is chosen ---

# Which criterion they have: all rows one by one, five folds, one fold.
SIZES = pytest.mark.parametrize(
    ("n", "d"), [(120, 5), (150, 60), (2000, 20)], ids=["one by one", "folds", "one fold"]
)


def losses_at(alphas, X, y, X_test, y_test, **params):
    """Mean log-loss of the test rows for each alpha."""
    found = []
    for alpha in alphas:
        model = SoftmaxSGDClassifier(alpha=alpha, random_state=0, **params).fit(X, y)
        found.append(-np.mean(model.predict_log_proba(X_test)[np.arange(len(y_test)), y_test]))
    return np.array(found)


@SIZES
@PENALTIES
@CONTAINERS
def test_loss_of_other_rows_is_near_the_best(container, penalty, n, d):
    """Within 10% of that of the best alpha of a fine grid, on rows of the same kind."""
    X, y = problem(n + 5000, d)
    X, X_test, y, y_test = X[:n], X[n:], y[:n], y[n:]
    alpha = fitted(container(X), y, penalty=penalty).alpha_

    grid = losses_at(np.logspace(-6, 1, 15), X, y, X_test, y_test, penalty=penalty)
    (found,) = losses_at([alpha], X, y, X_test, y_test, penalty=penalty)

    assert found <= 1.1 * grid.min()


@PENALTIES
@CONTAINERS
@pytest.mark.parametrize(("n", "d"), [(300, 8), (2000, 20)])
@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_columns_of_unlike_units(size, n, d, container, penalty):
    """One large or small among others is no worse than in their unit: the loss has two minima."""
    X, y = problem(n + 4000, d, size=3)
    losses = []
    for unit in (1, size):
        X[:, 1:] *= unit  # the labels depend on the first three
        model = fitted(container(X[:n]), y[:n], penalty=penalty)
        losses.append(log_loss(y[n:], model.predict_proba(container(X[n:]))))

    assert losses[1] < 1.05 * losses[0]


@CONTAINERS
@pytest.mark.parametrize("n", [200, 2000])
@pytest.mark.parametrize("size", [10, 3000])
def test_columns_that_share_a_nuisance(size, n, container):
    """Their common factor says nothing, and hides what each says behind a plateau of the loss."""
    X, y = problem(n + 4000, 12, size=3)
    losses = []
    for factor in (0, size):
        X += factor * np.random.default_rng(1).standard_normal((len(X), 1))
        model = fitted(container(X[:n]), y[:n])
        losses.append(log_loss(y[n:], model.predict_proba(container(X[n:]))))

    assert losses[1] < 1.05 * losses[0]


@PENALTIES
@pytest.mark.parametrize(("share", "far"), [(0.01, 1000), (0.05, 20), (0.05, 300)])
def test_rare_class_far_away(share, far, penalty):
    """Its rows are no errors, which are no test, but one in twenty of what is to come."""
    rng = np.random.default_rng(0)
    y = (rng.random(4300) < share).astype(int)
    y[:4] = 1
    X = rng.standard_normal((4300, 6)) * np.where(y, far, 1)[:, None]
    X[:, 0] += far * y

    model = fitted(X[:300], y[:300], penalty=penalty)

    alphas = model.alpha_ * 10.0 ** np.arange(-4, 5, 2)
    assert len(model.alphas_) >= 3
    losses = losses_at(alphas, X[:300], y[:300], X[300:], y[300:], penalty=penalty, max_iter=1000)
    own = log_loss(y[300:], model.predict_proba(X[300:]))
    assert own + 0.02 < 1.7 * (losses.min() + 0.02)


def test_better_than_the_default_of_others_on_small_tables():
    """Breast cancer, standardised: a quarter of the log-loss of alpha=1e-5, as C = 1 has."""
    X, y = load_breast_cancer(return_X_y=True)
    parts = train_test_split(StandardScaler().fit_transform(X), y, random_state=0)
    X, X_test, y, y_test = parts

    alpha = fitted(X, y).alpha_

    ours, default, unit = losses_at([alpha, 1e-5, 1 / len(y)], X, y, X_test, y_test)
    assert ours < 0.5 * default
    assert ours < 1.1 * unit


@SIZES
@PENALTIES
def test_labels_that_are_noise_get_the_class_shares(penalty, n, d):
    """Where nothing can be learnt, the penalty is so strong that nothing is."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    y = rng.choice(3, size=n, p=[0.6, 0.3, 0.1])

    model = fitted(X, y, penalty=penalty)

    proba = model.predict_proba(rng.standard_normal((500, d)))
    assert np.abs(proba - np.bincount(y) / n).mean() < 0.06


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@SIZES
def test_unit_of_the_columns_is_that_of_alpha(scale, n, d):
    """X times c has alpha times c^2, but for the rounding of rough fits."""
    X, y = problem(n, d)
    scale = 2.0 ** round(np.log2(scale))

    one, other = fitted(X, y), fitted(scale * X, y)

    assert abs(np.log10(other.alpha_ / one.alpha_ / scale**2)) < (0.02 if n == 120 else 0.2)


# --- a function of the data alone ---

EITHER_SIDE_OF_A_BATCH = [
    (120, 5, 3, "l2"), (200, 40, 6, "l2"), (400, 40, 6, "l2"), (2000, 6, 2, "l2"),
    (1000, 1100, 3, "l2"), (400, 40, 3, "l1"), (400, 40, 2, "elasticnet"),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "d", "n_classes", "penalty"), EITHER_SIDE_OF_A_BATCH)
def test_rows_are_a_set_with_weights(n, d, n_classes, penalty, dtype):
    """Order, seed, scale of weights, rows without one, repetitions: the same alpha, to a bit."""
    X, y = problem(n, d, n_classes, dtype=dtype)
    rng = np.random.default_rng(1)
    times = rng.integers(1, 4, size=n)
    order, repeated = rng.permutation(n), rng.permutation(np.repeat(np.arange(n), times))

    alpha = fitted(X, y, penalty=penalty).alpha_
    weighted = fitted(X, y, times, penalty=penalty).alpha_

    assert fitted(X[order], y[order], penalty=penalty, random_state=7).alpha_ == alpha
    assert fitted(np.asfortranarray(X), y, np.full(n, 0.37), penalty=penalty).alpha_ == alpha
    more, labels = np.vstack([X, X[:50] + 9]), np.append(y, y[:50])
    without = np.append(np.ones(n), np.zeros(50))
    assert fitted(more, labels, without, penalty=penalty).alpha_ == alpha
    assert fitted(X[repeated], y[repeated], penalty=penalty).alpha_ == weighted
    assert fitted(X, y, np.pi * times, penalty=penalty).alpha_ == weighted


@pytest.mark.parametrize("n", [300, 2000])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_weights_of_all_digits(n, class_weight):
    """Their last digits are others in another order and unit; alpha is not."""
    X, y = problem(n, 4)
    rng = np.random.default_rng(1)
    weight, order = rng.exponential(size=n), rng.permutation(n)

    alpha = fitted(X, y, weight, class_weight=class_weight).alpha_

    for factor in (1, 0.37, 1e-9):
        other = fitted(X[order], y[order], factor * weight[order], class_weight=class_weight)
        assert other.alpha_ == alpha


@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize(("n", "n_classes"), [(150, 3), (60, 16), (300, 3), (2000, 3)])
def test_what_is_stored_does_not_matter(n, n_classes, penalty):
    """Columns without a value, zeros that are stored, rows that are repeated or do not count."""
    rng = np.random.default_rng(0)
    columns = np.sort(np.argsort(rng.random((n, 8)), axis=1)[:, :3], axis=1)
    X = np.zeros((n, 400))
    np.put_along_axis(X, columns, rng.standard_normal((n, 3)), axis=1)
    y = np.append(np.arange(n_classes), rng.integers(n_classes, size=n - n_classes))
    sparse = sp.csr_array(X)
    every = np.tile(np.arange(400), n), np.arange(0, 400 * n + 1, 400)
    more = sp.csr_array(sp.vstack([sparse, np.ones((1, 400))])), np.append(y, 0)

    alpha = fitted(sparse, y, penalty=penalty).alpha_

    zeros = sp.csr_array((X.ravel(), *every), shape=X.shape)
    assert fitted(zeros, y, penalty=penalty).alpha_ == alpha
    assert fitted(*more, np.append(np.ones(n), 0), penalty=penalty).alpha_ == alpha
    twice = fitted(sp.csr_array(sp.vstack([sparse, sparse])), np.tile(y, 2), penalty=penalty)
    assert twice.alpha_ == alpha
    if n < 2000:  # else the rounding of visits, in another order, may lead the search elsewhere
        assert fitted(X, y, penalty=penalty).alpha_ == pytest.approx(alpha, rel=2e-3)


def test_indices_in_steps():
    """A CSR matrix may have arrays that are views of others."""
    X, y = problem(300, 30)
    i, j = np.nonzero(X)
    pointer = np.append(0, np.cumsum(np.bincount(i)))

    stepped = sp.csr_array((X[i, j], np.repeat(j, 2)[::2], pointer), shape=X.shape)

    assert fitted(stepped, y).alpha_ == fitted(sp.csr_array(X), y).alpha_


@pytest.mark.parametrize(("n", "d", "n_classes", "penalty"), EITHER_SIDE_OF_A_BATCH)
def test_containers_and_types_have_the_same_alpha(n, d, n_classes, penalty):
    """But for the rounding of visits to dense rows, which come several together."""
    X, y = problem(n, d, n_classes, dtype=np.float32)

    alpha = fitted(X, y, penalty=penalty).alpha_

    assert fitted(sp.csr_array(X), y, penalty=penalty).alpha_ == pytest.approx(alpha, rel=2e-3)
    assert fitted(X.astype(float), y, penalty=penalty).alpha_ == pytest.approx(alpha, rel=1e-4)


@pytest.mark.parametrize("shift", [1e-6, 1e-3])
@SIZES
def test_alpha_moves_with_the_data(shift, n, d):
    """Rows that move a little move it a little: it is on no grid."""
    X, y = problem(n, d)
    rng = np.random.default_rng(3)

    one, other = fitted(X, y).alpha_, fitted(X * (1 + shift * rng.random(X.shape)), y).alpha_

    # The folds are others, as a hash knows no neighbours.
    assert abs(np.log10(one / other)) < 0.7


@pytest.mark.parametrize("n_labels", [1, 2])
def test_repeated_contents_are_never_apart(n_labels):
    """Four binary columns: copies of a row in another fold, or with another label, tell nothing."""
    rng = np.random.default_rng(0)
    X = rng.integers(2, size=(6000, 4)).astype(float)
    score = X @ [2.0, -1.0, 1.0, 0.0] - 1
    y = (
        (score + rng.logistic(size=6000) > 0).astype(int)
        if n_labels == 2
        else (score > 0).astype(int)
    )
    X, X_test, y, y_test = X[:1000], X[1000:], y[:1000], y[1000:]

    alpha = fitted(X, y).alpha_

    grid = losses_at(np.logspace(-6, 0, 13), X, y, X_test, y_test)
    (found,) = losses_at([alpha], X, y, X_test, y_test)
    assert found <= 1.01 * grid.min() + 0.02


# --- the last fit ---


@pytest.mark.parametrize("params", [{}, {"class_weight": "balanced"}, {"penalty": "l1"}])
@SIZES
@CONTAINERS
def test_last_fit_is_that_of_the_number(container, params, n, d):
    """`fit` with "auto" is `fit` with ``alpha_``, to the last bit."""
    X, y = problem(n, d)
    X = container(X)
    weight = np.random.default_rng(0).exponential(size=n)

    model = fitted(X, y, weight, **params)
    number = fitted(X, y, weight, alpha=model.alpha_, **params)

    assert_array_equal(model.coef_, number.coef_)
    assert_array_equal(model.intercept_, number.intercept_)
    assert (model.n_iter_, model.t_, model.gap_) == (number.n_iter_, number.t_, number.gap_)
    assert number.alpha_ == number.alpha
    assert not hasattr(number, "alphas_")


def test_what_was_tried():
    """Alphas from strong to weak by tens around the one chosen; nan where a fit was given up."""
    model = fitted(*problem(2000, 20))

    assert len(model.alphas_) == len(model.alpha_losses_) >= 3
    assert np.diff(np.log10(model.alphas_)) == pytest.approx(-1)
    assert model.alphas_[-1] < model.alpha_ < model.alphas_[0]
    assert np.nanmin(model.alpha_losses_) > 0


def test_start_is_that_of_the_last_fit_alone():
    """Neither a start nor an earlier fit changes what is chosen."""
    X, y = problem(300, 60)
    model = fitted(X, y)

    started = SoftmaxSGDClassifier(random_state=0).fit(X, y, coef_init=model.coef_ + 1)
    warm = SoftmaxSGDClassifier(random_state=0, warm_start=True).fit(X[:100], y[:100]).fit(X, y)
    once = SoftmaxSGDClassifier(random_state=0, max_iter=1, tol=None).fit(X, y)

    assert started.alpha_ == warm.alpha_ == once.alpha_ == model.alpha_
    assert once.n_iter_ == 1


def test_search_is_shown(capsys):
    """With ``verbose`` each alpha has a line."""
    model = fitted(*problem(120, 5), verbose=1)

    shown = capsys.readouterr().out
    assert shown.count("held-out loss") == len(model.alphas_)
    assert f"alpha {model.alphas_[0]:.3g}: " in shown


def test_interrupt_leaves_the_model(monkeypatch):
    """Before the last fit there is nothing to keep: the model is as it was."""
    X, y = problem(300, 60)
    model = fitted(X, y)
    before = dict(vars(model))

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(_alpha, "search", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X[:200], y[:200])

    assert vars(model) == before


# --- where nothing is searched ---


@pytest.mark.parametrize("solver", ["sgd", "adagrad", "adam"])
def test_textbook_solvers_take_the_default(solver):
    """For them "auto" means 1e-5."""
    X, y = problem(200, 5)

    models = [
        SoftmaxSGDClassifier(solver=solver, alpha=alpha, random_state=0, max_iter=5, tol=None)
        for alpha in ("auto", 1e-5)
    ]
    auto, number = (model.fit(X, y) for model in models)

    assert auto.alpha_ == 1e-5
    assert_array_equal(auto.coef_, number.coef_)


@pytest.mark.parametrize("after_fit", [False, True])
def test_streams_take_the_default(after_fit):
    """`partial_fit` too, and after a `fit` whose alpha is another."""
    X, y = problem(200, 5)
    found = []
    for alpha in ("auto", 1e-5):
        model = SoftmaxSGDClassifier(alpha=alpha, random_state=0)
        if after_fit:
            model.fit(X, y)
            model.coef_, model.intercept_ = np.ones((3, 5)), np.zeros(3)
        found.append(model.partial_fit(X, y, classes=[0, 1, 2]))

    assert_array_equal(found[0].coef_, found[1].coef_)
    if not after_fit:
        assert found[0].alpha_ == 1e-5


def test_without_a_penalty():
    """There is no strength."""
    model = fitted(*problem(200, 5), penalty=None)

    assert model.alpha_ == 0
    assert len(model.alphas_) == 0


# --- held-out sets of the user ---


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@CONTAINERS
def test_given_rows_are_the_held_out_ones(container, dtype):
    """Validation rows decide, whatever the training rows would say."""
    X, y = problem(400, 30, dtype=dtype)
    noise = np.random.default_rng(5).permutation(y)
    weight = np.arange(100) % 2
    X_val, X = container(X[300:]), container(X[:300])
    model = SoftmaxSGDClassifier(random_state=0)

    alphas = [
        model.fit(X, y[:300], X_val=X_val, y_val=y_val, sample_weight_val=weight).alpha_
        for y_val in (y[300:], noise[300:])
    ]

    assert alphas[1] > 10 * alphas[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weight", [1e-300, 1e-50, 1e170])
def test_unit_of_the_weights_of_given_rows(weight, dtype):
    """It does not matter, as that of the others."""
    X, y = problem(400, 5, dtype=dtype)
    rows, given = (X[:300], y[:300]), {"X_val": X[300:], "y_val": y[300:]}

    model = SoftmaxSGDClassifier(random_state=0)
    alpha = model.fit(*rows, **given).alpha_

    weights = np.full(100, weight)
    assert model.fit(*rows, **given, sample_weight_val=weights).alpha_ == alpha


@pytest.mark.parametrize("unit", [1e-140, 1e-85, 1e80, 1e140])
@CONTAINERS
@pytest.mark.parametrize("penalty", ["l2", "l1"])
def test_unit_of_any_size(unit, container, penalty):
    """Fourth powers of it would leave the floats."""
    X, y = problem(300, 5)

    model = fitted(container(X * unit), y, penalty=penalty)

    assert len(model.alphas_) >= 3
    assert np.isfinite(model.coef_).all()


@CONTAINERS
def test_numbers_that_leave_float32(container):
    """Columns that count as constant, and weights that are none beside one of them."""
    X, y = problem(300, 8, dtype=np.float32)
    weight = np.ones(300)
    weight[3] = 1e300

    assert fitted(container(X * np.float32(1e-30)), y).alpha_ == 1e-5
    assert np.isfinite(fitted(container(X), y, weight).coef_).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@CONTAINERS
def test_rows_that_stop_early_are_the_held_out_ones(container, dtype):
    """Those that `early_stopping` draws; the last fit stops by them too."""
    X, y = problem(400, 30, dtype=dtype)

    model = fitted(container(X), y, early_stopping=True)
    number = fitted(container(X), y, early_stopping=True, alpha=model.alpha_)

    assert len(model.alphas_) >= 3
    assert_array_equal(model.coef_, number.coef_)
    assert model.best_loss_ == number.best_loss_


# --- edges ---


@pytest.mark.parametrize("n", [2, 5, 9])
def test_few_rows_have_the_likely_alpha(n):
    """Fewer than ten distinct ones: no search."""
    X, y = problem(n, 3, 2)

    model = fitted(np.tile(X, (5, 1)), np.tile(y, 5))

    assert len(model.alphas_) == 0
    assert 1e-3 < model.alpha_ < 1


@CONTAINERS
@PENALTIES
def test_constant_columns(container, penalty):
    """Nothing to learn from, and 1e-5."""
    X, y = np.ones((50, 3)), np.arange(50) % 3

    model = fitted(container(X), y, penalty=penalty)

    assert model.alpha_ == 1e-5
    assert model.predict_proba(X[:1]) == pytest.approx(np.bincount(y)[None] / 50, abs=1e-3)


@pytest.mark.parametrize("n_others", [30, 200, 2000])
@PENALTIES
def test_class_with_one_row_is_never_held_out(penalty, n_others):
    """Every fit knows all classes."""
    X, y = problem(n_others, 5)
    X, y = np.vstack([X, [[5.0] * 5], [[-5.0] * 5]]), np.append(y, [3, 4])

    model = fitted(X, y, penalty=penalty)

    assert np.isfinite(model.alpha_losses_[~np.isnan(model.alpha_losses_)]).all()
    assert np.isfinite(model.coef_).all()


@pytest.mark.filterwarnings("ignore:The number of unique classes")
@pytest.mark.parametrize("n_classes", [40, 200])
@CONTAINERS
def test_hardly_more_rows_than_classes(container, n_classes):
    """Classes of one and two rows."""
    X, _ = problem(n_classes + 20, 10)
    y = np.arange(n_classes + 20) % n_classes

    model = fitted(container(X), y)

    assert model.coef_.shape == (n_classes, 10)
    assert 0 < model.alpha_ < np.inf


@pytest.mark.parametrize(("n", "d"), [(60, 4), (150, 300), (2000, 10)])
def test_separable_rows_come_to_an_end(n, d):
    """The loss goes to 0 as alpha does: there is a floor, and a fine model."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    y = (X[:, 0] > 0).astype(int)
    X[:, 0] += np.sign(X[:, 0])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = fitted(X, y)

    assert model.score(X, y) == 1
    assert len(model.alphas_) <= 12
    assert np.isfinite(model.coef_).all()


def test_million_sparse_columns():
    """A search costs no more memory than its fits."""
    rng = np.random.default_rng(0)
    columns = np.sort(rng.integers(10**6, size=(600, 20)), axis=1)
    X = sp.csr_array((rng.random(12000), columns.ravel(), np.arange(0, 12001, 20)), (600, 10**6))
    y = rng.integers(3, size=600)

    model = fitted(X, y)

    assert np.isfinite(model.coef_).all()
    assert len(model.alphas_) >= 3


@CONTAINERS
def test_rows_are_measured_once(container, monkeypatch):
    """What the penalty does not change is known from the first fit of a part on."""
    X, y = problem(2000, 40, 5)
    calls = []
    found = _measured_rows.measured
    monkeypatch.setattr(_measured_rows, "measured", lambda *a: calls.append(len(a[2])) or found(*a))

    model = fitted(container(X), y)

    assert len(model.alphas_) >= 3
    assert calls == [1600, 2000]


@pytest.mark.parametrize(
    ("penalty", "n_classes", "width"), [("l2", 3, None), ("l1", 3, None), ("l2", 50, 200)]
)
@pytest.mark.parametrize("given", [False, True])
def test_few_sparse_rows_are_searched_in_few_columns(penalty, n_classes, width, given, monkeypatch):
    """Those that have values, or with l2 coordinates of the rows' own; all again at the end."""
    rng = np.random.default_rng(0)
    X = np.zeros((200, 3000))
    np.put_along_axis(X, rng.integers(3000, size=(200, 6)), rng.random((200, 6)), axis=1)
    X = sp.csr_array(X)
    y = np.arange(200) % n_classes
    more = {"X_val": X[150:], "y_val": y[150:]} if given else {}
    widths = []
    of = MeasuredRows.of
    monkeypatch.setattr(
        MeasuredRows, "of", lambda data, *a: widths.append(data.X.shape[1]) or of(data, *a)
    )

    model = SoftmaxSGDClassifier(penalty=penalty, random_state=0).fit(X, y, **more)

    if width and not given:
        assert max(widths[:-1]) <= width
    else:
        assert set(widths[:-1]) == {len(np.unique(X.indices))}
    assert widths[-1] == 3000
    again = clone(model).set_params(alpha=model.alpha_).fit(X, y, **more)
    assert_array_equal(model.coef_, again.coef_)


@CONTAINERS
@PENALTIES
def test_outlier_hides_nothing(container, penalty):
    """One entry of 1e12 leaves alpha, and the other rows, about where they were."""
    X, y = load_iris(return_X_y=True)
    X, y = np.tile(X, (3, 1)) + 1e-3 * np.arange(450)[:, None], np.tile(y, 3)
    clean = fitted(X, y, penalty=penalty).alpha_
    X[7, 1] = 1e12

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = fitted(container(X), y, penalty=penalty, max_iter=20)

    assert abs(np.log10(model.alpha_ / clean)) < 3.5
    assert model.score(X, y) > 0.9
